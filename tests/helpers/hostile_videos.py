"""Files that are called videos and mean harm: they name other files, or grow beyond all bounds when decoded."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av


def png(side: int) -> bytes:
    """A black picture, a few kilobytes whatever its size."""
    packing = zlib.compressobj(9)
    row = bytes(1 + 3 * side)
    content = b"".join(packing.compress(row) for _ in range(side)) + packing.flush()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", content), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(x)) + name + x + struct.pack(">I", zlib.crc32(name + x)) for name, x in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_movie(side: int, frames: int = 3, container: str = "mov") -> bytes:
    """The picture several times, in a file that says nothing of its size."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream("png", rate=1)
        if not isinstance(stream, av.VideoStream):
            raise TypeError(type(stream))
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        picture = png(side)
        for number in range(frames):
            packet = av.Packet(picture)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1), stream, True
            output.mux(packet)
    return file.getvalue()


def referring(clip: bytes, target: str) -> bytes:
    """An mp4 without content of its own, whose track is said to lie in another file."""
    own = b"\0\0\0\x0curl \0\0\0\x01"
    place = f"file://{target}".encode() + b"\0"
    record = struct.pack(">I", 12 + len(place)) + b"url \0\0\0\0" + place
    data = clip.replace(own, record)
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        start = data.index(name) - 4
        (size,) = struct.unpack(">I", data[start : start + 4])
        data = data[:start] + struct.pack(">I", size + len(record) - len(own)) + data[start + 4 :]
    return data[: data.index(b"mdat") + 4] + bytes(100)


def _private(folder: Path) -> bytes:
    return (folder / "private.mp4").read_bytes()


def _zip(rng: random.Random, folder: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("private.mp4", _private(folder))
    return file.getvalue()


def _dash(rng: random.Random, folder: Path) -> bytes:
    return (
        b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        b"<Representation><BaseURL>private.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )


#: Name -> function of a generator and of the folder, in which `private.mp4` lies, to the content of the file.
HOSTILE_VIDEOS: dict[str, Callable[[random.Random, Path], bytes]] = {
    "ffconcat": lambda rng, folder: b"ffconcat version 1.0\nfile private.mp4\n" * rng.randrange(1, 3),
    "ffconcat with options": lambda rng, folder: b"ffconcat version 1.0\nfile private.mp4\ninpoint 0\nduration 1\n",
    "hls": lambda rng, folder: b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nprivate.mp4\n#EXT-X-ENDLIST\n",
    "hls with concat": lambda rng, folder: b"#EXTM3U\n#EXTINF:1.0\nconcat:private.mp4|private.mp4\n#EXT-X-ENDLIST\n",
    "hls with an address": lambda rng, folder: b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "dash": _dash,
    "sdp": lambda rng, folder: b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 0.0.0.0\nt=0 0\nm=video 5 RTP/AVP 96\n",
    "svg": lambda rng, folder: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="private.mp4" width="9"/></svg>',
    "imf": lambda rng, folder: b'<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/"/>',
    "png": lambda rng, folder: png(rng.randrange(1, 64)),
    "text": lambda rng, folder: b"private.mp4\n" * rng.randrange(1, 1000),
    "webvtt": lambda rng, folder: b"WEBVTT\n\n00:00.000 --> 00:10.000\nprivate.mp4\n",
    "subtitles": lambda rng, folder: (
        b"[Script Info]\nScriptType: v4.00+\n[Events]\nDialogue: 0,0:00:00.0,0:00:05.0,x\n"
    ),
    "terminal": lambda rng, folder: b"\x1b[31mred\x1b[0m\n" * 50,
    "noise": lambda rng, folder: rng.randbytes(rng.randrange(1, 50_000)),
    "nothing": lambda rng, folder: b"",
    "zip": _zip,
    "picture bomb": lambda rng, folder: png_movie(rng.randrange(9_500, 12_000)),
    "picture bomb in matroska": lambda rng, folder: png_movie(rng.randrange(9_500, 12_000), container="matroska"),
    "quicktime reference": lambda rng, folder: referring(_private(folder), f"{folder}/private.mp4"),
    "cut video": lambda rng, folder: _private(folder)[: rng.randrange(20, len(_private(folder)) - 150)],
}
