"""Verification of finished shards, local or remote."""

import json
import os
from functools import partial
from pathlib import Path

from lightning_vista.parallel import ordered_map
from lightning_vista.progress import progress_bar
from lightning_vista.video import check_video
from lightning_vista.video.encoding import decode_jpeg
from lightning_vista.video.limits import USUAL_LIMITS, VideoLimits
from lightning_vista.vista.index import Sample, ShardError, ShardIndex, memberships_from_json, sample_key
from lightning_vista.vista.samples import read_members, sample_error
from lightning_vista.vista.storage import Storage


def verify_shards(shards: str | Path, num_workers: int | None = None, limits: VideoLimits = USUAL_LIMITS) -> ShardIndex:
    """Read every sample of the shards, compare it with the index, and decode all of its frames.

    Args:
        shards: Folder of the shards, or its address.
        num_workers: Number of threads; by default the number of cores.
        limits: The most that a video may be; a larger one is a fault.

    Returns:
        The index.

    Raises:
        FileNotFoundError: If there is no index.
        ShardError: If any sample is missing, changed or undecodable; the message lists all of them.

    Example:
        >>> index = verify_shards("shards")  # doctest: +SKIP
    """
    storage = Storage(shards, cache_mb=0)  # checks the files at the address, not a cached copy of them
    index = ShardIndex.read(storage)
    faults: list[str] = []
    with progress_bar("Checking samples", total=len(index.samples)) as advance:
        for fault in ordered_map(partial(_fault, storage, limits), index.samples, num_workers or os.cpu_count() or 1):
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


def _fault(storage: Storage, limits: VideoLimits, sample: Sample) -> str | None:
    """Describe the fault of a sample; return None if there is none."""
    try:
        members = read_members(storage, sample, limits)
    except ShardError as error:
        return str(error)
    try:
        description = json.loads(members["json"])
        if "mp4" in members:
            check_video(members["mp4"], limits)
        for image in (content for ending, content in members.items() if ending.endswith("jpg")):
            decode_jpeg(image, limits)
    except (KeyError, OSError, ValueError) as error:
        return str(sample_error(sample, error))
    if description["video"] != sample.video or sample_key(sample.video) != sample.key:
        return str(sample_error(sample, f"holds another video, {description['video']}"))
    if memberships_from_json(description["memberships"]) != sample.memberships:
        return str(sample_error(sample, "its problem sets are not those of the index"))
    return None
