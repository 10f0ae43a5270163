"""Readers of foreign sources: tables, Hugging Face datasets, WebDataset shards, multiple-choice questions."""

import csv
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lightning_vista.files.documents import MAX_BYTES, check_regular, parse_json
from lightning_vista.optional import require
from lightning_vista.options import check_word
from lightning_vista.text.corpus_files import SPLIT_WORDS, named_splits
from lightning_vista.vista.source_questions import is_question, question_rows
from lightning_vista.vista.source_rows import Find, RowReader, Write, file_finder, leaves

#: Names of the formats.
SOURCE_FORMATS = ("auto", "table", "huggingface", "webdataset", "questions")
_TABLES = (".csv", ".jsonl", ".json")
_VIDEO_ENDINGS = ("mp4", "webm", "mkv", "avi", "mov")
_METADATA = ("metadata.csv", "metadata.jsonl")


def read_source(
    source: Path, source_format: str, videos: Path | None, columns: Mapping[str, str] | None, link: bool
) -> RowReader:
    """Read all rows of a source.

    Args:
        source: File or folder.
        source_format: One of `SOURCE_FORMATS`.
        videos: Folder of the videos that a file names; the file's own by default.
        columns: Column of the source for each name.
        link: Whether to link videos that are files instead of copying them.

    Returns:
        The reader, with rows and faults.

    Raises:
        FileNotFoundError: If the source does not exist, or holds nothing of a known format.
        ValueError: If the file cannot be parsed, or lacks a column.
    """
    check_word("format", source_format, SOURCE_FORMATS)
    if not source.exists():
        raise FileNotFoundError(f"No file or folder at {source}. Give a table or a dataset's folder.")
    reader = RowReader(columns)
    chosen = _guess(source) if source_format == "auto" else source_format
    if chosen in ("table", "questions"):
        _read_table(source, reader, videos, link, chosen == "questions")
    elif chosen == "webdataset":
        _read_webdataset(source, reader)
    else:
        _read_hugging_face(source, reader, videos, link)
    if not reader.rows and not reader.faults:
        raise FileNotFoundError(f"{source}: expected rows with videos, got none. Check --format, here {chosen!r}.")
    return reader


def table_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the values of each row of a CSV, JSONL or JSON file.

    Args:
        path: The file; JSON holds a list of objects, or one object with a single such list in it.

    Yields:
        Place such as `line 3`, and the row.

    Raises:
        ValueError: If the file cannot be parsed; names the line.
    """
    check_regular(path)
    try:
        yield from _table_rows(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, got another encoding: {error}. Save it as UTF-8.") from error
    except csv.Error as error:
        raise ValueError(f"{path}: expected CSV, got: {error}. Fix the file, or give JSONL.") from error


def _table_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if repeated := sorted(name for name, count in Counter(rows.fieldnames or ()).items() if count > 1):
                raise ValueError(f"{path}: expected different columns, got {', '.join(repeated)} twice. Rename one.")
            for row in rows:
                if None in row or None in row.values():
                    cells = sum(value is not None for value in row.values())
                    got = "more" if None in row else str(cells)
                    raise ValueError(
                        f"{path}, line {rows.line_num}: expected {len(rows.fieldnames or ())} cells, got {got}. "
                        "Quote cells that contain commas."
                    )
                yield f"line {rows.line_num}", row
        return
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".jsonl":
        # Not splitlines, which also divides at characters that texts may hold, such as U+2028.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"line {number}", _object(path, f"line {number}", line)
        return
    try:
        content = parse_json(text, max_bytes=len(text))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON: {error}") from error
    lists = [value for value in content.values() if isinstance(value, list)] if isinstance(content, dict) else [content]
    if len(lists) != 1 or not all(isinstance(row, dict) for row in lists[0]):
        raise ValueError(f"{path}: expected a list of objects, or one object with a single such list in it.")
    yield from ((f"entry {number}", row) for number, row in enumerate(lists[0], start=1))


def _object(path: Path, place: str, line: str) -> dict[str, Any]:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise ValueError(f"{path}, {place}: expected a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"{path}, {place}: expected a JSON object, got {type(row).__name__}.")
    return row


def _guess(source: Path) -> str:
    """Return the format of a source."""
    if source.is_dir():
        return "webdataset" if any(source.glob("*.tar")) else "huggingface"
    if source.suffix == ".tar":
        return "webdataset"
    if source.suffix not in _TABLES:
        raise ValueError(f"{source}: expected a file that ends in {', '.join(_TABLES)} or .tar, or a folder.")
    first = next(table_rows(source), ("", {}))[1]
    return "questions" if is_question(first) else "table"


def _read_table(source: Path, reader: RowReader, videos: Path | None, link: bool, questions: bool) -> None:
    """Read a table of videos, or of questions about videos."""
    # The videos of questions are a dataset that somebody else has made; a plain table is the user's own.
    find = file_finder(videos or source.parent, link, may_leave=not questions or videos is not None)
    rows = list(table_rows(source))
    if questions:
        rows = list(question_rows(rows, reader.faults))
        reader.columns = {}
    elif rows:
        reader.check_columns(list(dict.fromkeys(key for _, row in rows for key in row)))
    for place, row in rows:
        reader.add(place, row, find)


def _read_webdataset(source: Path, reader: RowReader) -> None:
    """Read tar files whose samples have a video and a .json (an object) or .txt (the description)."""
    seen: dict[str, str] = {}
    shards = _own_files(source, source.glob("*.tar")) if source.is_dir() else [source]
    _check_one_split(source, shards)
    for shard in shards:
        check_regular(shard)
        try:
            with tarfile.open(shard, "r:") as tar:  # a compressed one could grow without limit
                for key, members in _samples(tar).items():
                    place = f"sample {key} of {shard.name}"
                    if key in seen:
                        reader.faults.append(f"{place}: expected different keys, got that of {seen[key]}.")
                    seen[key] = place
                    _add_sample(reader, shard, tar, key, place, members)
        except (tarfile.TarError, EOFError) as error:
            raise ValueError(
                f"{shard}: expected a whole tar file, not compressed: {error}. Fetch it again, or unpack it."
            ) from error


def _samples(tar: tarfile.TarFile) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Return the members of each sample by their endings."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in tar:
        if member.size < 0:  # which would lead back to the same header
            raise tarfile.ReadError(f"expected a size of 0 or more for {member.name}, got {member.size}")
        folder, _, name = member.name.rpartition("/")
        stem, _, ending = name.partition(".")  # as WebDataset splits names: at the first dot
        if member.isfile() and stem:
            key = PurePosixPath(f"{folder}/{stem}".strip("/")).as_posix()  # `./a`, as `tar cf x.tar .` names it, is `a`
            samples.setdefault(key, {})[ending.lower()] = member
    return samples


def _add_sample(
    reader: RowReader, shard: Path, tar: tarfile.TarFile, key: str, place: str, members: Mapping[str, tarfile.TarInfo]
) -> None:
    """Add the rows of one sample of a tar file."""
    ending = next((ending for ending in _VIDEO_ENDINGS if ending in members), None)
    if ending is None:
        reader.faults.append(f"{place}: expected a video ({', '.join(_VIDEO_ENDINGS)}), got {', '.join(members)}.")
        return
    for name, member in members.items():
        if member.issparse():  # a few bytes may stand for any number of zeros
            reader.faults.append(f"{place}: expected plain files, got {member.name} with holes. Pack it again.")
            return
        if name in ("json", "txt") and member.size > MAX_BYTES:
            got = f"got {member.size:,}"
            reader.faults.append(f"{place}: expected at most {MAX_BYTES:,} bytes in {member.name}, {got}.")
            return
    raw: Any = {}  # any document
    if "json" in members:
        try:
            raw = parse_json(_open(tar, members["json"]).read())
        except ValueError as error:
            reader.faults.append(f"{place}: expected a JSON object: {error}")
            return
        if not isinstance(raw, dict):
            reader.faults.append(f"{place}: expected a JSON object, got {type(raw).__name__}.")
            return
    elif "txt" in members:
        raw = {"description": _open(tar, members["txt"]).read().decode("utf-8", "replace")}
    video = f"{key}.{ending}"
    named = reader.columns.get("video") or reader.column("video", raw)
    rest = {name: value for name, value in raw.items() if name != named}
    write: Write = lambda target: _extract(shard, members[ending].name, target)  # noqa: E731
    reader.add(place, {**rest, reader.columns.get("video", "video"): video}, lambda _: (video, write))


def _open(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"expected a file at {member.name}")
    return file


def _extract(shard: Path, member: str, target: Path) -> None:
    with tarfile.open(shard, "r:") as tar, _open(tar, tar.getmember(member)) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy)


def _read_hugging_face(source: Path, reader: RowReader, videos: Path | None, link: bool) -> None:
    """Read a folder of videos with `metadata.csv` or `.jsonl`, of parquet files, or as `save_to_disk` writes it."""
    if (source / "dataset_dict.json").is_file():
        raise _several_splits(source, (path.parent.name for path in source.glob("*/state.json")))
    if (source / "state.json").is_file():
        _read_saved(source, reader, videos, link)
        return
    tables = _own_files(source, (path for name in _METADATA for path in source.rglob(name)))
    parquets = _own_files(source, source.rglob("*.parquet"))
    if not tables and not parquets:
        raise FileNotFoundError(
            f"{source}: expected {' or '.join(_METADATA)}, parquet files, the files of `save_to_disk`, or *.tar, got "
            "none of these."
        )
    _check_one_split(source, tables or parquets)
    find = file_finder(videos or source, link, may_leave=videos is not None)
    splits: set[str] = set()
    for table in tables:
        rows = list(table_rows(table))
        reader.check_columns(list(dict.fromkeys(key for _, row in rows for key in row)))
        beside = table.parent.relative_to(source)
        for place, row in rows:
            column = reader.columns.get("video") or reader.column("video", row)
            if column and isinstance(row.get(column), str) and row[column]:
                path = PurePosixPath(beside.as_posix()) / row[column]
                row = {**row, column: path.as_posix()}
                folders = {folder.lower() for folder in path.parts[:-1]}
                splits |= {split for split, words in SPLIT_WORDS.items() if words & folders}
            reader.add(f"{table.relative_to(source)}, {place}", row, find)
    if len(splits) > 1:
        raise _several_splits(source, splits)
    for parquet in [] if tables else parquets:
        _read_parquet(source, parquet, reader, find)


def _check_one_split(source: Path, files: Iterable[Path]) -> None:
    """Refuse files whose names or folders below the source stand for different splits, such as train and test."""
    splits = {tuple(named_splits(file.relative_to(source).as_posix()) or ["train"]) for file in files}
    if len(splits) > 1:
        raise _several_splits(source, {split for names in splits for split in names})


def _several_splits(source: Path, splits: Iterable[str]) -> ValueError:
    return ValueError(
        f"{source}: expected one split, got several: {', '.join(sorted(splits))}. Give the folder of one; if they "
        "share a folder or a table, move those of one into a new one."
    )


def _own_files(source: Path, files: Iterable[Path]) -> list[Path]:
    """Return the files of a folder that somebody else has made, sorted; refuse links that leave it."""
    found = sorted(files)
    for file in found:
        if leaves(file, source):
            raise ValueError(
                f"{file}: expected a file inside {source}, got a link that leaves it. Copy the file there."
            )
    return found


def _read_parquet(source: Path, parquet: Path, reader: RowReader, find: Find) -> None:
    """Read one parquet file; videos are paths, or `{bytes, path}` as the Hub stores them."""
    polars = require("polars", extra="vista")
    frame = polars.scan_parquet(parquet)
    try:
        schema = frame.collect_schema()
    except polars.exceptions.PolarsError as error:
        raise ValueError(f"{parquet}: expected a parquet file: {error}. Fetch it again, or remove it.") from error
    reader.check_columns(schema.names())
    column = str(reader.column("video", schema.names()))
    if isinstance(schema[column], polars.Struct):
        if missing := {"bytes", "path"} - {field.name for field in schema[column].fields}:
            raise ValueError(
                f"{parquet}: expected videos as paths or {{bytes, path}}, got no {', '.join(sorted(missing))} in "
                f"{column!r}. Add it; it may be null."
            )
        path = polars.col(column).struct.field("path")
        held = polars.col(column).struct.field("bytes").is_not_null().alias("__held")
        frame = frame.with_columns(path.alias(column), held)
    name = parquet.relative_to(source).as_posix()
    for number, row in enumerate(frame.collect().iter_rows(named=True), start=1):
        if row.pop("__held", False):
            row[column] = _free_name(row[column], f"{parquet.stem}_{number:06d}.mp4", reader)
            reader.add(f"{name}, row {number}", row, _held(partial(_cut, parquet, column, number - 1)))
        else:
            reader.add(f"{name}, row {number}", row, find)


def _read_saved(source: Path, reader: RowReader, videos: Path | None, link: bool) -> None:
    """Read a dataset that `save_to_disk` of the package datasets wrote."""
    datasets = require("datasets", extra="text")
    _own_files(source, source.iterdir())
    saved = datasets.load_from_disk(str(source))
    reader.check_columns(saved.column_names)
    column = str(reader.column("video", saved.column_names))
    if isinstance(saved.features[column], datasets.Video):
        saved = saved.cast_column(column, datasets.Video(decode=False))
    names = {name: f.int2str for name, f in saved.features.items() if isinstance(f, datasets.ClassLabel)}
    find = file_finder(videos or source, link, may_leave=videos is not None)
    for number in range(len(saved)):
        row: dict[str, Any] = saved[number]
        row |= {name: convert(row[name]) for name, convert in names.items() if row[name] is not None}
        cell = row[column]
        if isinstance(cell, dict) and cell.get("bytes") is not None:
            row[column] = _free_name(cell.get("path"), f"{number + 1:06d}.mp4", reader)
            reader.add(f"row {number + 1}", row, _held(partial(_cut_saved, saved, column, number)))
        else:
            row[column] = cell.get("path") if isinstance(cell, dict) else cell
            reader.add(f"row {number + 1}", row, find)


def _free_name(path: str | None, other: str, reader: RowReader) -> str:
    """Return the name of a video that the source itself holds: its own, unless that is missing or taken."""
    name = PurePosixPath(path or "")
    return other if not name.name or name.is_absolute() or name.as_posix() in reader.videos else name.as_posix()


def _held(write: Write) -> Find:
    """Return the finder of a video that the source itself holds."""
    return lambda path: (path, write)


def _cut(parquet: Path, column: str, row: int, target: Path) -> None:
    """Write the video of one row of a parquet file."""
    frame = require("polars", extra="vista").scan_parquet(parquet).select(column).slice(row, 1).collect()
    target.write_bytes(frame.item()["bytes"])


def _cut_saved(saved: Any, column: str, row: int, target: Path) -> None:
    """Write the video of one row of a saved dataset."""
    target.write_bytes(saved[row][column]["bytes"])
