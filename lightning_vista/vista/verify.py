"""Checks finished shards: that every sample is there, unchanged, and decodes."""

import json
import os
from functools import partial
from pathlib import Path

from lightning_vista.parallel import ordered_map
from lightning_vista.progress import progress_bar
from lightning_vista.video import check_video
from lightning_vista.video.jpeg import decode_jpeg
from lightning_vista.vista.decoding import read_members, sample_error
from lightning_vista.vista.index import Sample, ShardError, ShardIndex, memberships_from_json
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.tar import sample_key


def verify_shards(shards: str | Path, num_workers: int | None = None) -> ShardIndex:
    """Read every sample of the shards, compare it with the index, decode its first and last frame.

    Args:
        shards: The folder of the shards, or its address.
        num_workers: Threads; as many as there are cores by default.

    Returns:
        The index.

    Raises:
        FileNotFoundError: If there is no index.
        ShardError: If anything is missing, changed or undecodable; it lists all of it.
    """
    storage = Storage(shards, cache_mb=0)  # what the address holds, not a copy of it
    index = ShardIndex.read(storage)
    faults: list[str] = []
    with progress_bar("Checking samples", total=len(index.samples)) as advance:
        for fault in ordered_map(partial(_fault, storage), index.samples, num_workers or os.cpu_count() or 1):
            advance(1)
            if fault is not None:
                faults.append(fault)
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise ShardError(
            f"{len(faults)} of {len(index.samples)} samples in {shards} are damaged:\n{lines}\n"
            "Build the shards again with --overwrite, or fetch the named files again."
        )
    return index


def _fault(storage: Storage, sample: Sample) -> str | None:
    """What is wrong with a sample, None if nothing is."""
    try:
        members = read_members(storage, sample)
    except ShardError as error:
        return str(error)
    try:
        description = json.loads(members["json"])
        if "mp4" in members:
            check_video(members["mp4"])
        for image in (content for ending, content in members.items() if ending.endswith("jpg")):
            decode_jpeg(image)
    except (KeyError, OSError, ValueError) as error:
        return str(sample_error(sample, error))
    if description["video"] != sample.video or sample_key(sample.video) != sample.key:
        return str(sample_error(sample, f"holds another video, {description['video']}"))
    if memberships_from_json(description["memberships"]) != sample.memberships:
        return str(sample_error(sample, "its problem sets are not those of the index"))
    return None
