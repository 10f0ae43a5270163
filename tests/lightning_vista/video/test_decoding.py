import io
import struct
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered_clips import numbered_clip, read_number
from numpy.typing import NDArray
from tiny_data import moving_square

from lightning_vista.video import FrameSpec, VideoError, check_video, decode_video, decoding, encode_mp4, sample_indices
from lightning_vista.video.decoding import decode_frames
from lightning_vista.video.video_limits import USUAL_LIMITS

pytestmark = pytest.mark.portable


def encode(frames: NDArray[np.uint8], container: str = "mp4", codec: str = "libx264", **options: str) -> bytes:
    """A video with any codec options, for what `encode_mp4` does not make."""
    with tempfile.TemporaryDirectory() as folder:  # an mp4 file that starts with its index is written twice
        path = Path(folder) / "video"
        _write(path, frames, container, codec, options)
        return path.read_bytes()


def _write(path: Path, frames: NDArray[np.uint8], container: str, codec: str, options: dict[str, str]) -> None:
    container_options = {"movflags": "faststart"} if container == "mp4" else {}
    with av.open(str(path), "w", format=container, options=container_options) as output:
        stream = output.add_stream(codec, rate=10, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode(None))


def decode_everything(data: bytes) -> list[NDArray[np.uint8]]:
    """The oracle: every frame, one after the other."""
    with av.open(io.BytesIO(data), "r") as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8) for frame in container.decode(video=0)]


VIDEOS = {
    "one group of pictures": encode_mp4(moving_square(0, frames=40)),
    "many groups": encode(moving_square(1, frames=61), g="7", bf="3"),
    "open groups": encode(moving_square(2, frames=61), g="9", bf="3", **{"x264-params": "open-gop=1:scenecut=0"}),
    "deep pyramid": encode(moving_square(3, frames=50), bf="8", **{"x264-params": "b-pyramid=normal:b-adapt=0"}),
    "one frame": encode_mp4(moving_square(4, frames=1)),
    "mpeg4 in avi, without times": encode(moving_square(5, frames=30), "avi", "mpeg4", bf="2"),
    "mpeg4 in mkv": encode(moving_square(6, frames=30), "matroska", "mpeg4", g="5"),
    "motion jpeg": encode(moving_square(7, frames=9), "matroska", "libx264", g="1"),
}


@pytest.mark.parametrize("name", VIDEOS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_chosen_frames_equal_those_of_decoding_everything(name: str, data: st.DataObject) -> None:
    video = VIDEOS[name]
    expected = decode_everything(video)
    chosen = sorted(data.draw(st.lists(st.integers(0, len(expected) - 1), min_size=1, max_size=6)))
    frames, indices, times = decode_frames(video, lambda _: chosen)
    assert (indices, len(times)) == (chosen, len(expected))
    for frame, index in zip(frames, chosen, strict=True):
        np.testing.assert_array_equal(frame, expected[index])


def test_the_clip_has_the_frames_and_size_of_the_spec() -> None:
    clip = decode_video(VIDEOS["many groups"], FrameSpec(num_frames=5, size=(20, 10)))
    assert clip.frames.shape == (5, 3, 20, 10)
    assert clip.frames.dtype == torch.uint8
    assert (clip.indices, len(clip.all_times)) == (sample_indices(61, 5), 61)


def test_only_wanted_frames_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    convert = decoding._RGBConverter.__call__

    def spy(self: decoding._RGBConverter, frame: av.VideoFrame) -> NDArray[np.uint8]:
        converted.append(frame.pts)
        return convert(self, frame)

    monkeypatch.setattr(decoding._RGBConverter, "__call__", spy)
    decode_frames(VIDEOS["many groups"], lambda times: [0, len(times) - 1])
    assert len(converted) == 2


def with_matrix(video: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """The same file, which says that its pixel (x, y) is shown at (ax + cy, bx + dy)."""
    place = video.index(b"tkhd") + 4 + 40  # the matrix of a version 0 track header
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    return video[:place] + matrix + video[place + 36 :]


def shown(picture: NDArray[np.uint8], a: int, b: int, c: int, d: int) -> NDArray[np.uint8]:
    """The oracle: each pixel where the matrix puts it."""
    y, x = np.indices(picture.shape[:2])
    right, down = a * x + c * y, b * x + d * y
    moved = np.zeros((np.ptp(down) + 1, np.ptp(right) + 1, 3), np.uint8)
    moved[down - down.min(), right - right.min()] = picture
    return moved


TURNS = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
MIRRORED = [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]


@pytest.mark.parametrize("matrix", TURNS + MIRRORED)
def test_a_rotated_or_mirrored_recording_comes_upright(matrix: tuple[int, int, int, int]) -> None:
    plain = encode(moving_square(8)[:, :, :24], "mp4")
    video = with_matrix(plain, *matrix)
    expected = shown(decode_everything(plain)[5], *matrix)
    for decode in (decoding._decode_by_time, decoding._decode_by_order):
        found = decode(video, lambda _: [5], USUAL_LIMITS)
        assert found is not None
        np.testing.assert_array_equal(found.images[0], expected)
    assert decode_video(video, FrameSpec(3, size=None)).frames.shape == (3, 3, *expected.shape[:2])
    assert check_video(video)


def test_a_matrix_without_an_orientation_changes_nothing() -> None:
    plain = encode_mp4(moving_square(8))
    (expected,), _, _ = decode_frames(plain, lambda _: [5])
    (found,), _, _ = decode_frames(with_matrix(plain, 0, 0, 0, 0), lambda _: [5])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Invalid data"),
        (b"no video at all" * 50, "Invalid data"),
        (VIDEOS["one group of pictures"][:-200], "Invalid data|End of file"),
        (VIDEOS["many groups"][:-500], "cut short: 61 frames announced"),
    ],
)
def test_undecodable_bytes_say_why(data: bytes, reason: str) -> None:
    with pytest.raises(VideoError, match=reason):
        check_video(data)


def test_a_cut_anywhere_says_why() -> None:
    """Also in the description of the codec, where FFmpeg knows none."""
    video = encode_mp4(moving_square(3))
    for stop in range(0, len(video) - 150, 7):
        with pytest.raises(VideoError):
            check_video(video[:stop])


def trimmed(video: bytes, start: float, seconds: float) -> bytes:
    """The same file with an edit list that shows a part of it."""
    units = struct.unpack(">I", video[(place := video.index(b"mdhd") + 16) : place + 4])[0]
    edit = video.index(b"elst") + 12  # the first edit: duration in milliseconds, start in the track's units
    first = struct.unpack(">i", video[edit + 4 : edit + 8])[0]
    cut = bytearray(video)
    struct.pack_into(">Ii", cut, edit, round(seconds * 1000), first + round(start * units))
    for place in (video.index(b"mvhd") + 20, video.index(b"tkhd") + 24):
        struct.pack_into(">I", cut, place, round(seconds * 1000))
    return bytes(cut)


@pytest.mark.parametrize("b_frames", ["0", "3"])
@pytest.mark.parametrize(("start", "stop"), [(0, 3), (2.5, 6.1), (1.3, 3.2), (4.2, 5)])
def test_a_trimmed_recording_is_whole(start: float, stop: float, b_frames: str) -> None:
    """Its edit list leaves frames out that the file announces, and still holds."""
    options = {"x264-params": f"bframes={b_frames}:keyint=20:b-adapt=0"}
    video = trimmed(encode(moving_square(1, frames=61), **options), start, stop - start)
    expected = decode_everything(video)
    assert len(expected) == round(10 * (stop - start))
    assert check_video(video)
    frames, indices, times = decode_frames(video, lambda times: sample_indices(len(times), 5))
    assert len(times) == len(expected)
    for frame, index in zip(frames, indices, strict=True):
        np.testing.assert_array_equal(frame, expected[index])
    for missing in (100, len(video) // 4, len(video) // 2):
        with pytest.raises(VideoError):
            check_video(video[:-missing])


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4", "libx264"])
def test_an_avi_that_shows_a_frame_for_several_places_is_whole(codec: str) -> None:
    """As screen recorders write it; it announces places, not frames."""
    times = [Fraction(place, 24) for place in (0, 1, 2, 3, 10, 11, 12, 20)]
    options = {"x264-params": "bframes=0"} if codec == "libx264" else {}
    video = numbered_clip("avi", codec, 8, 24, times, options)
    assert check_video(video)
    clip = decode_video(video, FrameSpec(4, size=None))
    assert clip.all_times[-1] > 0.7
    assert [read_number(frame.permute(1, 2, 0).numpy()) for frame in clip.frames] == clip.indices
    for share in (0.9, 2 / 3, 0.5):
        with pytest.raises(VideoError):
            check_video(video[: int(len(video) * share)])


def test_audio_alone_is_not_a_video() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as output:
        stream = output.add_stream("pcm_s16le", rate=8000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 160), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="none of the formats"):
        check_video(file.getvalue())
