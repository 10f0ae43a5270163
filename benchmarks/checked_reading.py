"""The cost of comparing every training sample with the checksum of the index.

    python benchmarks/checked_reading.py --json results.json

Two epochs of the same shards take turns, `--rounds` times: one that checks, and one whose check is left out. Both
decode frames as a scorer would ask for them. Seconds are those of the processor; the fewest of each count.
"""

import argparse
import hashlib
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from data import write_clips

from lightning_vista.video import FrameSpec
from lightning_vista.vista.index import Sample, ShardIndex
from lightning_vista.vista.samples import unpack_sample
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.streams import TrainingStream


def _unchecked(sample: Sample, packed: bytes) -> dict[str, bytes]:
    return unpack_sample(packed)


def seconds_of_epoch(shards: Path, spec: FrameSpec, checked: bool) -> float:
    """Return the processor's seconds of an epoch of the stream.

    Args:
        shards: Folder of the shards.
        spec: Frames of each video.
        checked: Whether samples are compared with the index.
    """
    storage = Storage(shards)
    stream = TrainingStream(storage, ShardIndex.read(storage), spec, num_workers=0)
    with patch("lightning_vista.vista.streams.unpack_checked", _unchecked) if not checked else patch.dict({}):
        start = time.process_time()
        for _ in stream:
            pass
        return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=48)
    parser.add_argument("--frames", type=int, default=96, help="frames of each video")
    parser.add_argument("--size", type=int, default=224, help="height and width of the videos in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        write_clips(folder, options.videos, options.frames, options.size, fps=30)
        index = build_shards(folder / "tasks", folder / "videos", folder / "shards", max_shard_mb=4)
        spec = FrameSpec(8, size=96)
        rounds = [[seconds_of_epoch(folder / "shards", spec, checked) for checked in (True, False)] for _ in
                  range(options.rounds)]  # fmt: skip
        packed = b"".join(Storage(folder / "shards").read_range(s.shard, s.offset, s.bytes) for s in index.samples)
    checked, unchecked = (min(times) for times in zip(*rounds, strict=True))
    start = time.process_time()
    hashlib.sha256(packed)
    hashing = time.process_time() - start
    document = {
        "checked_seconds": checked,
        "unchecked_seconds": unchecked,
        "megabytes": len(packed) / 1e6,
        "hashing_seconds": hashing,
        "share_of_hashing": hashing / checked,
        "videos": options.videos,
        "machine": f"{os.cpu_count()} CPU cores, {platform.system()} {platform.machine()}",
    }
    print(json.dumps(document, indent=1))
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
