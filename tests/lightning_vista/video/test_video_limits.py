import io
import resource
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lightning_vista.scorers import RandomScorer
from lightning_vista.video import FrameSpec, VideoError, VideoLimits, check_video, decode_video, encode_mp4
from lightning_vista.video.encoding import decode_jpeg, encode_jpeg

CLIP = encode_mp4(np.zeros((12, 32, 48, 3), dtype=np.uint8))


def png(side: int) -> bytes:
    """A black picture, a few kilobytes whatever its size."""
    packing = zlib.compressobj(9)
    row = bytes(1 + 3 * side)
    content = b"".join(packing.compress(row) for _ in range(side)) + packing.flush()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", content), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(x)) + name + x + struct.pack(">I", zlib.crc32(name + x)) for name, x in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_movie(side: int, frames: int = 3) -> bytes:
    """The picture several times, as a QuickTime file that says nothing of its size."""
    file = io.BytesIO()
    with av.open(file, "w", format="mov") as output:
        stream = output.add_stream("png", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        picture = png(side)
        for number in range(frames):
            packet = av.Packet(picture)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1), stream, True
            output.mux(packet)
    return file.getvalue()


REFERRING = {
    "ffconcat": b"ffconcat version 1.0\nfile private.mp4\n",
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nprivate.mp4\n#EXT-X-ENDLIST\n",
    "hls of bytes": b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1.0\nconcat:private.mp4|private.mp4\n",
    "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    b"<AdaptationSet><Representation><BaseURL>private.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="private.mp4"/></svg>',
    "imf": b'<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>',
    "png": png(16),
    "text": b"private.mp4\n",
    "webvtt": b"WEBVTT\n\n00:00.000 --> 00:10.000\nprivate.mp4\n",
    "ass": b"[Script Info]\nScriptType: v4.00+\n[Events]\nDialogue: 0,0:00:00.00,0:00:05.00,Default,,0,0,0,,x\n",
    "tty": b"\x1b[31mred\x1b[0m\n" * 50,
    "nothing": b"",
}


@pytest.mark.parametrize("kind", REFERRING)
def test_nothing_but_videos_is_opened(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("private.mp4").write_bytes(CLIP)
    for read in (check_video, lambda data: decode_video(data, FrameSpec(num_frames=2, size=16))):
        with pytest.raises(VideoError):
            read(REFERRING[kind])


def test_an_external_reference_of_quicktime_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data of the track are said to lie in another file, by a path."""
    monkeypatch.chdir(tmp_path)
    Path("private.mp4").write_bytes(CLIP)
    url = b"\0\0\0\x0curl \0\0\0\x01"
    assert url in CLIP
    alias = b"file://" + bytes(str(tmp_path / "private.mp4"), "utf-8") + b"\0"
    record = struct.pack(">I", 12 + len(alias)) + b"url \0\0\0\0" + alias
    grown = len(record) - len(url)
    data = CLIP.replace(url, record)
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        place = data.index(name) - 4
        (size,) = struct.unpack(">I", data[place : place + 4])
        data = data[:place] + struct.pack(">I", size + grown) + data[place + 4 :]
    with pytest.raises(VideoError):
        check_video(data[: data.index(b"mdat") + 4] + bytes(100))


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
    assert resource.RUSAGE_SELF == 0


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
