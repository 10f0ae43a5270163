"""A build of shards in parts, on several machines, and the joining of the parts."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from lightning_vista.files.documents import check_regular
from lightning_vista.files.own_files import DamagedFileError, from_sealed_json, write_sealed_json, written_whole
from lightning_vista.processes.progress import progress_bar
from lightning_vista.vista.build_folder import ShardRecord, refuse_foreign, remove_leftovers, sole_builder
from lightning_vista.vista.index import INDEX_NAME, INDEX_VERSION, ShardError, ShardIndex, sample_hook
from lightning_vista.vista.storage import Storage

_PART_NAME = re.compile(r"part-(\d+)-of-(\d+)\.json")


@dataclass(frozen=True)
class BuildPart:
    """One of several parts of a build: every `count`-th shard, beginning with shard `number` - 1.

    The parts of a build have about the same size, and a machine needs to know only its number.
    """

    number: int
    count: int

    def holds(self, shard: int) -> bool:
        """Say whether a shard, counted from 0, belongs to this part."""
        return shard % self.count == self.number - 1

    @property
    def file_name(self) -> str:
        """Name of the file that lists the shards of this part."""
        return f"part-{self.number}-of-{self.count}.json"


def parse_part(text: str) -> BuildPart:
    """Return the part that an option such as `2/8` names.

    Args:
        text: Number of the part, from 1, and number of parts.

    Raises:
        ValueError: If it is not of this form.

    Example:
        >>> parse_part("2/8")
        BuildPart(number=2, count=8)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    part = BuildPart(int(match[1]), int(match[2])) if match else BuildPart(0, 0)
    if not 1 <= part.number <= part.count:
        raise ValueError(f"`part`: expected NUMBER/PARTS such as 2/8, with numbers from 1, got {text!r}.")
    return part


def write_part(folder: Path, part: BuildPart, index: ShardIndex) -> None:
    """Write the list of a part's shards: its finished build, without which it cannot be merged.

    Args:
        folder: Folder of the shards.
        part: The part.
        index: Index of the part's shards.
    """
    document = {"part": part.number, "parts": part.count, **index.to_document()}
    write_sealed_json(folder / part.file_name, document, INDEX_VERSION)


def merge_parts(parts: Sequence[str | Path], out_dir: str | Path, *, overwrite: bool = False) -> ShardIndex:
    """Join the parts of a build into shards with the same bytes as those of a build at once.

    Shards are linked where both folders are on one file system, else copied, and compared with their checksums.

    Args:
        parts: Folders of all parts, in any order.
        out_dir: Folder for the shards.
        overwrite: Whether to replace other shards in it.

    Returns:
        The index.

    Raises:
        FileNotFoundError: If a folder holds no finished part.
        FileExistsError: If `out_dir` holds shards of another build and `overwrite` is False.
        ShardError: If parts are missing, given twice, damaged, or of different builds, or the index of `out_dir` is
            damaged; names them.

    Example:
        >>> index = merge_parts(["part-1", "part-2"], "shards")  # doctest: +SKIP
    """
    out = Path(out_dir)
    found = [each for folder in parts for each in _read_parts(Path(folder))]
    _check_complete([part for _, part, _ in found], [(index.plan, index.split) for _, _, index in found], parts)
    index = _joined([index for _, _, index in found])
    sources = {sample.shard: folder for folder, _, own in found for sample in own.samples}
    out.mkdir(parents=True, exist_ok=True)
    with sole_builder(out):
        refuse_foreign(out, [INDEX_NAME, *sources])
        if (out / INDEX_NAME).exists() and (out / INDEX_NAME).read_bytes() != index.to_bytes():
            if not overwrite:
                ShardIndex.read(Storage(out))  # names the file if it is damaged, rather than of another build
                raise FileExistsError(f"{out} holds other shards. Give another folder, or add --overwrite.")
            (out / INDEX_NAME).unlink()  # first: without it nobody takes the folder for a finished build
        with progress_bar("Joining shards", total=len(sources)) as advance:
            for name, folder in sorted(sources.items()):
                samples = [sample for sample in index.samples if sample.shard == name]
                _take_over(folder, out, ShardRecord(name, samples))
                advance(1)
        index.write(out)
        remove_leftovers(out, index.samples)
    return index


def _read_parts(folder: Path) -> list[tuple[Path, BuildPart, ShardIndex]]:
    """Read the finished parts in a folder."""
    names = sorted(path.name for path in folder.iterdir() if _PART_NAME.fullmatch(path.name)) if folder.is_dir() else []
    if not names:
        raise FileNotFoundError(
            f"{folder} holds no finished part. Give a folder that `lightning-vista shards build --part` has finished."
        )
    found = []
    for name in names:
        path, remedy = folder / name, "Run `lightning-vista shards build --part` again."
        check_regular(path)
        try:
            content = path.read_bytes()
            document = from_sealed_json(content, path, version=INDEX_VERSION, remedy=remedy, object_hook=sample_hook)
            part = BuildPart(document["part"], document["parts"])
            if part.file_name != name or not 1 <= part.number <= part.count:
                raise ValueError(f"it is part {part.number} of {part.count}")
            found.append((folder, part, ShardIndex.from_document(document)))
        except DamagedFileError:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ShardError(f"{path} is damaged ({error!r}). {remedy}") from error
    return found


def _check_complete(found: Sequence[BuildPart], plans: Collection[object], folders: Iterable[str | Path]) -> None:
    shown = ", ".join(map(str, folders))
    counts = {part.count for part in found}
    if len(set(plans)) > 1 or len(counts) > 1:
        raise ShardError(
            f"{shown}: expected parts of one build, got {len(set(plans))} builds in {sorted(counts)} parts. Build all "
            "parts from the same files with the same options."
        )
    numbers = Counter(part.number for part in found)
    (count,) = counts
    if len(numbers) < count:  # which may be any number: not all of them are listed
        missing = [*islice((number for number in range(1, count + 1) if number not in numbers), 10)]
        more = ", and others" if len(numbers) + len(missing) < count else ""
        raise ShardError(
            f"{shown}: expected all {count} parts, got none of {missing}{more}. Build these, and merge again."
        )
    if repeated := sorted(number for number, times in numbers.items() if times > 1):
        raise ShardError(f"{shown}: expected each part once, got {repeated} several times. Leave copies out.")


def _joined(indices: Sequence[ShardIndex]) -> ShardIndex:
    """Return the index that a build at once would have written."""
    samples = sorted(
        (sample for index in indices for sample in index.samples), key=lambda sample: (len(sample.shard), sample.shard)
    )
    silent = {video for index in indices for video in index.unannounced}
    skipped = {entry.path: entry for index in indices for entry in index.skipped}
    joined = replace(
        indices[0],
        samples=tuple(samples),
        skipped=tuple(skipped[path] for path in sorted(skipped)),
        unannounced=tuple(sample.video for sample in samples if sample.video in silent),
    )
    return joined.as_read()  # the problem sets of a part have the videos of that part only


def _take_over(source: Path, out: Path, record: ShardRecord) -> None:
    """Bring a shard into a folder, unless it is there."""
    if record.is_intact(out):
        return
    if not record.is_intact(source):
        raise ShardError(f"{source / record.name} is missing or damaged. Build that part again, and merge again.")
    with written_whole(out / record.name) as temporary:
        try:
            os.link(source / record.name, temporary)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source / record.name, temporary)
