"""Verification of finished shards, local or remote."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning_vista.processes.parallel import count_workers, ordered_map
from lightning_vista.processes.progress import progress_bar
from lightning_vista.video import check_video
from lightning_vista.video.encoding import decode_jpeg
from lightning_vista.video.video_limits import USUAL_LIMITS, VideoLimits
from lightning_vista.vista.index import Sample, ShardError, ShardIndex, memberships_from_json, sample_key
from lightning_vista.vista.remote import Retries
from lightning_vista.vista.samples import END_OF_SHARD, check_same_size, read_members, sample_description, sample_error
from lightning_vista.vista.storage import Storage


def verify_shards(
    shards: str | Path,
    num_workers: int | None = None,
    limits: VideoLimits = USUAL_LIMITS,
    retries: Retries | None = None,
) -> ShardIndex:
    """Read every sample of the shards, compare it with the index, and decode all of its frames.

    Remote shards are fetched into a temporary folder, one after another, whatever the user's cache holds.

    Args:
        shards: Folder of the shards, or its address.
        num_workers: Number of threads; by default the number of cores.
        limits: The most that a video may be; a larger one is a fault.
        retries: Patience with a remote server.

    Returns:
        The index.

    Raises:
        FileNotFoundError: If the index is missing.
        RemoteError: If a remote server does not answer, which says nothing about the shards.
        ShardError: If any sample is missing, changed or undecodable; the message lists all of them.
        ValueError: If `num_workers` is negative.

    Example:
        >>> index = verify_shards("shards")  # doctest: +SKIP
    """
    workers = count_workers(num_workers)
    storage = Storage(shards, cache_mb=0, retries=retries)
    index = ShardIndex.read(storage)
    with TemporaryDirectory(prefix="lightning-vista-verify-") as folder:
        if not storage.is_local:
            # Room for the shard that is checked, the next one, and one that is fetched again.
            largest = max((sample.offset + sample.bytes for sample in index.samples), default=0) + len(END_OF_SHARD)
            storage = Storage(shards, folder, cache_mb=3 * largest / 1e6, retries=retries)
        with progress_bar("Checking samples", total=len(index.samples)) as advance:
            faults = []
            for fault in ordered_map(partial(_fault, storage, limits), index.samples, workers):
                advance(1)
                faults += [] if fault is None else [fault]
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise ShardError(
            f"{len(faults)} of {len(index.samples)} samples in {storage.shown_url} are damaged:\n{lines}\n"
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
        description = sample_description(members)
        if "mp4" in members:
            check_video(members["mp4"], limits)
        pictures = (content for ending, content in members.items() if ending.endswith("jpg"))
        check_same_size(decode_jpeg(picture, limits).shape for picture in pictures)
    except (OSError, ValueError) as error:
        return str(sample_error(sample, error))
    if description.get("video") != sample.video or sample_key(sample.video) != sample.key:
        return str(sample_error(sample, f"holds another video, {description.get('video')}"))
    try:
        same = memberships_from_json(description["memberships"]) == sample.memberships
    except (KeyError, TypeError):
        same = False
    if not same:
        return str(sample_error(sample, "its problem sets are not those of the index"))
    return None
