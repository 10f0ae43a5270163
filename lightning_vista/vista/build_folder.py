"""The folder of a build: files that are ours by name, one builder at a time, and records of finished shards."""

import fcntl
import hashlib
import os
import re
import sys
import tarfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lightning_vista.files.own_files import DamagedFileError, from_sealed_json, write_sealed_json
from lightning_vista.vista.index import INDEX_NAME, Sample, is_own_document, sample_hook
from lightning_vista.vista.layout import Skipped
from lightning_vista.vista.samples import END_OF_SHARD

_LOCK = ".build.lock"
_SHARD = re.compile(r"\d{6,}\.tar")
#: Names of a build's intermediate files, those of earlier releases included.
_INTERMEDIATE = re.compile(
    rf"\.\d{{6,}}\.tar\.(json|tmp)|\.{re.escape(INDEX_NAME)}\.tmp"
    rf"|\.(\d{{6,}}\.tar|\.\d{{6,}}\.tar\.json|{re.escape(INDEX_NAME)})\.[0-9a-f]{{8}}\.part"
)
#: Name of the first file in a shard of ours.
_FIRST_MEMBER = re.compile(r"[0-9a-f]{16}\.json")
_STATE_VERSION = 1


@dataclass
class ShardRecord:
    """The samples of one tar file, and the videos left out of it.

    Attributes:
        name: Name of the tar file.
        samples: Its samples, in order.
        skipped: Videos left out of it.
        unannounced: Videos in it whose files do not announce their length.
    """

    name: str
    samples: list[Sample] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unannounced: list[str] = field(default_factory=list)

    def is_intact(self, folder: Path) -> bool:
        """Say whether the tar file in a folder still has the bytes of every sample, and nothing else."""
        try:
            with (folder / self.name).open("rb") as file:
                packed = (hashlib.sha256(file.read(sample.bytes)).hexdigest() for sample in self.samples)
                same = all(digest == sample.sha256 for digest, sample in zip(packed, self.samples, strict=True))
                return same and file.read() == END_OF_SHARD
        except FileNotFoundError:
            return False


@contextmanager
def sole_builder(folder: Path) -> Iterator[None]:
    """Keep other builds out of a folder until the end; wait for one that is at work, and say so.

    The lock ends with its process, also if that is killed.

    Args:
        folder: Folder of shards, which exists.
    """
    path, told = folder / _LOCK, False
    while True:
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    print(f"Another build is writing {folder}. Waiting for its end.", file=sys.stderr, flush=True)
                told = True
                fcntl.flock(file, fcntl.LOCK_EX)
            # The build before may have removed the file after this one opened it; then it locks nobody out.
            if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def write_record(folder: Path, record: ShardRecord, content: str) -> None:
    """Write the record of a finished shard, for a build that resumes.

    Args:
        folder: Folder of the shards.
        record: The record.
        content: Hash of what the shard was made of.
    """
    state = {"content": content, **{entry.name: getattr(record, entry.name) for entry in fields(record)}}
    write_sealed_json(_state_path(folder, record.name), state, _STATE_VERSION)


def read_record(folder: Path, name: str, content: str) -> ShardRecord | None:
    """Return the record that an earlier build left of a shard; None unless it was made of the same.

    A record that is damaged, or of an earlier release without checksums, is dropped with a warning.

    Args:
        folder: Folder of the shards.
        name: Name of the shard.
        content: Hash of what the shard is made of.
    """
    path = _state_path(folder, name)
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = from_sealed_json(
            path.read_bytes(),
            path,
            version=_STATE_VERSION,
            remedy=f"{name} is packed again.",
            object_hook=sample_hook,
        )
        if state["content"] != content:
            return None
        skipped = [Skipped(**entry) for entry in state["skipped"]]
        return ShardRecord(name, state["samples"], skipped, state["unannounced"])
    except DamagedFileError as error:
        warnings.warn(str(error), stacklevel=2)
        return None


def forget_records(folder: Path) -> None:
    """Remove all records of finished shards."""
    for path in folder.glob(".*.tar.json"):
        if _INTERMEDIATE.fullmatch(path.name):
            path.unlink()


def refuse_foreign(folder: Path, names: Collection[str]) -> None:
    """Refuse to write over files that no build has written.

    Args:
        folder: Folder of the shards.
        names: Names of the shards, indices and lists of parts to write.

    Raises:
        FileExistsError: If one of the names belongs to such a file.
    """
    present = [name for name in sorted(names) if (folder / name).exists() and not _state_path(folder, name).exists()]
    if foreign := [name for name in present if not _is_written_by_build(folder / name)]:
        raise FileExistsError(
            f"{folder} holds {', '.join(foreign)}, which no build of shards wrote. "
            "Give another folder, or move them away."
        )


def _is_written_by_build(path: Path) -> bool:
    return path.is_file() and (is_own_document(path.read_bytes()) if path.suffix == ".json" else is_own_file(path))


def is_own_file(path: Path) -> bool:
    """Say whether a file is a shard or an intermediate file of a build, by its name and, for shards, its beginning."""
    if _INTERMEDIATE.fullmatch(path.name):
        return True
    if not _SHARD.fullmatch(path.name):
        return False
    with path.open("rb") as file:
        header = file.read(tarfile.BLOCKSIZE)
        if header == bytes(tarfile.BLOCKSIZE):
            return file.read() == END_OF_SHARD[tarfile.BLOCKSIZE :]  # every video of it was left out
    try:
        return bool(_FIRST_MEMBER.fullmatch(tarfile.TarInfo.frombuf(header, "utf-8", "strict").name))
    except (tarfile.TarError, UnicodeDecodeError):
        return False


def remove_leftovers(folder: Path, samples: Sequence[Sample]) -> None:
    """Remove the intermediate files of this build and of earlier ones, and own shards that the index does not name."""
    used = {sample.shard for sample in samples}
    for path in folder.iterdir():
        if path.name not in used and path.is_file() and is_own_file(path):
            path.unlink()


def _state_path(folder: Path, name: str) -> Path:
    return folder / f".{name}.json"
