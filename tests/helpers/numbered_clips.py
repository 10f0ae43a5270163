"""Videos whose frames tell their number, in many containers and codecs, whole and damaged."""

import io
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

#: Vertical bands that hold a number in binary, each so wide that lossy codecs keep it apart.
_BITS, _BAND = 8, 16
_HEIGHT = 32
#: Options that keep encoders quick.
_QUICK: dict[str, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "crf": "18"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}

_FORMATS = {"ffv1": "yuv444p", "mjpeg": "yuvj420p", "gif": "rgb8", "prores_ks": "yuv422p10le"}


def numbered_frame(number: int, height: int = _HEIGHT) -> NDArray[np.uint8]:
    """A picture of a number, RGB `(height, 128, 3)`."""
    bits = [(number >> bit) & 1 for bit in range(_BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 255, _BAND)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, _BITS * _BAND, 3)))


def read_number(picture: NDArray[np.uint8]) -> int:
    """The number of a picture `(height, 128, 3)`."""
    bands = picture.reshape(picture.shape[0], _BITS, _BAND, 3)[:, :, 4:12].mean(axis=(0, 2, 3))
    return sum(1 << bit for bit, value in enumerate(bands) if value > 127)


def numbered_clip(
    container: str,
    codec: str,
    count: int = 40,
    rate: Fraction | int = 24,
    times: Sequence[Fraction] | None = None,
    options: dict[str, str] | None = None,
    format_options: dict[str, str] | None = None,
    height: int = _HEIGHT,
    **settings: Any,  # attributes of the codec context
) -> bytes:
    """Encode frames 0, 1, 2, ... .

    Args:
        container: A muxer of FFmpeg.
        codec: An encoder of FFmpeg.
        count: How many frames.
        rate: Frames a second.
        times: When each is shown, in seconds; by default evenly spaced.
        options: Options of the encoder.
        format_options: Options of the muxer.
        height: Of the frames, in pixels.
        **settings: Attributes of the codec context, such as `max_b_frames` and `gop_size`.
    """
    with tempfile.NamedTemporaryFile() as file:  # a real file: muxers such as mp4's read it again
        _encode(file.name, container, codec, count, rate, times, options, format_options, height, settings)
        return Path(file.name).read_bytes()


def _encode(
    path: str,
    container: str,
    codec: str,
    count: int,
    rate: Fraction | int,
    times: Sequence[Fraction] | None,
    options: dict[str, str] | None,
    format_options: dict[str, str] | None,
    height: int,
    settings: dict[str, Any],
) -> None:
    with av.open(path, "w", format=container, options=format_options or {}) as output:
        stream: Any = output.add_stream(codec, rate=rate, options={**_QUICK.get(codec, {}), **(options or {})})
        stream.width, stream.height = _BITS * _BAND, height
        stream.pix_fmt = {"ffv1": "yuv444p", "mjpeg": "yuvj420p", "gif": "rgb8", "prores_ks": "yuv422p10le"}.get(
            codec, "yuv420p"
        )
        stream.codec_context.thread_count = 1
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 12000)
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, height), format="rgb24")
            if times is not None:
                frame.time_base = Fraction(1, 12000)
                frame.pts = round(times[number] * 12000)
            else:
                frame.time_base, frame.pts = 1 / Fraction(rate), number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def decode_all(data: bytes) -> list[NDArray[np.uint8]]:
    """Every frame that FFmpeg shows, in its order: the slow oracle."""
    with av.open(io.BytesIO(data), "r") as container:
        return [np.asarray(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
