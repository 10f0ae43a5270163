"""Building WebDataset shards of the official layout."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from lightning_vista.files.own_files import file_sha256, written_whole
from lightning_vista.options import check_word
from lightning_vista.processes.parallel import count_workers, ordered_map
from lightning_vista.processes.progress import progress_bar
from lightning_vista.video import FrameSpec, check_video, decode_video
from lightning_vista.video.encoding import encode_jpeg
from lightning_vista.video.sampling import TIME_DIGITS
from lightning_vista.video.video_limits import USUAL_LIMITS, VideoLimits
from lightning_vista.vista.build_folder import (
    ShardRecord,
    forget_records,
    read_record,
    refuse_foreign,
    remove_leftovers,
    sole_builder,
    write_record,
)
from lightning_vista.vista.index import (
    INDEX_NAME,
    Membership,
    Sample,
    ShardError,
    ShardIndex,
    check_split,
    problem_set_header,
    sample_key,
)
from lightning_vista.vista.layout import ProblemSets, Skipped, read_problem_sets
from lightning_vista.vista.mini_state import recorded_split
from lightning_vista.vista.parts import BuildPart, write_part
from lightning_vista.vista.problem_sets import level_of
from lightning_vista.vista.samples import END_OF_SHARD, pack_sample
from lightning_vista.vista.storage import Storage

Missing = Literal["error", "skip"]


@dataclass(frozen=True, slots=True)
class _Video:
    """A video to pack."""

    name: str
    size: int
    changed: int
    memberships: tuple[Membership, ...]


class _Packed(NamedTuple):
    """A packed sample, and what its index entry says about the video's file."""

    content: bytes
    announces_length: bool
    source_sha256: str


@dataclass(frozen=True)
class _Settings:
    """The folder of the videos, and the settings that the content of a shard depends on."""

    folder: Path
    frames: FrameSpec | None
    limits: VideoLimits

    @property
    def plan(self) -> Any:
        """Identity of a build; without the usual limits, which earlier releases did not have."""
        return self.frames if self.limits == USUAL_LIMITS else [self.frames, self.limits]


def _pack(video: _Video, settings: _Settings) -> _Packed | str:
    """Return the packed sample of a video, or the reason why it cannot be packed."""
    description: dict[str, Any] = {
        "video": video.name,
        "environment": video.name.split("/")[0],
        "level": level_of(video.memberships[0].problem_set.split("/")[1]),
        "memberships": [asdict(membership) for membership in video.memberships],
    }
    try:
        settings.limits.check_bytes(video.size)
        data = (settings.folder / video.name).read_bytes()
        announces_length = check_video(data, settings.limits)
        if settings.frames is None:
            content = [("mp4", data)]
        else:
            clip = decode_video(data, settings.frames, settings.limits)
            content = [(f"{i:03d}.jpg", encode_jpeg(frame)) for i, frame in enumerate(clip.frames)]
            times = [round(time, TIME_DIGITS) for time in clip.all_times]
            description |= {"frame_indices": clip.indices, "all_times": times}
    except ValueError as error:  # VideoError, or a sampling that does not fit the video's length
        return str(error)
    header = json.dumps(description, ensure_ascii=False).encode()
    packed = pack_sample(sample_key(video.name), [("json", header), *content])
    return _Packed(packed, announces_length, hashlib.sha256(data).hexdigest())


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
    limits: VideoLimits = USUAL_LIMITS,
    part: BuildPart | None = None,
    split: str | None = None,
) -> ShardIndex:
    """Pack every video of the selected problem sets once into `{000000..}.tar` and `index.json`.

    The first and the last frame of every video are decoded on the way. Each shard is finished in one step, and
    `index.json` is written last. So a build that was killed resumes where it stopped and ends with the same bytes.
    Whatever an earlier build left is compared first: videos by size, time and hash, shards by the hash of every sample.
    A shard of a finished build that is gone or damaged is packed again. A second build of the same folder waits.

    Args:
        tasks_dir: Folder of the problem sets, see `read_problem_sets`.
        videos_dir: Folder of the videos; the file of an entry is `<videos_dir>/<environment>/<path>`.
        out_dir: Folder for the shards; it is created if needed.
        select: Glob patterns of problem set ids (`*` also matches slashes).
        max_shard_mb: Megabytes (10^6 bytes) that the videos of one shard may not exceed; a larger video gets a shard
            of its own.
        missing: Treatment of absent or undecodable videos: `error`, or `skip` to list them in the index.
        frames: Frames to store as JPEG images (quality 95) in place of the videos; None stores the videos.
        overwrite: Whether to replace a finished build of something else.
        num_workers: Number of threads that read and check videos; by default the number of cores.
        limits: The most that a video may be; a larger one cannot be packed.
        part: BuildPart of the shards to build, for `merge_parts`; by default all of them.
        split: Name of the data's split, which reports show; by default that of the embedded dataset, else none.

    Returns:
        The index, or that of the part.

    Raises:
        FileNotFoundError: If a folder does not exist.
        FileExistsError: If `out_dir` holds a finished build of something else and `overwrite` is False, or files that
            are named like shards and that no build has written.
        OSError: If the disk is full; names the file.
        ProblemSetError: If a problem set is broken.
        ShardError: If a video is missing, undecodable, outside `videos_dir`, or changed since a finished build packed
            it; the message lists all of them.
        ValueError: If a pattern of `select` does not match, `max_shard_mb` is not positive, `missing` is unknown, or
            `split` is not a short name.

    Example:
        >>> index = build_shards("tasks", "videos", "shards", select=["alfred/*"])  # doctest: +SKIP
    """
    check_word("missing", missing, get_args(Missing))
    workers = count_workers(num_workers)
    if not 0 < max_shard_mb < math.inf:
        raise ValueError(f"`max_shard_mb`: expected a positive number of megabytes, got {max_shard_mb}.")
    split = check_split(split) or recorded_split(tasks_dir)
    out = Path(out_dir)
    problem_sets = read_problem_sets(tasks_dir).matching(select)
    videos, absent = _find_videos(problem_sets, Path(videos_dir))
    _check_missing(absent, missing, Path(videos_dir))
    headers = [problem_set_header(problem_set) for problem_set in problem_sets]
    # Names, sizes and labels identify a build. Times and hashes are compared shard by shard: where the content of a
    # video changes between two attempts, the rest of an unfinished build is still of use.
    settings = _Settings(Path(videos_dir), frames, limits)
    listing = [(video.name, video.size, video.memberships) for video in videos]
    plan = _hash(headers, listing, absent, settings.plan, max_shard_mb)
    out.mkdir(parents=True, exist_ok=True)
    with sole_builder(out):
        contents = dict(enumerate(_divide(videos, int(max_shard_mb * 1e6))))
        own = {number: content for number, content in contents.items() if part is None or part.holds(number)}
        written = [*([] if part is None else [part.file_name]), *map(_shard_name, own)]
        finished = _finished_build(out, plan, overwrite, written)
        if part is not None and finished is not None:
            raise FileExistsError(f"{out} holds a finished build of all parts. Give a part another folder.")
        shards = _build_shards(out, own, settings, workers, finished)
        left_out = [entry for shard in shards for entry in shard.skipped]
        skipped = sorted(absent + left_out, key=lambda entry: entry.path)
        _check_missing(skipped, missing, Path(videos_dir))
        samples = tuple(sample for shard in shards for sample in shard.samples)
        unannounced = tuple(video for shard in shards for video in shard.unannounced)
        index = ShardIndex(problem_sets, samples, frames, tuple(skipped), plan, unannounced, split)
        if part is not None:
            write_part(out, part, index)  # beside the records, with which the same command resumes
            return index.as_read()
        # In this order: a kill before the index leaves a build to resume, a kill after it only files to remove.
        if finished is None or (out / INDEX_NAME).read_bytes() != index.to_bytes():
            index.write(out)
        remove_leftovers(out, index.samples)
    return index.as_read()  # without videos that were left out


def _build_shards(
    out: Path, contents: Mapping[int, list[_Video]], settings: _Settings, num_workers: int, finished: ShardIndex | None
) -> list[ShardRecord]:
    """Write all shards, given by their numbers, that an earlier build has not finished."""
    videos = [video for content in contents.values() for video in content]
    records = {} if finished is None else _records_of(finished, videos, settings.folder, num_workers)
    left_out = {} if finished is None else {entry.path: entry for entry in finished.skipped}
    shards = []
    with progress_bar("Packing videos", total=len(videos)) as advance:
        for number, content in contents.items():
            name = _shard_name(number)
            record = records.get(name)
            skipped = [left_out[video.name] for video in content if video.name in left_out]
            if record is not None:
                record.skipped = skipped
            elif len(skipped) == len(content):  # a finished build names no shard without samples
                shards.append(ShardRecord(name, skipped=skipped))
                continue
            shards.append(_build_shard(out, name, content, settings, num_workers, record))
            advance(len(content))
    return shards


def _shard_name(number: int) -> str:
    return f"{number:06d}.tar"


def _find_videos(problem_sets: ProblemSets, folder: Path) -> tuple[list[_Video], list[Skipped]]:
    """Return the videos in the order of their paths, and those that cannot be packed."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"No folder of videos at {folder}. Give the folder that holds the environments' videos."
        )
    root = folder.resolve()
    videos, absent = [], []
    shared: dict[tuple[Membership, ...], tuple[Membership, ...]] = {}  # one object for all videos with the same labels
    for name, members in problem_sets.memberships().items():
        path = folder / name
        if not path.is_file():
            absent.append(Skipped(name, "missing"))
        elif not path.resolve().is_relative_to(root):
            absent.append(Skipped(name, "a link that leaves the video folder: copy the file into it"))
        else:
            memberships = tuple(Membership(problem_set.id, labels) for problem_set, labels in members)
            status = path.stat()
            memberships = shared.setdefault(memberships, memberships)
            videos.append(_Video(name, status.st_size, status.st_mtime_ns, memberships))
    return videos, absent


def _check_missing(skipped: Sequence[Skipped], missing: Missing, folder: Path) -> None:
    """Raise one error for all videos that cannot be packed, unless they are to be skipped."""
    if skipped and missing == "error":
        lines = "\n".join(f"  - {entry.path}: {entry.reason}" for entry in skipped)
        raise ShardError(
            f"{len(skipped)} video(s) below {folder} cannot be packed:\n{lines}\n"
            "Add or fix them and run the same command again, or leave them out with --missing skip."
        )


def _hash(*parts: object) -> str:
    """Return a hash of anything made of JSON values and dataclasses."""
    digest = hashlib.sha256()
    for piece in json.JSONEncoder(default=asdict).iterencode(parts):  # of a whole dataset: not in one text
        digest.update(piece.encode())
    return digest.hexdigest()


def _finished_build(out: Path, plan: str, overwrite: bool, written: Sequence[str]) -> ShardIndex | None:
    """Return the finished build of the same plan, or None if the files of these names are to be written."""
    refuse_foreign(out, [INDEX_NAME])
    if (out / INDEX_NAME).exists() and not overwrite:
        index = ShardIndex.read(Storage(out))
        if index.plan == plan:
            return index
        raise FileExistsError(
            f"{out} holds shards of other videos or settings. Give another folder, or replace them with --overwrite."
        )
    refuse_foreign(out, written)
    if (out / INDEX_NAME).exists():
        # The index goes first: without it nobody takes the half-replaced folder for a finished build.
        (out / INDEX_NAME).unlink()
        forget_records(out)
    return None


def _records_of(index: ShardIndex, videos: Sequence[_Video], folder: Path, num_workers: int) -> dict[str, ShardRecord]:
    """Return the record of every shard of a finished build, after comparing all videos with what was packed.

    Raises:
        ShardError: If videos have changed since; names all of them.
    """
    samples = {sample.video: sample for sample in index.samples}
    packed = [video for video in videos if video.name in samples]
    changed, now = [], {}
    with progress_bar("Comparing videos", total=len(packed)) as advance:
        for video, digest in zip(packed, _hash_sources(packed, folder, num_workers), strict=True):
            known = samples[video.name].source_sha256
            now[video.name] = digest
            if known and digest != known:
                changed.append(video.name)
            advance(1)
    if changed:
        lines = "\n".join(f"  - {name}" for name in changed)
        raise ShardError(f"{len(changed)} video(s) have changed since they were packed:\n{lines}\nAdd --overwrite.")
    records: dict[str, ShardRecord] = {}
    for sample in index.samples:
        own = records.setdefault(sample.shard, ShardRecord(sample.shard))
        own.samples.append(replace(sample, source_sha256=now[sample.video]))
        own.unannounced += [sample.video] * (sample.video in index.unannounced)
    return records


def _divide(videos: Iterable[_Video], max_bytes: int) -> list[list[_Video]]:
    """Divide the videos into consecutive parts that fit into a shard each."""
    shards: list[list[_Video]] = []
    room = 0
    for video in videos:
        if not shards or video.size > room:
            shards.append([])
            room = max_bytes
        shards[-1].append(video)
        room -= video.size
    return shards


def _build_shard(
    out: Path,
    name: str,
    videos: list[_Video],
    settings: _Settings,
    num_workers: int,
    finished: ShardRecord | None,
) -> ShardRecord:
    """Write one shard, or reuse the one that an earlier build finished."""
    plan = _hash(videos, settings.plan, name)
    done = finished or _resumed(out, name, plan, videos, settings.folder, num_workers)
    if done is not None and done.is_intact(out):
        return done
    shard, offset = ShardRecord(name), 0
    with written_whole(out / name) as temporary, temporary.open("wb") as file:
        for video, packed in zip(
            videos, ordered_map(partial(_pack, settings=settings), videos, num_workers), strict=True
        ):
            if isinstance(packed, str):
                shard.skipped.append(Skipped(video.name, packed))
                continue
            content, key = packed.content, sample_key(video.name)
            place = (name, offset, len(content), hashlib.sha256(content).hexdigest())
            shard.samples.append(Sample(key, video.name, *place, video.memberships, packed.source_sha256))
            offset += file.write(content)
            if not packed.announces_length:
                shard.unannounced.append(video.name)
        file.write(END_OF_SHARD)
    write_record(out, shard, plan)
    return shard


def _resumed(
    out: Path, name: str, plan: str, videos: Sequence[_Video], folder: Path, num_workers: int
) -> ShardRecord | None:
    """Return the record that an interrupted build left of a shard, if all its videos are still the same."""
    record = read_record(out, name, plan)
    if record is None:
        return None
    known = {sample.video: sample.source_sha256 for sample in record.samples}
    packed = [video for video in videos if video.name in known]
    digests = _hash_sources(packed, folder, num_workers)
    same = all(known[video.name] == digest for video, digest in zip(packed, digests, strict=True))
    return record if same else None


def _hash_sources(videos: Iterable[_Video], folder: Path, num_workers: int) -> Iterator[str]:
    return ordered_map(file_sha256, (folder / video.name for video in videos), num_workers)
