"""Builds WebDataset shards of the official layout, and verifies them."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lightning_vista.parallel import ordered_map
from lightning_vista.progress import progress_bar
from lightning_vista.video import FrameSpec, check_video, decode_video
from lightning_vista.video.encoding import decode_jpeg, encode_jpeg
from lightning_vista.vista.index import (
    INDEX_NAME,
    Membership,
    Sample,
    ShardError,
    ShardIndex,
    memberships_from_json,
    problem_set_header,
    sample_from_json,
)
from lightning_vista.vista.layout import ProblemSets, Skipped, read_problem_sets
from lightning_vista.vista.problem_sets import level_of
from lightning_vista.vista.samples import END_OF_SHARD, pack_sample, read_members, sample_error, sample_key
from lightning_vista.vista.storage import Storage

Missing = Literal["error", "skip"]


@dataclass(frozen=True)
class _Video:
    """A video to pack."""

    name: str
    path: Path
    size: int
    changed: int
    memberships: tuple[Membership, ...]


@dataclass
class _Shard:
    """What went into one tar file, and what was left out of it."""

    name: str
    samples: list[Sample] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unannounced: list[str] = field(default_factory=list)


def build_shards(
    tasks_dir: str | Path,
    videos_dir: str | Path,
    out_dir: str | Path,
    *,
    select: Sequence[str] = ("*",),
    max_shard_mb: float = 128,
    missing: Missing = "error",
    frames: FrameSpec | None = None,
    overwrite: bool = False,
    num_workers: int | None = None,
) -> ShardIndex:
    """Pack every video of the chosen problem sets, once each, into `{000000..}.tar` + `index.json`.

    The first and the last frame of every video are decoded on the way. Each shard is finished in one step and
    `index.json` comes last, so that a build that was killed goes on where it was and ends with the same bytes.

    Args:
        tasks_dir: The problem sets, see `read_problem_sets`.
        videos_dir: The folder of the videos: the file of an entry is `<videos_dir>/<environment>/<path>`.
        out_dir: Where the shards go; it is made where needed.
        select: Glob patterns of problem set ids (`*` also matches slashes).
        max_shard_mb: A shard is closed before the videos in it exceed this many megabytes (10^6 bytes).
        missing: What to do about absent or undecodable videos: `error`, or `skip` and list them in the index.
        frames: Where given, the samples hold these frames as JPEG images (quality 95) instead of the videos.
        overwrite: Whether to replace a finished build of something else.
        num_workers: Threads that read and check videos; as many as there are cores by default.

    Returns:
        The index.

    Raises:
        FileNotFoundError: If a folder does not exist.
        FileExistsError: If `out_dir` holds a finished build of something else and `overwrite` is False.
        ProblemSetError: If a problem set is broken.
        ShardError: If a video is missing, undecodable or outside `videos_dir`; it lists all of them.
        ValueError: If a pattern of `select` matches no problem set, or `max_shard_mb` is not positive.
    """
    if max_shard_mb <= 0 or missing not in ("error", "skip"):
        raise ValueError(
            f"Expected max_shard_mb above 0 and missing 'error' or 'skip', got {max_shard_mb} and {missing!r}."
        )
    out = Path(out_dir)
    problem_sets = read_problem_sets(tasks_dir).matching(select)
    videos, absent = _find_videos(problem_sets, Path(videos_dir))
    _check_missing(absent, missing, Path(videos_dir))
    headers = [problem_set_header(problem_set) for problem_set in problem_sets]
    listing = [(video.name, video.size, video.memberships) for video in videos]
    plan = _hash(headers, listing, absent, frames, max_shard_mb)
    finished = _finished_build(out, plan, overwrite)
    if finished is not None:
        return finished
    out.mkdir(parents=True, exist_ok=True)
    workers = num_workers or os.cpu_count() or 1
    shards = []
    with progress_bar("Packing videos", total=len(videos)) as advance:
        for number, content in enumerate(_divide(videos, int(max_shard_mb * 1e6))):
            shards.append(_build_shard(out, f"{number:06d}.tar", content, frames, workers))
            advance(len(content))
    skipped = sorted(absent + [entry for shard in shards for entry in shard.skipped], key=lambda entry: entry.path)
    _check_missing(skipped, missing, Path(videos_dir))
    samples = tuple(sample for shard in shards for sample in shard.samples)
    unannounced = tuple(video for shard in shards for video in shard.unannounced)
    index = ShardIndex(problem_sets, samples, frames, tuple(skipped), plan, unannounced)
    index.write(out)
    _remove_leftovers(out, index)
    return index


def _find_videos(problem_sets: ProblemSets, folder: Path) -> tuple[list[_Video], list[Skipped]]:
    """The videos in the order of their paths, and those that cannot be packed."""
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder of videos at {folder}.")
    root = folder.resolve()
    videos, absent = [], []
    for name, members in problem_sets.memberships().items():
        path = folder / name
        if not path.is_file():
            absent.append(Skipped(name, "missing"))
        elif not path.resolve().is_relative_to(root):
            absent.append(Skipped(name, "a link that leaves the video folder: copy the file into it"))
        else:
            memberships = tuple(Membership(problem_set.id, labels) for problem_set, labels in members)
            status = path.stat()
            videos.append(_Video(name, path, status.st_size, status.st_mtime_ns, memberships))
    return videos, absent


def _check_missing(skipped: Sequence[Skipped], missing: Missing, folder: Path) -> None:
    """Raise what cannot be packed, all at once, where that is an error."""
    if skipped and missing == "error":
        lines = "\n".join(f"  - {entry.path}: {entry.reason}" for entry in skipped)
        raise ShardError(
            f"{len(skipped)} video(s) below {folder} cannot be packed:\n{lines}\n"
            "Add or mend them and run the same command again, or leave them out with --missing skip."
        )


def _hash(*parts: object) -> str:
    """A hash of anything made of JSON values, dataclasses and paths."""
    text = json.dumps(parts, default=lambda part: str(part) if isinstance(part, Path) else asdict(part))
    return hashlib.sha256(text.encode()).hexdigest()


def _finished_build(out: Path, plan: str, overwrite: bool) -> ShardIndex | None:
    """The finished build of the same plan, None where there is work to do."""
    if not (out / INDEX_NAME).exists():
        return None
    if not overwrite:
        index = ShardIndex.read(Storage(out))
        if index.plan == plan:
            return index
        raise FileExistsError(
            f"{out} holds shards of other videos or settings: give another folder, or replace them with --overwrite."
        )
    (out / INDEX_NAME).unlink()
    for state in out.glob(".*.tar.json"):
        state.unlink()
    return None


def _divide(videos: Iterable[_Video], max_bytes: int) -> list[list[_Video]]:
    """Consecutive videos that fit a shard together."""
    shards: list[list[_Video]] = []
    room = 0
    for video in videos:
        if not shards or video.size > room:
            shards.append([])
            room = max_bytes
        shards[-1].append(video)
        room -= video.size
    return shards


def _build_shard(out: Path, name: str, videos: list[_Video], frames: FrameSpec | None, num_workers: int) -> _Shard:
    """Write one shard, or take over the one that an interrupted build finished."""
    state_path, plan = out / f".{name}.json", _hash(videos, frames, name)
    done = _resume_shard(out / name, state_path, plan)
    if done is not None:
        return done
    shard, offset = _Shard(name), 0
    with (out / f".{name}.tmp").open("wb") as file:
        for video, packed in zip(videos, ordered_map(partial(_pack, frames=frames), videos, num_workers), strict=True):
            if isinstance(packed, str):
                shard.skipped.append(Skipped(video.name, packed))
                continue
            content, announces_length = packed
            digest = hashlib.sha256(content).hexdigest()
            key = sample_key(video.name)
            shard.samples.append(Sample(key, video.name, name, offset, len(content), digest, video.memberships))
            offset += file.write(content)
            if not announces_length:
                shard.unannounced.append(video.name)
        file.write(END_OF_SHARD)
    Path(file.name).replace(out / name)
    _write_state(state_path, {"content": plan, **asdict(shard)})
    return shard


def _write_state(path: Path, state: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(state), encoding="utf-8")
    temporary.replace(path)


def _resume_shard(path: Path, state_path: Path, content: str) -> _Shard | None:
    """What an earlier build wrote down about a shard, if it is of the same content."""
    if not (path.exists() and state_path.exists()):
        return None
    state = json.loads(state_path.read_text(encoding="utf-8"))
    if state["content"] != content:
        return None
    samples = [sample_from_json(entry) for entry in state["samples"]]
    return _Shard(state["name"], samples, [Skipped(**entry) for entry in state["skipped"]], state["unannounced"])


def _pack(video: _Video, frames: FrameSpec | None) -> tuple[bytes, bool] | str:
    """Return the packed sample with whether its file announces its length, or the reason why there is none."""
    data = video.path.read_bytes()
    description: dict[str, Any] = {
        "video": video.name,
        "environment": video.name.split("/")[0],
        "level": level_of(video.memberships[0].problem_set.split("/")[1]),
        "memberships": [asdict(membership) for membership in video.memberships],
    }
    try:
        announces_length = check_video(data)
        if frames is None:
            content = [("mp4", data)]
        else:
            clip = decode_video(data, frames)
            content = [(f"{i:03d}.jpg", encode_jpeg(frame)) for i, frame in enumerate(clip.frames)]
            description |= {"frame_indices": clip.indices, "all_times": [round(time, 6) for time in clip.all_times]}
    except ValueError as error:  # VideoError, or a sampling that does not fit the video's length
        return str(error)
    header = json.dumps(description, ensure_ascii=False).encode()
    return pack_sample(sample_key(video.name), [("json", header), *content]), announces_length


def _remove_leftovers(out: Path, index: ShardIndex) -> None:
    """Remove what earlier builds and this one needed on the way."""
    used = {sample.shard for sample in index.samples}
    for path in [*out.glob(".*.tar.json"), *out.glob(".*.tmp"), *out.glob("*.tar")]:
        if path.name not in used:
            path.unlink()


def verify_shards(shards: str | Path, num_workers: int | None = None) -> ShardIndex:
    """Read every sample of the shards, compare it with the index, decode all of its frames.

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
