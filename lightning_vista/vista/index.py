"""`index.json`: the list of samples in a folder of shards, and the place of each."""

import hashlib
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from lightning_vista.files.own_files import (
    VERSION_KEY,
    DamagedFileError,
    from_sealed_json,
    to_sealed_json,
    write_sealed_json,
)
from lightning_vista.video import FrameSpec
from lightning_vista.vista.layout import ProblemSets, Skipped, stays_inside
from lightning_vista.vista.problem_sets import LabelledVideo, ProblemSet
from lightning_vista.vista.storage import Storage

INDEX_NAME = "index.json"
#: 1 lacks a checksum and the checksums of the source files.
INDEX_VERSION = 2
#: Attempts at a remote index. A server that announces no length can lose its end unnoticed.
_ATTEMPTS = 4
_SHARD_NAME = re.compile(r"\d{6,}\.tar")
#: Beginning of an index, which starts with the plan, and of the list of a part's shards, which starts with the part.
_BEGINNING = re.compile(rb'\s*\{\s*"version":\s*\d+,\s*"(plan|part)":')


class ShardError(ValueError):
    """Incomplete, changed or unreadable shards; the message names them and the remedy."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A problem set that a video belongs to, with the video's true labels in it."""

    problem_set: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One video of the shards.

    Attributes:
        key: Stem of its files in the tar: the first 16 hex digits of the SHA-256 of `video`.
        video: Path of the video, `<environment>/<path>`.
        shard: Name of the tar file.
        offset: Start of its first tar header, in bytes.
        bytes: Length of all its tar members, headers and padding included.
        sha256: SHA-256 of these bytes.
        memberships: Problem sets that the video is in.
        source_sha256: SHA-256 of the video's file when it was packed; empty in an index of version 1.
    """

    key: str
    video: str
    shard: str
    offset: int
    bytes: int
    sha256: str
    memberships: tuple[Membership, ...]
    source_sha256: str = ""


#: Entries of a sample in an index of any version.
_SAMPLE_KEYS = {entry.name for entry in fields(Sample)} - {"source_sha256"}


@dataclass(frozen=True)
class ShardIndex:
    """The content of `index.json`.

    Attributes:
        problem_sets: Problem sets, with their videos in the order of the samples.
        samples: Videos, in the order of the shards.
        frames: Frames that the samples hold as JPEG images; None where they hold whole videos.
        skipped: Videos left out on request, with the reason.
        plan: Hash of the build's input: the list of videos, their labels and sizes, and the settings.
        unannounced: Videos whose files do not announce their length, so that a cut would go unnoticed.
        split: Split of the dataset, such as `test`; None where nobody has recorded it.
    """

    problem_sets: ProblemSets
    samples: tuple[Sample, ...]
    frames: FrameSpec | None
    skipped: tuple[Skipped, ...]
    plan: str
    unannounced: tuple[str, ...] = ()
    split: str | None = None

    def summary(self) -> str:
        """Return the counts in words."""
        shards = len({sample.shard for sample in self.samples})
        return f"{len(self.problem_sets)} problem sets, {len(self.samples)} videos, {shards} shard(s)"

    def to_bytes(self) -> bytes:
        """Return the content of `index.json`; the same index gives the same bytes."""
        return to_sealed_json(self.to_document(), INDEX_VERSION)

    def to_document(self) -> dict[str, Any]:
        """Return the index as JSON values and samples, without version and seal."""
        memberships = [membership for sample in self.samples for membership in sample.memberships]
        return {
            "plan": self.plan,
            "totals": {
                "problem_sets": len(self.problem_sets),
                "samples": len(self.samples),
                "memberships": len(memberships),
                "labels": sum(len(membership.labels) for membership in memberships),
                "shards": len({sample.shard for sample in self.samples}),
                "bytes": sum(sample.bytes for sample in self.samples),
            },
            "frames": None if self.frames is None else _stored_spec(self.frames),
            "skipped": [asdict(skipped) for skipped in self.skipped],
            **({"unannounced": list(self.unannounced)} if self.unannounced else {}),
            **({"split": self.split} if self.split else {}),
            "problem_sets": [problem_set_header(problem_set) for problem_set in self.problem_sets],
            "samples": self.samples,
        }

    def as_read(self) -> "ShardIndex":
        """Return the index as `read` returns it: problem sets have the videos of the samples, in the same order."""
        return ShardIndex.from_document(self.to_document())

    def write(self, folder: Path) -> None:
        """Write `index.json` in one step, so that a reader finds a whole file or none."""
        write_sealed_json(folder / INDEX_NAME, self.to_document(), INDEX_VERSION)

    def restricted_to(self, problem_sets: Iterable[ProblemSet]) -> "ShardIndex":
        """Return the index restricted to some of its problem sets, and to the videos in any of them."""
        chosen = ProblemSets(problem_sets, self.problem_sets.skipped)
        ids = {problem_set.id for problem_set in chosen}
        samples = []
        for sample in self.samples:
            memberships = tuple(membership for membership in sample.memberships if membership.problem_set in ids)
            if memberships == sample.memberships:
                samples.append(sample)
            elif memberships:
                samples.append(replace(sample, memberships=memberships))
        return replace(self, problem_sets=chosen, samples=tuple(samples))

    @classmethod
    def read(cls, storage: Storage) -> "ShardIndex":
        """Read the index of a folder of shards.

        Args:
            storage: The folder of shards, local or remote.

        Returns:
            The index.

        Raises:
            FileNotFoundError: If the index is missing: the build has not finished, or the folder is the wrong one.
            ShardError: If the file is damaged, not an index of a known version, or names something other than shards.
        """
        source = f"{INDEX_NAME} in {storage.shown_url}"
        try:
            document = _read_document(storage, source, attempts=1 if storage.is_local else _ATTEMPTS)
            if document[VERSION_KEY] == 1:
                warnings.warn(
                    f"{source} is of an earlier release and has no checksum, so damage to it goes unnoticed. The "
                    "command `lightning-vista shards build` that made it adds one, and packs nothing again.",
                    stacklevel=2,
                )
            return cls.from_document(document)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"No {source}. Give a folder that `lightning-vista shards build` has finished."
            ) from None
        except DamagedFileError as error:
            raise ShardError(str(error)) from error
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ShardError(f"{source} is damaged ({error!r}). Build the shards again with --overwrite.") from error

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ShardIndex":
        """Return the index of a document that was read with `sample_hook`; the inverse of `to_document`.

        Args:
            document: The document, which may come from anywhere.

        Raises:
            ValueError: If a value is not one that a build writes. Values of other types may raise AttributeError,
                IndexError, KeyError or TypeError.
        """
        samples = tuple(document["samples"])
        _check_samples(samples)
        videos: dict[str, list[LabelledVideo]] = {}
        for sample in samples:
            for membership in sample.memberships:
                path = sample.video.split("/", 1)[1]
                videos.setdefault(membership.problem_set, []).append(LabelledVideo(path, membership.labels))
        problem_sets = [
            ProblemSet(videos=tuple(videos.get(header["id"], ())), **header) for header in document["problem_sets"]
        ]
        unknown = sorted(set(videos) - {problem_set.id for problem_set in problem_sets})
        if unknown:
            raise ValueError(f"samples of unknown problem sets: {', '.join(unknown)}")
        _check_problem_sets(problem_sets)
        frames = document["frames"]
        if frames is not None and isinstance(frames["size"], list):
            frames = {**frames, "size": tuple(frames["size"])}
        return cls(
            problem_sets=ProblemSets(problem_sets),
            samples=samples,
            frames=None if frames is None else FrameSpec(**frames),
            skipped=tuple(Skipped(**entry) for entry in document["skipped"]),
            plan=document["plan"],
            unannounced=tuple(document.get("unannounced", ())),
            split=check_split(document.get("split")),
        )


def check_split(split: str | None) -> str | None:
    """Check the name of a split, which may come from anywhere, and return it.

    Args:
        split: The name, or None.

    Raises:
        ValueError: If it is not a text of 1 to 40 printable characters.
    """
    if split is not None and not (isinstance(split, str) and split.isprintable() and 0 < len(split.strip()) <= 40):
        raise ValueError(f"`split`: expected a name of up to 40 characters such as test, got {split!r:.80}.")
    return split


def is_own_document(content: bytes) -> bool:
    """Say whether a file is an index, or the list of a part's shards, by its beginning; it may be damaged.

    Example:
        >>> is_own_document(b'{"version": 2, "plan": "0a1b"'), is_own_document(b'{"name": "my web site"}')
        (True, False)
    """
    return _BEGINNING.match(content) is not None


def _stored_spec(frames: FrameSpec) -> dict[str, Any]:
    """Return the settings of stored frames; shards store JPEG files of a quality of their own."""
    return {name: value for name, value in asdict(frames).items() if name != "jpeg_quality"}


def problem_set_header(problem_set: ProblemSet) -> dict[str, Any]:
    """Return a problem set as JSON, without its videos."""
    return {
        "id": problem_set.id,
        "descriptions": dict(problem_set.descriptions),
        "hint": problem_set.hint,
        "example": problem_set.example,
        "extra": dict(problem_set.extra),
    }


def sample_hook(entry: dict[str, Any]) -> Any:
    """Return the sample of a JSON object, and any other object as it is: an `object_hook` of JSON.

    Large indices are read so, since the objects of all samples at once take twice the memory of the samples.

    Args:
        entry: A JSON object, which may come from anywhere.

    Raises:
        KeyError: If it has all entries of a sample, and its memberships lack one.
        TypeError: If it has more entries, or a value is of another type.
    """
    # The labels of a problem set may have these names too; they lead to texts.
    if not entry.keys() >= _SAMPLE_KEYS or type(entry["memberships"]) is not list:
        return entry
    # One text for all samples with the same shard, problem set or label, of which JSON makes a new one each time.
    shared = {"shard": sys.intern(entry["shard"]), "memberships": memberships_from_json(entry["memberships"])}
    return Sample(**{**entry, **shared})


def memberships_from_json(entries: Sequence[Mapping[str, Any]]) -> tuple[Membership, ...]:
    """Return the memberships of a sample from their JSON list."""
    return tuple(
        Membership(sys.intern(entry["problem_set"]), tuple(map(sys.intern, entry["labels"]))) for entry in entries
    )


def sample_key(video: str) -> str:
    """Return the key of a video: the first 16 hex digits of the SHA-256 of its path.

    Paths hold dots and spaces; webdataset splits keys at the first dot.

    Args:
        video: Path of the video, `<environment>/<path>`.

    Returns:
        The key.

    Example:
        >>> sample_key("home/objects/a ball.mp4")
        '8ecf939da4af8f8f'
    """
    return hashlib.sha256(video.encode()).hexdigest()[:16]


def _read_document(storage: Storage, source: str, attempts: int) -> dict[str, Any]:
    """Read and check the file; one that is damaged may have arrived so, and is read again."""
    content, remedy = storage.read_file(INDEX_NAME), "Build the shards again with --overwrite."
    if not is_own_document(content):
        remedy = "If a build of shards wrote it, move it away and build again; else give another folder."
    try:
        return from_sealed_json(
            content, source, version=INDEX_VERSION, sealed_since=2, remedy=remedy, object_hook=sample_hook
        )
    except DamagedFileError:
        if attempts == 1:
            raise
        return _read_document(storage, source, attempts - 1)


def _check_samples(samples: Sequence[Sample]) -> None:
    """Refuse places and names that a build does not write: an index may come from anywhere.

    Keys become names of files, and paths of videos the keys; names such as `../x` or `pipe:command` must never reach a
    file system.
    """
    for sample in samples:
        if not isinstance(sample, Sample):
            raise ValueError(f"expected samples, got {sample!r:.80}")
        if not isinstance(sample.video, str) or not stays_inside(sample.video) or "/" not in sample.video:
            raise ValueError(f"expected paths of videos, got {sample.video!r:.80}")
        if sample.key != sample_key(sample.video):
            raise ValueError(f"{sample.video}: expected the key {sample_key(sample.video)}, got {sample.key!r:.80}")
        if not isinstance(sample.shard, str) or not _SHARD_NAME.fullmatch(sample.shard):
            raise ValueError(f"{sample.video}: expected the name of a shard, got {sample.shard!r:.80}")
        place = (sample.offset, sample.bytes)
        if not all(type(number) is int and 0 <= number < 2**63 for number in place):
            raise ValueError(f"{sample.video}: expected an offset and a number of bytes, got {place!r:.80}")
    if len({sample.key for sample in samples}) < len(samples):
        raise ValueError("a video is listed twice")


def _check_problem_sets(problem_sets: Iterable[ProblemSet]) -> None:
    """Refuse ids that are not paths in the official layout, and labels without a description."""
    for problem_set in problem_sets:
        if not stays_inside(problem_set.id) or len(problem_set.id.split("/")) < 3:
            raise ValueError(f"expected ids <environment>/<level folder>/<type>/<name>, got {problem_set.id!r:.80}")
        if not problem_set.level or not problem_set.kind:  # raises where it does not know them
            raise ValueError(f"{problem_set.id}: expected a level and a kind")
        texts = [text for pair in problem_set.descriptions.items() for text in pair]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{problem_set.id}: expected descriptions, got {problem_set.descriptions!r:.80}")
        unknown = {label for video in problem_set.videos for label in video.labels} - set(problem_set.descriptions)
        if unknown:
            raise ValueError(f"{problem_set.id}: expected labels with a description, got {sorted(unknown)!r:.80}")
