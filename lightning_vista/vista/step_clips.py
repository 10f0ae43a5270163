"""Clips that each show a single step, from which sequences are composed."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lightning_vista.vista.source_readers import table_rows
from lightning_vista.vista.source_rows import SourceError

_COLUMNS = ("clip", "step", "start", "end", "split")


@dataclass(frozen=True)
class StepClip:
    """A clip that shows one step.

    Attributes:
        place: Line of the table.
        file: The video file.
        step: Words for the step without a subject, such as `open the box`.
        start: Second at which the clip begins; 0 for the beginning of the file.
        end: Second at which it ends; None for the end of the file.
        split: Split that it belongs to; empty to be drawn.
    """

    place: str
    file: Path
    step: str
    start: float = 0.0
    end: float | None = None
    split: str = ""


def read_step_clips(table: Path, videos: Path | None = None) -> list[StepClip]:
    """Read a table of clips.

    Args:
        table: CSV or JSONL with the columns `clip` and `step`, and optionally `start`, `end` and `split`.
        videos: Folder of the clips; that of the table by default.

    Returns:
        The clips in the order of the table.

    Raises:
        FileNotFoundError: If the table does not exist.
        SourceError: If rows are broken; lists all faults with their lines.
    """
    if not table.is_file():
        raise FileNotFoundError(f"No table of clips at {table}. Give a CSV with the columns clip and step.")
    faults: list[str] = []
    clips: list[StepClip] = []
    places: dict[tuple[Path, float, float | None], str] = {}
    for place, row in table_rows(table):
        if not clips and not faults and (unknown := [name for name in row if name not in _COLUMNS]):
            faults.append(f"columns: expected among {', '.join(_COLUMNS)}, got {', '.join(unknown)}.")
        found: list[str] = []
        clip = StepClip(
            place,
            _file(videos or table.parent, row.get("clip"), found),
            _phrase(row.get("step"), found),
            _seconds("start", row.get("start"), found) or 0.0,
            _seconds("end", row.get("end"), found),
            str(row.get("split") or "").strip(),
        )
        if clip.end is not None and clip.end <= clip.start:
            found.append(f"`end`: expected more than `start` ({clip.start:g}), got {clip.end:g}.")
        part = (clip.file, clip.start, clip.end)
        if part in places and not found:
            found.append(f"the same part of the same file as {places[part]}. Remove one.")
        places.setdefault(part, place)
        faults += [f"{place}: {fault}" for fault in found]
        clips.append(clip)
    if not clips:
        faults.append("expected at least one clip, got none.")
    if faults:
        raise SourceError(str(table), faults)
    return clips


def divide_clips(clips: Sequence[StepClip], splits: Sequence[str], seed: int) -> dict[str, list[StepClip]]:
    """Divide clips among splits, so that no clip is in two of them and every split has each step.

    Clips of one file are kept together, since parts of one recording look alike. The last split gets what remains.

    Args:
        clips: The clips. Those that name a split stay there.
        splits: Names of the splits.
        seed: Random seed for the others.

    Returns:
        The clips of each split.

    Raises:
        SourceError: If a clip names another split, or a step has too few files for all splits.
    """
    faults = [
        f"{clip.place}: `split`: expected one of {', '.join(splits)}, got {clip.split!r}."
        for clip in clips
        if clip.split and clip.split not in splits
    ]
    generator = random.Random(f"splits {seed}")
    divided: dict[str, list[StepClip]] = {split: [clip for clip in clips if clip.split == split] for split in splits}
    loose: dict[str, dict[Path, list[StepClip]]] = defaultdict(lambda: defaultdict(list))
    home = {clip.file: clip.split for clip in clips if clip.split}
    for clip in clips:
        if clip.file in home:
            if not clip.split and home[clip.file] in divided:
                divided[home[clip.file]].append(clip)
        else:
            loose[clip.step][clip.file].append(clip)
    given: dict[Path, str] = {}
    for step, files in sorted(loose.items()):
        order = [file for file in sorted(files) if file not in given]
        generator.shuffle(order)
        lacking = [split for split in splits if all(clip.step != step for clip in divided[split])]
        for number, file in enumerate(order):
            given[file] = lacking[number] if number < len(lacking) else splits[number % len(splits)]
        for file, members in files.items():
            divided[given[file]] += members
    for split, members in divided.items():
        lost = sorted({clip.step for clip in clips} - {clip.step for clip in members})
        faults += [f"step {step!r}: expected a clip for the split {split!r}, got none. Add one." for step in lost]
    if faults:
        raise SourceError("the division into splits", faults)
    return divided


def by_step(clips: Sequence[StepClip]) -> dict[str, list[StepClip]]:
    """Return the clips of each step, both sorted."""
    found: dict[str, list[StepClip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: (clip.step, clip.file.as_posix(), clip.start)):
        found[clip.step].append(clip)
    return dict(found)


def _file(folder: Path, value: Any, faults: list[str]) -> Path:
    """Return the path of a clip, or record the fault."""
    if not isinstance(value, str) or not value.strip():
        faults.append(f"`clip`: expected the path of a video, got {value!r}.")
        return folder
    path = folder / PurePosixPath(value.strip())
    if not path.is_file():
        faults.append(f"`clip`: no such file: {path}.")
    return path


def _phrase(value: Any, faults: list[str]) -> str:
    """Return the words for a step without subject and full stop: `We open the box.` is `open the box`."""
    if not isinstance(value, str) or not value.strip(" ."):
        faults.append(f"`step`: expected words such as 'open the box', got {value!r}.")
        return ""
    words = " ".join(value.split()).rstrip(".")
    return words[3:] if words[:3].lower() == "we " else words[:1].lower() + words[1:]


def _seconds(name: str, value: Any, faults: list[str]) -> float | None:
    if value in (None, ""):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        faults.append(f"`{name}`: expected seconds of at least 0, got {value!r}.")
        return None
    return seconds
