"""Samples of shards that mean harm, whose checksums fit: the index is as good as any."""

import json
import random
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from lightning_vista.video.encoding import encode_jpegs
from lightning_vista.vista.index import Sample, ShardIndex
from lightning_vista.vista.samples import pack_sample
from lightning_vista.vista.storage import Storage


def replace_sample(shards: Path, make: Callable[[Sample], bytes], number: int = 0) -> Sample:
    """Replace a sample of some shards and its entry in the index, and return the entry."""
    index = ShardIndex.read(Storage(shards))
    old = index.samples[number]
    packed = make(old)
    path = shards / old.shard
    new = replace(old, offset=path.stat().st_size, bytes=len(packed), sha256=sha256(packed).hexdigest())
    with path.open("ab") as file:
        file.write(packed)
    replace(index, samples=(*index.samples[:number], new, *index.samples[number + 1 :])).write(shards)
    return new


def packed_frames(sample: Sample, sizes: tuple[int, ...] = (16, 16, 16), **entries: Any) -> bytes:
    """A sample of stored frames, with some entries of its description replaced; None leaves one out."""
    pictures = [encode_jpegs(torch.zeros(1, 3, size, size, dtype=torch.uint8))[0] for size in sizes]
    return _packed(sample, pictures, entries)


def huge_jpeg(side: int = 65535) -> bytes:
    """A picture of a few hundred bytes that says that it is larger than any memory."""
    (picture,) = encode_jpegs(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    start = picture.index(b"\xff\xc0") + 5  # behind the marker, the length and the number of bits
    return picture[:start] + side.to_bytes(2, "big") * 2 + picture[start + 4 :]


def _packed(sample: Sample, pictures: list[bytes], entries: Mapping[str, Any]) -> bytes:
    description = {
        "video": sample.video,
        "memberships": [asdict(membership) for membership in sample.memberships],
        "frame_indices": list(range(len(pictures))),
        "all_times": [float(number) for number in range(len(pictures))],
        **entries,
    }
    text = json.dumps({name: value for name, value in description.items() if value is not None}).encode()
    return pack_sample(sample.key, [("json", text), *((f"{n:03d}.jpg", each) for n, each in enumerate(pictures))])


def _with_size(sample: Sample, size: bytes) -> bytes:
    """A sample whose first header has another size, and the checksum that fits."""
    header = bytearray(packed_frames(sample)[: tarfile.BLOCKSIZE])
    header[124:136] = size
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + packed_frames(sample)[tarfile.BLOCKSIZE :]


def _negative(rng: random.Random, sample: Sample) -> bytes:
    size = -tarfile.BLOCKSIZE * rng.choice((1, 1, 2, 2**20))
    return _with_size(sample, b"\xff" + (256**11 + size).to_bytes(11, "big"))


def _nested(rng: random.Random, sample: Sample) -> bytes:
    depth = rng.randrange(60, 200_000)
    return pack_sample(sample.key, [("json", rng.choice(("[", '{"a":')).encode() * depth)])


#: Kind -> function of a random generator and the sample to replace.
HOSTILE_SAMPLES: dict[str, Callable[[random.Random, Sample], bytes]] = {
    "negative size": _negative,
    "negative octal size": lambda rng, sample: _with_size(sample, b"%-11d\0" % -(10 ** rng.randrange(3, 9))),
    "huge picture": lambda rng, sample: _packed(sample, [huge_jpeg(rng.randrange(20_000, 65_536))] * 3, {}),
    "nested description": _nested,
    "indices of another type": lambda rng, sample: packed_frames(
        sample, frame_indices=rng.choice(([[0], [1], [2]], 5, "012", {"0": 0}, [0, 1, 3], [-1, 0, 1], [True, 1, 2], []))
    ),
    "times of another type": lambda rng, sample: packed_frames(
        sample, all_times=rng.choice((5, [], ["0", "1", "2"], [[0], [1], [2]], [0, 1, 10**400], [0, None, 2], {"0": 0}))
    ),
    "missing entry": lambda rng, sample: rng.choice(
        (packed_frames(sample, frame_indices=None), packed_frames(sample, all_times=None))
    ),
    "sizes that differ": lambda rng, sample: packed_frames(sample, (16, 16, rng.randrange(17, 40))),
}
