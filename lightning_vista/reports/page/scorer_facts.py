"""The table of scorers: class, arguments, frames, weights, cost, time, and what is unscored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_vista.evaluation.provenance import Provenance, read_provenance
from lightning_vista.reports.coverage import gaps
from lightning_vista.reports.page.cast import Member

_UNKNOWN = "not recorded"


@dataclass(frozen=True)
class ScorerFacts:
    """Facts in rows, one column for each scorer.

    Attributes:
        members: Scorers.
        rows: Name of the fact, and its value for each scorer.
        dataset: The data of the runs in words; empty if no run recorded it.
        date: Day of the latest run; empty if unknown.
    """

    members: Sequence[Member]
    rows: Sequence[tuple[str, Sequence[str]]]
    dataset: str
    date: str


def scorer_facts(
    results: Mapping[str, Mapping[str, Any]], members: Sequence[Member], runs: Sequence[Path]
) -> ScorerFacts:
    """Collect the facts of every scorer.

    Args:
        results: Content of `results.json`.
        members: Models of the page; baselines without a run are left out.
        runs: Run folders, whose `run.json` is read where there is one.

    Raises:
        ValueError: If a `run.json` is damaged.
    """
    recorded = {found.model: found for run in runs if (found := read_provenance(run)) is not None}
    shown = [
        member
        for member in members
        if results[member.name].get("config_hash") or member.name in recorded or not member.is_baseline
    ]
    known = [recorded.get(member.name) for member in shown]
    rows = [(name, [read(each) if each else _UNKNOWN for each in known]) for name, read in _READERS.items()]
    rows.insert(1, ("Arguments", _differences(known)))
    for key in dict.fromkeys(key for each in known if each for key in each.facts):
        rows.append((key.capitalize(), [each.facts.get(key, "–") if each else _UNKNOWN for each in known]))  # noqa: RUF001
    rows.append(("Unscored", [_unscored(results[member.name]) for member in shown]))
    rows.append(("Configuration", [results[member.name].get("config_hash", "")[:12] or _UNKNOWN for member in shown]))
    rows = [(name, values) for name, values in rows if set(values) - {_UNKNOWN, ""}]
    dates = sorted(each.finished for each in recorded.values() if each.finished)
    judged = [recorded[m.name] for m in shown if m.name in recorded and not m.is_baseline]
    return ScorerFacts(shown, rows, _dataset(judged), dates[-1][:10] if dates else "")


def _frames(run: Provenance) -> str:
    frames = run.frames
    size = frames.get("size")
    pixels = "own size" if size is None else f"{size} px" if isinstance(size, int) else f"{size[0]}×{size[1]} px"  # noqa: RUF001
    controls = f"; also {', '.join(run.controls)}" if run.controls else ""
    return f"{frames.get('num_frames')} {frames.get('sampling')}, {pixels}{controls}"


def _time(run: Provenance) -> str:
    if not run.videos:
        return _UNKNOWN
    return f"{run.seconds:,.0f} s for {run.videos:,} videos on {run.device}"


_READERS: dict[str, Callable[[Provenance], str]] = {
    "Class": lambda run: run.class_path.rpartition(".")[2],
    "Frames": _frames,
    "Precision": lambda run: run.precision,
    "Time": _time,
    "Finished": lambda run: run.finished.replace("T", " ").replace("+00:00", " UTC"),
    "Machine": lambda run: run.machine,
    "Code": lambda run: run.code_version,
}


def _differences(found: Sequence[Provenance | None]) -> list[str]:
    """Return the arguments of each scorer that the others of its class do not share."""
    texts = []
    for run in found:
        others = [other for other in found if other and run and other.class_path == run.class_path]
        own = run.arguments.items() if run else ()
        differing = [
            f"{key}={value}"
            for key, value in own
            if len(others) == 1 or any(other.arguments.get(key) != value for other in others)
        ]
        texts.append(", ".join(differing) if run else _UNKNOWN)
    return texts


def _unscored(part: Mapping[str, Any]) -> str:
    pairs = sum(entry["videos"] for entry in part.get("problem_sets", {}).values())
    count = part.get("unscored", {}).get("videos", 0)
    why = gaps(part)
    return f"{count:,} of {pairs:,}" + (f" ({why})" if why else "")


def _dataset(found: Sequence[Provenance]) -> str:
    """Describe the shards that the runs scored; of several the largest."""
    if not found:
        return ""
    data = max((run.dataset for run in found), key=lambda each: each["problem_sets"])
    split = f", split {data['split']}" if data.get("split") else ""
    return f"{', '.join(data['environments'])}{split} (shards {data['plan'][:12]})"
