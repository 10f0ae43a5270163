"""Containers x codecs x B-frames x frame rates x truncations: are delivered frames those that were asked for?

Every frame shows its number. The oracle decodes everything and reads the numbers; what is delivered must be the
frames that the rule names, or an error.
"""

from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from numbered_clips import decode_all, numbered_clip, read_number

from lightning_vista.video import FrameSpec, VideoError, decode_video
from lightning_vista.video.decoding import check_video, decode_frames
from lightning_vista.video.sampling import sample_indices

COUNT = 40
#: Container -> whether it announces its length, and the codecs to try in it.
CONTAINERS: dict[str, tuple[bool, tuple[str, ...]]] = {
    "mp4": (True, ("libx264", "libx265", "mpeg4", "mpeg2video", "libvpx-vp9", "libsvtav1", "mjpeg")),
    "mov": (True, ("libx264", "libx265", "mpeg4", "prores_ks", "gif")),
    "matroska": (True, ("libx264", "libx265", "mpeg4", "mpeg2video", "libvpx", "libvpx-vp9", "libsvtav1", "ffv1")),
    "webm": (True, ("libvpx", "libvpx-vp9", "libsvtav1")),
    "avi": (True, ("libx264", "mpeg4", "mpeg2video", "libvpx", "ffv1", "mjpeg")),
    "mpegts": (False, ("libx264", "libx265", "mpeg4", "mpeg2video")),
    "flv": (True, ("libx264", "libx265")),
    "nut": (False, ("libx264", "mpeg4", "libvpx-vp9")),
    "mpeg": (False, ("mpeg2video", "libx264")),
    "h264": (False, ("libx264",)),
    "hevc": (False, ("libx265",)),
    "m4v": (False, ("mpeg4",)),
    "asf": (False, ("libx264", "mpeg4")),
    "mxf": (True, ("mpeg2video", "libx264")),
    "ivf": (True, ("libvpx",)),
    "ogg": (False, ("libvpx",)),
    "gif": (False, ("gif",)),
}
WITH_B_FRAMES = ("libx264", "libx265", "mpeg4", "mpeg2video")
RATES = (Fraction(24), Fraction(30000, 1001))
#: Frame times in seconds of a screen recording: busy, then still.
UNEVEN = [Fraction(number, 24) for number in range(30)] + [
    Fraction(30, 24) + Fraction(number, 2) for number in range(10)
]


class Cell(NamedTuple):
    container: str
    codec: str
    b_frames: int
    rate: Fraction | None  # None for uneven times
    fragmented: bool = False

    @property
    def name(self) -> str:
        rate = "uneven" if self.rate is None else f"{float(self.rate):.4g}fps"
        return f"{self.container}{'-fragmented' * self.fragmented}-{self.codec}-b{self.b_frames}-{rate}"


def cells() -> list[Cell]:
    found = []
    for container, (_, codecs) in CONTAINERS.items():
        for codec in codecs:
            for b_frames in (0, 3) if codec in WITH_B_FRAMES else (0,):
                rates = RATES if codec in ("libx264", "libvpx-vp9", "mpeg4") else RATES[:1]
                found += [Cell(container, codec, b_frames, rate) for rate in rates]
    found += [Cell("mp4", "libx264", b, RATES[0], fragmented=True) for b in (0, 3)]
    found += [Cell(c, "libx264", b, None) for c in ("mp4", "matroska", "nut", "mpegts") for b in (0, 3)]
    return [*found, Cell("webm", "libvpx-vp9", 0, None)]


CELLS = cells()


@cache
def clip(cell: Cell) -> bytes:
    settings: dict[str, Any] = {"gop_size": 12, "max_b_frames": cell.b_frames} if cell.codec != "gif" else {}
    options = {
        "libx264": {"x264-params": f"bframes={cell.b_frames}:keyint=12:b-adapt=0"},
        "libx265": {"x265-params": f"log-level=none:pools=1:frame-threads=1:bframes={cell.b_frames}:keyint=12"},
    }.get(cell.codec)
    muxing = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if cell.fragmented else {}
    if cell.container in ("mp4", "mov") and not cell.fragmented:
        muxing = {"movflags": "faststart"}  # so that a cut file still opens
    times = UNEVEN if cell.rate is None else None
    return numbered_clip(cell.container, cell.codec, COUNT, cell.rate or 24, times, options, muxing, **settings)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_delivered_frames_are_those_asked_for(cell: Cell) -> None:
    data = clip(cell)
    shown = [read_number(picture) for picture in decode_all(data)]
    assert shown == list(range(COUNT)), "the oracle itself"
    assert check_video(data) is (CONTAINERS[cell.container][0] and not cell.fragmented)
    for num_frames in (1, 2, 5, 8):
        delivered = decode_video(data, FrameSpec(num_frames, size=None))
        numbers = [read_number(frame.permute(1, 2, 0).numpy()) for frame in delivered.frames]
        assert numbers == delivered.indices
        assert delivered.indices == sample_indices(COUNT, num_frames, times=delivered.all_times)
        if cell.rate is not None:
            assert delivered.indices == sample_indices(COUNT, num_frames)
    assert [read_number(image) for image in decode_frames(data, lambda times: list(range(len(times)))).images] == shown


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.rate is None], ids=lambda cell: cell.name)
def test_uneven_videos_are_sampled_evenly_in_time(cell: Cell) -> None:
    delivered = decode_video(clip(cell), FrameSpec(8, size=None))
    assert delivered.all_times == pytest.approx([float(time) for time in UNEVEN], abs=2e-3)
    end = float(UNEVEN[-1])
    for number, time in enumerate(delivered.times):
        nearest = min(abs(float(other) - number * end / 7) for other in UNEVEN)
        assert abs(time - number * end / 7) == pytest.approx(nearest, abs=2e-3)
    assert delivered.indices != sample_indices(COUNT, 8)


@pytest.mark.parametrize("share", [0.9, 2 / 3, 0.5])
@pytest.mark.parametrize("cell", [c for c in CELLS if c.rate == RATES[0]], ids=lambda cell: cell.name)
def test_a_cut_file_is_refused_or_said_to_be_possible(cell: Cell, share: float) -> None:
    data = clip(cell)[: int(len(clip(cell)) * share)]
    try:
        announces = check_video(data)
        delivered = decode_video(data, FrameSpec(5, size=None))
    except VideoError:
        return
    shown = [read_number(picture) for picture in decode_all(data)]
    numbers = [read_number(frame.permute(1, 2, 0).numpy()) for frame in delivered.frames]
    if len(shown) == len(delivered.all_times):
        assert numbers == [shown[index] for index in delivered.indices]
    else:  # the last packet is there and does not decode; the oracle knows no times, so these are compared
        assert numbers == [round(time * 24) for time in delivered.times]
    if len(shown) < COUNT:  # a cut may take the index at the end of an AVI only
        assert not announces
        assert cell.fragmented or not CONTAINERS[cell.container][0]


def test_a_size_that_changes_is_refused_wherever_it_is_seen() -> None:
    parts = [numbered_clip("mpegts", "libx264", 20), numbered_clip("mpegts", "libx264", 20, height=48)]
    data = b"".join(parts)
    with pytest.raises(VideoError, match="frames differ in size: 128x48 pixels at frame"):
        check_video(data)
    with pytest.raises(VideoError, match="frames differ in size"):
        decode_video(data, FrameSpec(4, size=32))


def test_the_matrix_is_large_enough() -> None:
    assert len(CELLS) + 3 * sum(cell.rate == RATES[0] for cell in CELLS) >= 120
    assert len({cell.name for cell in CELLS}) == len(CELLS)


def test_pictures_hold_their_numbers() -> None:
    from numbered_clips import numbered_frame

    assert [read_number(numbered_frame(number)) for number in range(256)] == list(range(256))
    assert numbered_frame(3).dtype == np.uint8
