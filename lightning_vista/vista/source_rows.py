"""Rows of foreign sources: a video, a description that is true of it, and the problem set that they belong to."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from lightning_vista.vista.layout import stays_inside
from lightning_vista.vista.problem_sets import KINDS, FaultsError

#: Names of columns that are found without `--columns`, in order of preference.
_ALIASES = {
    "video": ("video", "file_name", "video_path", "path", "clip", "mp4"),
    "description": ("description", "caption", "text", "sentence"),
    "set": ("set", "problem_set"),
    "level": ("level",),
    "kind": ("kind",),
    "candidates": ("candidates",),
}
#: Names of problem sets and environments become those of files, to which endings are added.
_NAME, _MOST_BYTES = re.compile(r"\w[\w .+-]*"), 200

#: Writes a video to a path.
Write: TypeAlias = Callable[[Path], None]
#: From the path of a video in the source to its path below the environment's folder and the function that writes it, or
#: to the fault.
Find: TypeAlias = Callable[[str], tuple[str, Write] | str]


class SourceError(FaultsError):
    """A source of videos with broken rows; `errors` names the place of every fault."""


@dataclass(frozen=True)
class SourceRow:
    """One row of a source.

    Attributes:
        place: Place in the source, such as `line 3`.
        video: Path of the video below the environment's video folder.
        description: Description that is true of the video.
        problem_set: Name of the problem set; empty for the common one.
        level: Number of actions in sequence, at least 1.
        kind: One of `KINDS`.
        candidates: Further descriptions to choose from.
        hint: Words for a chat scorer before it sees the frames.
        write: Function that writes the video to a path.
    """

    place: str
    video: str
    description: str
    problem_set: str
    level: int
    kind: str
    candidates: tuple[str, ...]
    hint: str | None
    write: Write


class RowReader:
    """A reader of rows that records every fault instead of stopping at the first.

    Args:
        columns: Column of the source for each name, such as `{"video": "clip"}`; others are found by their usual names.

    Attributes:
        rows: The rows without faults.
        videos: Their videos.
        faults: One line for each fault.
        unused: Columns that are not read, in the order of the source.

    Raises:
        ValueError: If `columns` has a name that rows do not have.
    """

    def __init__(self, columns: Mapping[str, str] | None = None) -> None:
        self.columns = dict(columns or {})
        for name in self.columns:
            if name not in _ALIASES:
                raise ValueError(f"`columns`: expected names among {', '.join(_ALIASES)}, got {name!r}.")
        self.rows: list[SourceRow] = []
        self.videos: set[str] = set()
        self.faults: list[str] = []
        self.unused: list[str] = []

    def column(self, name: str, known: Iterable[str]) -> str | None:
        """Return the source's column for a name, or None if there is none.

        Args:
            name: Name such as `video`.
            known: Columns of the source.

        Raises:
            ValueError: If the chosen column does not exist.
        """
        known = list(known)
        if name in self.columns:
            if self.columns[name] not in known:
                close = get_close_matches(self.columns[name], known, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise ValueError(
                    f"`columns`: expected one of {', '.join(known)} for {name}, got {self.columns[name]!r}.{hint}"
                )
            return self.columns[name]
        return next((alias for alias in _ALIASES[name] if alias in known), None)

    def check_columns(self, known: Sequence[str]) -> None:
        """Refuse a source without videos or descriptions, and note the columns that are not read.

        Args:
            known: Columns of the source.

        Raises:
            ValueError: If a column is missing.
        """
        found = {name: self.column(name, known) for name in _ALIASES}
        for name in ("video", "description"):
            if found[name] is None:
                raise ValueError(
                    f"expected a column {name!r}, got the columns {', '.join(known)}. Name it: --columns {name}=COLUMN"
                )
        self.unused = [name for name in known if name not in (*found.values(), "hint")]

    def add(self, place: str, raw: Mapping[str, Any], find: Find) -> None:
        """Check one row; keep it or record its faults.

        Args:
            place: Place in the source.
            raw: Value of each column.
            find: Function that finds a video.
        """
        values = {name: self._value(name, raw) for name in _ALIASES}
        faults: list[str] = []
        video = _text("video", values["video"], faults)
        found = find(video) if video else ""
        if video and isinstance(found, str):
            faults.append(f"`video`: {found}")
        description = _text("description", values["description"], faults)
        name = str(values["set"]).strip() if values["set"] not in (None, "") else ""
        if name and (fault := name_fault(name)):
            faults.append(f"`set`: {fault}")
        level = _level(values["level"], faults)
        kind = _kind(values["kind"], level, faults)
        candidates = _candidates(values["candidates"], faults)
        hint = raw.get("hint")
        if not isinstance(hint, str | None):
            faults.append(f"`hint`: expected text, got {hint!r:.80}.")
        faults += [
            f"expected texts without null bytes, got {text!r:.80}."
            for text in (description, hint, *candidates)
            if isinstance(text, str) and "\0" in text
        ]
        self.faults += [f"{place}: {fault}" for fault in faults]
        if not faults and not isinstance(found, str):
            given, write = found
            if not stays_inside(given):
                self.faults.append(
                    f"{place}: `video`: expected a name inside the source, of printable characters, got {given!r:.200}."
                )
                return
            path = PurePosixPath(given).as_posix()  # without empty parts and dots, as the official layout wants it
            self.rows.append(SourceRow(place, path, description, name, level, kind, candidates, hint, write))
            self.videos.add(path)

    def _value(self, name: str, raw: Mapping[str, Any]) -> Any:
        """Return the cell of a row, or None; rows of JSON need not have every column."""
        column = self.columns.get(name) or next((alias for alias in _ALIASES[name] if alias in raw), None)
        return None if column is None else raw.get(column)


def name_fault(name: str) -> str:
    """Return what is wrong with the name of a problem set or environment; empty if nothing is.

    Args:
        name: The name, which may come from anywhere.

    Example:
        >>> name_fault("my set"), name_fault("../x")[:50]
        ('', "expected letters, digits, spaces, '.', '+', '-' an")
    """
    if not _NAME.fullmatch(name):
        return f"expected letters, digits, spaces, '.', '+', '-' and '_', got {name!r:.80}. Rename it."
    size = len(name.encode())
    return f"expected at most {_MOST_BYTES} bytes, got {size}: {name:.40}... Shorten it." if size > _MOST_BYTES else ""


def leaves(file: Path, folder: Path) -> bool:
    """Say whether a file below a folder is a link that leaves it.

    The cache of Hugging Face keeps the files of `snapshots/<commit>` in `blobs`, which counts as the same folder.

    Args:
        file: The file.
        folder: The folder.
    """
    root = folder.resolve()
    blobs = [parent.with_name("blobs") for parent in root.parents if parent.name == "snapshots"]
    return not any(file.resolve().is_relative_to(inside) for inside in (root, *blobs))


def file_finder(folder: Path, link: bool = False, may_leave: bool = True) -> Find:
    """Return a function that finds videos below a folder.

    Args:
        folder: The folder.
        link: Whether the official layout gets hard links to the videos instead of copies.
        may_leave: Whether links among the videos may leave the folder; not where somebody else has made it.
    """

    def find(path: str) -> tuple[str, Write] | str:
        pure = PurePosixPath(path)
        if pure.is_absolute() and pure.is_relative_to(folder.resolve().as_posix()):
            pure = pure.relative_to(folder.resolve().as_posix())
        if pure.is_absolute() or ".." in pure.parts or "\\" in path:
            return f"expected a path inside {folder}, with forward slashes, got {path!r}. Name the folder: --videos."
        file = folder / pure
        if not file.is_file():
            return f"no such file: {file}. The folder of the videos is the source's, or --videos."
        if not may_leave and leaves(file, folder):
            return f"{file}: a link that leaves {folder}. Copy the file into it, or follow its links: --videos {folder}"
        return pure.as_posix(), partial(_link if link else _copy, file)

    return find


def _link(file: Path, target: Path) -> None:
    """Make a hard link, which `shards build` takes for a file of the folder."""
    try:
        os.link(file.resolve(), target)
    except OSError as error:
        raise OSError(f"{file}: expected a file that can be linked to, got: {error}. Leave out --link.") from error


def _copy(file: Path, target: Path) -> None:
    with file.open("rb") as source, target.open("wb") as copy:
        while chunk := source.read(1 << 20):
            copy.write(chunk)


def _text(name: str, value: Any, faults: list[str]) -> str:
    """Return text without outer or repeated white space."""
    if not isinstance(value, str) or not value.strip():
        faults.append(f"`{name}`: expected text, got {'nothing' if value in (None, '') else repr(value)}.")
        return ""
    return value.strip() if name == "video" else " ".join(value.split())


def _level(value: Any, faults: list[str]) -> int:
    if value in (None, ""):
        return 1
    try:
        level = int(str(value).strip())
    except ValueError:
        level = 0
    if level < 1:
        faults.append(f"`level`: expected a whole number of at least 1, got {value!r}.")
    return max(level, 1)


def _kind(value: Any, level: int, faults: list[str]) -> str:
    if value in (None, ""):
        return "actions" if level == 1 else "general"
    kind = str(value).strip()
    if kind not in KINDS:
        close = get_close_matches(kind, KINDS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        faults.append(f"`kind`: expected one of {', '.join(KINDS)}, got {kind!r}.{hint}")
    return kind


def _candidates(value: Any, faults: list[str]) -> tuple[str, ...]:
    """Return further descriptions: a list, or one text with `|` between them."""
    if value in (None, ""):
        return ()
    parts = value.split("|") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) and part.strip() for part in parts):
        faults.append(f"`candidates`: expected a list of texts, or one text with '|' between them, got {value!r:.80}.")
        return ()
    texts = tuple(" ".join(part.split()) for part in parts)
    if len(set(texts)) < len(texts):
        faults.append(f"`candidates`: expected different texts, got {value!r:.80}.")
    return texts
