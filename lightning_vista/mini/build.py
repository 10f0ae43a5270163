"""Rendering of the embedded dataset, in the official layout."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightning_vista.files.own_files import write_sealed_json, write_whole
from lightning_vista.mini.slots import SPLITS, Slot, sample_draft, slots
from lightning_vista.processes.parallel import process_map
from lightning_vista.processes.progress import progress_bar
from lightning_vista.video.encoding import encode_mp4
from lightning_vista.vista.layout import write_problem_sets
from lightning_vista.vista.mini_state import STATE_FILE, STATE_VERSION, read_state
from lightning_vista.vista.problem_sets import ProblemSet

#: Version of the dataset, which changes whenever equal settings give other bytes.
VERSION = 3


@dataclass(frozen=True)
class SplitTotals:
    """Totals of a split.

    Attributes:
        problem_sets: Number of problem sets.
        videos: Number of videos.
        bytes: Size of all videos.
    """

    problem_sets: int
    videos: int
    bytes: int


def build_mini(
    out_dir: str | Path,
    seed: int = 0,
    scale: float = 1.0,
    splits: Sequence[str] = tuple(SPLITS),
    num_workers: int | None = None,
) -> dict[str, SplitTotals]:
    """Render the embedded dataset to `<split>/tasks`, `<split>/videos` and `<split>/metadata.csv` below a folder.

    The bytes depend on `seed`, `scale` and `splits` only. The same call restarts an interrupted build, and leaves a
    complete one unchanged.

    Args:
        out_dir: Folder that is new or empty, or contains this dataset with the same settings.
        seed: Random seed of the dataset.
        scale: Factor of the number of problem sets.
        splits: Some of `train`, `val`, `test`.
        num_workers: Number of processes, by default one for each available core.

    Returns:
        Totals of each split.

    Raises:
        ValueError: If an argument is out of its range, or the folder contains something else.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     build_mini(folder, scale=0.01, splits=["val"], num_workers=1)["val"].problem_sets
        34
    """
    jobs = slots(splits, scale)
    if seed < 0:
        raise ValueError(f"`seed`: expected 0 or more, got {seed}.")
    if num_workers is None:
        num_workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if num_workers < 1:
        raise ValueError(f"`num_workers`: expected 1 or more, got {num_workers}.")
    root = Path(out_dir)
    settings = {"version": VERSION, "seed": seed, "scale": float(scale), "splits": sorted(splits)}
    state = _claim(root, settings)
    if "totals" not in state:
        state["totals"] = {split: asdict(total) for split, total in _write(root, seed, jobs, num_workers).items()}
        _save(root, state)
    return {split: SplitTotals(**total) for split, total in state["totals"].items()}


def _claim(root: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Mark a folder as ours and return the state of its build; refuse a folder with other content."""
    state = {"settings": settings}
    if root.exists() and not root.is_dir():
        raise ValueError(f"`{root}`: expected a folder, got a file. Name a folder.")
    if (root / STATE_FILE).is_file():
        found = read_state(root)
        if found.get("settings") == settings:
            return found
        raise ValueError(
            f"`{root}`: expected the embedded dataset with the settings {settings}, got {found.get('settings')}. "
            "Name another folder, or remove this one."
        )
    if root.exists() and any(root.iterdir()):
        raise ValueError(f"`{root}`: expected a new or empty folder, got one with files. Name another one.")
    root.mkdir(parents=True, exist_ok=True)
    _save(root, state)
    return state


def _save(root: Path, state: dict[str, Any]) -> None:
    """Write the state in one step, so that a killed build never leaves a part of it."""
    write_sealed_json(root / STATE_FILE, {"settings": state["settings"], **state}, STATE_VERSION)


def _write(root: Path, seed: int, jobs: Sequence[Slot], num_workers: int) -> dict[str, SplitTotals]:
    """Write all problem sets."""
    written: dict[str, list[tuple[ProblemSet, int]]] = {}
    with progress_bar("Rendering problem sets", len(jobs)) as advance:
        for slot, result in zip(jobs, _record_all(root, seed, jobs, num_workers), strict=True):
            written.setdefault(slot.split, []).append(result)
            advance(1)
    totals = {}
    for split, results in written.items():
        problem_sets = [problem_set for problem_set, _ in results]
        write_problem_sets(problem_sets, root / split)
        videos = sum(len(problem_set.videos) for problem_set in problem_sets)
        totals[split] = SplitTotals(len(results), videos, sum(size for _, size in results))
    return totals


def _record_all(root: Path, seed: int, jobs: Sequence[Slot], num_workers: int) -> Iterator[tuple[ProblemSet, int]]:
    """Yield the written problem sets, in the order of the jobs."""
    record = partial(_record, root, seed)
    if num_workers == 1:
        yield from map(record, jobs)
        return
    yield from process_map(record, jobs, num_workers, chunksize=4)


def _record(root: Path, seed: int, slot: Slot) -> tuple[ProblemSet, int]:
    """Write the videos of a problem set, and return it with their size in bytes."""
    draft = sample_draft(slot, seed)
    problem_set = draft.problem_set(slot.id)
    size = 0
    for video, (_, episode) in zip(problem_set.videos, draft.episodes, strict=True):
        path = root / slot.split / "videos" / problem_set.video_key(video)
        content = encode_mp4(episode.frames(), crf=23)
        write_whole(path, content, sync=False)
        size += len(content)
    return problem_set, size
