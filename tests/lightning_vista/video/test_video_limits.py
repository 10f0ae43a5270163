import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile_videos import HOSTILE_VIDEOS, png_movie, referring

from lightning_vista.scorers import RandomScorer
from lightning_vista.video import FrameSpec, VideoError, VideoLimits, check_video, decode_video, encode_mp4
from lightning_vista.video.encoding import decode_jpeg, encode_jpeg

CLIP = encode_mp4(np.zeros((12, 32, 48, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE_VIDEOS if "bomb" not in kind])
def test_nothing_but_videos_is_opened(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("private.mp4").write_bytes(CLIP)
    data = HOSTILE_VIDEOS[kind](random.Random(0), tmp_path)
    for read in (check_video, lambda data: decode_video(data, FrameSpec(num_frames=2, size=16))):
        with pytest.raises(VideoError):
            read(data)


def test_an_external_reference_of_quicktime_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data of the track are said to lie in another file, by a path."""
    monkeypatch.chdir(tmp_path)
    Path("private.mp4").write_bytes(CLIP)
    with pytest.raises(VideoError):
        check_video(referring(CLIP, str(tmp_path / "private.mp4")))


def test_a_picture_bomb_takes_no_memory() -> None:
    code = (
        "import sys, resource; from lightning_vista.video import *; data = sys.stdin.buffer.read(); "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for read in (check_video, lambda data: decode_video(data, FrameSpec(num_frames=8, size=16))):\n"
        "    try: read(data)\n"
        "    except VideoError as error: print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    data = png_movie(16_000)
    assert len(data) < 3_000_000
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True, timeout=600)
    *errors, megabytes = done.stdout.decode().splitlines()
    assert len(errors) == 2
    assert all("at most 40,000,000 pixels" in error for error in errors)
    assert int(megabytes) < 200  # one frame has 768


def test_each_limit_can_be_set() -> None:
    spec = FrameSpec(num_frames=2, size=16)
    for limits, name in (
        (VideoLimits(max_pixels=32 * 48 - 1), "max_pixels"),
        (VideoLimits(max_frames=11), "max_frames"),
        (VideoLimits(max_video_mb=len(CLIP) / 1e6 - 1e-6), "max_video_mb"),
    ):
        for read in (lambda limits: check_video(CLIP, limits), lambda limits: decode_video(CLIP, spec, limits)):
            with pytest.raises(VideoError, match=name):
                read(limits)
    exact = VideoLimits(max_pixels=32 * 48, max_frames=12, max_video_mb=len(CLIP) / 1e6)
    assert check_video(CLIP, exact)
    assert len(decode_video(CLIP, spec, exact).all_times) == 12
    with pytest.raises(ValueError, match="max_frames"):
        VideoLimits(max_frames=0)


def test_stored_frames_are_measured_too() -> None:
    import torch

    data = encode_jpeg(torch.zeros(3, 40, 50, dtype=torch.uint8))
    assert decode_jpeg(data, VideoLimits(max_pixels=2000)).shape == (3, 40, 50)
    with pytest.raises(VideoError, match="50x40"):
        decode_jpeg(data, VideoLimits(max_pixels=1999))


def test_an_error_about_a_file_names_it(tmp_path: Path) -> None:
    path = tmp_path / "some.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"some\.mp4: not a decodable video"):
        RandomScorer().score_video(path, ["a"])
    with pytest.raises(VideoError, match=r"some\.mp4: not a decodable video"):
        RandomScorer().progress(path, "a")
