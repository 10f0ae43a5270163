"""Decodes the frames that a scorer wants, little else, and checks that they are these frames."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from lightning_vista.video.container import Packets, list_packets, open_video, video_stream
from lightning_vista.video.resizing import resize_frames
from lightning_vista.video.sampling import FrameSpec, sample_indices
from lightning_vista.video.video_limits import USUAL_LIMITS, VideoError, VideoLimits

RGBImage = NDArray[np.uint8]
#: From the time of every frame, in seconds, to the indices of the wanted ones, ascending.
Choose = Callable[[Sequence[float]], list[int]]

#: Where neither times nor a rate are known, as in FFmpeg's own raw streams.
_USUAL_RATE = Fraction(25)


class Clip(NamedTuple):
    """Frames of a video.

    Attributes:
        frames: uint8 RGB `(frames, 3, height, width)`.
        indices: The positions of these frames in the video, ascending; short videos repeat some.
        times: The moments at which they are shown, in seconds after the first frame of the video.
        all_times: The same for every frame of the video.
    """

    frames: Tensor
    indices: list[int]
    times: list[float]
    all_times: list[float]


class Decoded(NamedTuple):
    """Chosen frames of a video, before they are resized.

    Attributes:
        images: Upright RGB frames `(height, width, 3)`, uint8, all of one size.
        indices: Their positions in the video.
        all_times: The moment at which each frame of the video is shown, in seconds after the first.
    """

    images: list[RGBImage]
    indices: list[int]
    all_times: list[float]


def decode_video(data: bytes, spec: FrameSpec, limits: VideoLimits = USUAL_LIMITS) -> Clip:
    """Decode the frames of a video that a scorer wants.

    Args:
        data: The bytes of a video file in one of the containers `FORMATS`.
        spec: The frames, and their size.
        limits: The most that the video may be.

    Returns:
        `spec.num_frames` frames of the size in `spec`.

    Raises:
        VideoError: If the bytes are not a video, the file is cut short or beyond the limits, or a requested frame does
            not decode.
        ValueError: If `spec.sampling` does not fit the video's length (see `sample_indices`).

    Example:
        >>> from lightning_vista.video import encode_mp4
        >>> video = encode_mp4(np.zeros((10, 32, 32, 3), dtype=np.uint8))
        >>> clip = decode_video(video, FrameSpec(num_frames=4, size=16))
        >>> clip.frames.shape, clip.indices, len(clip.all_times)
        (torch.Size([4, 3, 16, 16]), [0, 3, 6, 9], 10)
    """
    images, indices, times = decode_frames(
        data, lambda times: sample_indices(len(times), spec.num_frames, spec.sampling, times), limits
    )
    frames = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return Clip(resize_frames(frames, spec), indices, [times[index] for index in indices], times)


def check_video(data: bytes, limits: VideoLimits = USUAL_LIMITS) -> bool:
    """Decode every frame of a video, so that no choice of frames can fail later.

    Args:
        data: The bytes of a video file.
        limits: The most that the video may be.

    Returns:
        Whether the file announces its length. Where it does not, as in MPEG-TS, a cut would go unnoticed.

    Raises:
        VideoError: If the bytes are not a video, the file is cut short or beyond the limits, a frame does not decode,
            or frames differ in size.
    """
    with _reported():
        with open_video(data, limits) as container:
            listing = list_packets(data, container, limits)
        with open_video(data, limits) as container:
            sizes = _Sizes(limits)
            count = 0
            for count, frame in enumerate(container.decode(video_stream(container)), start=1):
                sizes.check(frame, count - 1)
                limits.check_count(count)
        if count == 0:
            raise VideoError("not a decodable video: no frame decodes")
    return listing.announces_length


def decode_frames(data: bytes, choose: Choose, limits: VideoLimits = USUAL_LIMITS) -> Decoded:
    """Decode chosen frames of a video.

    The packets are listed without decoding them. Then only groups of pictures with a wanted frame are decoded, only
    as far as the last wanted frame, without the frames that no other refers to, and only wanted frames are converted
    to RGB. Everything is decoded instead where a container does not name the time of each frame, or names it wrongly:
    AVI has no times of presentation, so FFmpeg invents times in the order of decoding.

    Args:
        data: The bytes of a video file.
        choose: From the time of each frame, in seconds after the first, to the indices wanted, ascending; an index may
            occur several times.
        limits: The most that the video may be.

    Returns:
        One frame for each index, turned as the file's rotation says.

    Raises:
        VideoError: If the bytes are not a video, the file is cut short or beyond the limits, or a wanted frame does not
            decode.
    """
    with _reported():
        return _decode_by_time(data, choose, limits) or _decode_by_order(data, choose, limits)


class _Untimely(Exception):
    """Frames come in another order than their times say."""


def _decode_by_time(data: bytes, choose: Choose, limits: VideoLimits) -> Decoded | None:
    """Decode only what is needed, finding frames by their times; None where the times cannot be trusted."""
    with open_video(data, limits) as container:
        stream = video_stream(container)
        packets, _ = list_packets(data, container, limits)
        times = [packet.pts for packet in packets if packet.pts is not None and not packet.is_discard]
        if not times or len({packet.pts for packet in packets}) < len(packets):
            return None
        if stream.codec_context.reorder_depth and times == sorted(times):
            return None  # frames are stored in another order than shown, and the times know nothing of it
        times.sort()
        unit = float(stream.time_base or 1)  # as a float: fractions are slow
        seconds = [(time - times[0]) * unit for time in times]
        indices = choose(seconds)
        wanted = {times[index]: index for index in indices}
        to_rgb, sizes = _RGBConverter(), _Sizes(limits)
        images: dict[int, RGBImage] = {}
        try:
            for frame in _frames_at(stream.codec_context, packets, wanted.keys()):
                if frame.pts in wanted:
                    sizes.check(frame, wanted[frame.pts])
                    images[frame.pts] = to_rgb(frame)
        except _Untimely:
            return None
    if len(images) < len(wanted):
        return None
    return Decoded([images[times[index]] for index in indices], indices, seconds)


def _decode_by_order(data: bytes, choose: Choose, limits: VideoLimits) -> Decoded:
    """Decode everything twice: to count the frames, then to convert the wanted ones."""
    with open_video(data, limits) as container:
        stream = video_stream(container)
        rate = stream.average_rate or stream.guessed_rate or _USUAL_RATE
        times = []
        for frame in container.decode(stream):
            times.append(frame.time)
            limits.check_count(len(times))
    if not times:
        raise VideoError("not a decodable video: no frame decodes")
    known = [time for time in times if time is not None]
    if len(known) == len(times) and all(a < b for a, b in pairwise(known)):
        seconds = [time - known[0] for time in known]
    else:
        seconds = [float(number / rate) for number in range(len(times))]
    indices = choose(seconds)
    wanted = set(indices)
    with open_video(data, limits) as container:
        to_rgb, sizes = _RGBConverter(), _Sizes(limits)
        images = {}
        for number, frame in enumerate(container.decode(video_stream(container))):
            if number in wanted:
                sizes.check(frame, number)
                images[number] = to_rgb(frame)
    return Decoded([images[index] for index in indices], indices, seconds)


def _frames_at(codec: av.VideoCodecContext, packets: Packets, wanted: Collection[int]) -> Iterator[av.VideoFrame]:
    """Decode the stretches of packets that wanted times depend on; among the frames are all the wanted ones.

    Raises:
        _Untimely: If frames come in another order than their times say.
    """
    for start, stop in _stretches(packets, wanted):
        last: int | None = None
        for packet in (*packets[start:stop], None):  # None flushes the decoder
            if packet is not None:
                codec.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            for frame in codec.decode(packet):
                if frame.pts is None or (last is not None and frame.pts <= last):
                    raise _Untimely
                last = frame.pts
                yield frame
        codec.flush_buffers()


def _stretches(packets: Packets, wanted: Collection[int]) -> list[tuple[int, int]]:
    """Return ranges of packets, from a keyframe to the last wanted frame that depends on it, without overlaps."""
    stretches: list[tuple[int, int]] = []
    keys: list[int] = []
    for position, packet in enumerate(packets):
        if packet.is_keyframe or not keys:
            keys.append(position)
        if packet.pts not in wanted:
            continue
        start, key_time = keys[-1], packets[keys[-1]].pts
        if packet.pts is not None and key_time is not None and packet.pts < key_time and len(keys) > 1:
            start = keys[-2]  # shown before its keyframe, so it also refers to the group before
        if stretches and start < stretches[-1][1]:
            start = stretches.pop()[0]
        stretches.append((start, position + 1))
    return stretches


class _Sizes:
    """Checks that frames are whole and all of one size."""

    def __init__(self, limits: VideoLimits) -> None:
        self._limits = limits
        self._first: tuple[int, int] | None = None

    def check(self, frame: av.VideoFrame, index: int) -> None:
        """Refuse a damaged frame, or one of another size than those before."""
        if frame.is_corrupt:
            raise VideoError(f"frame {index} is damaged")
        self._limits.check_pixels(frame.width, frame.height)
        size = (frame.height, frame.width) if _orientation(frame).is_transposed else (frame.width, frame.height)
        self._first = self._first or size
        if size != self._first:
            (width, height), (first_width, first_height) = size, self._first
            raise VideoError(
                f"frames differ in size: {width}x{height} pixels at frame {index}, {first_width}x{first_height} before"
            )


class _RGBConverter:
    """Converts the frames of one file to upright RGB arrays, with one converter for all of them."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> RGBImage:
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        image: RGBImage = np.asarray(rgb, dtype=np.uint8)
        is_transposed, flips_rows, flips_columns = _orientation(frame)
        if is_transposed:
            image = image.transpose(1, 0, 2)
        return np.ascontiguousarray(image[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1])


class _Orientation(NamedTuple):
    """The steps that turn a decoded picture upright, in this order."""

    is_transposed: bool
    flips_rows: bool
    flips_columns: bool


def _orientation(frame: av.VideoFrame) -> _Orientation:
    """Return the orientation of a frame, to the nearest of the eight that keep pixels whole.

    `frame.rotation` is not enough: a mirrored recording has the matrix of none of the rotations.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")  # its annotation lacks the buffer
    if matrix is None:
        return _Orientation(False, False, False)
    # x' = a x + c y and y' = b x + d y; the rest moves and projects. https://ffmpeg.org/doxygen/trunk/display_8h.html
    a, b, _, c, d = map(int, np.frombuffer(bytes(matrix), np.int32, count=5))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return _Orientation(True, b < 0, c < 0)
    return _Orientation(False, d < 0, a < 0)


@contextmanager
def _reported() -> Iterator[None]:
    """Turn the errors of FFmpeg into a `VideoError`."""
    try:
        yield
    except av.FFmpegError as error:
        raise VideoError(f"not a decodable video: {error}") from error
