"""Comparison of a report with an earlier one: old, new, and the paired difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lightning_vista.files.documents import parse_json
from lightning_vista.metrics import Rescaling, bootstrap_interval, video_clusters
from lightning_vista.reports.joining import BASELINES
from lightning_vista.reports.results import build_results
from lightning_vista.vista import KINDS
from lightning_vista.vista.problem_sets import outline
from lightning_vista.vista.tables import ScoreTable, read_scores

_RESULTS_NAME = "results.json"


@dataclass(frozen=True)
class Change:
    """The change of one scorer on one kind.

    Attributes:
        model: Name of the scorer.
        earlier: Its name in the earlier report.
        kind: Kind, or `all`.
        old: Mean macro F1 in the earlier report.
        new: Mean macro F1 now, over the same problem sets.
        low: Lower end of the 95 % interval of the paired difference; None for a single cluster of problem sets.
        high: Upper end.
        problem_sets: Number of problem sets that both reports have scored.
    """

    model: str
    earlier: str
    kind: str
    old: float
    new: float
    low: float | None
    high: float | None
    problem_sets: int

    @property
    def difference(self) -> float:
        """Mean paired difference, new minus old."""
        return self.new - self.old


def read_earlier(paths: Sequence[str | Path], rescaling: Rescaling, strict: bool) -> dict[str, dict[str, Any]]:
    """Read the results of an earlier report.

    Args:
        paths: A report's folder or `results.json`; or run folders and score tables, which are scored as the new ones.
        rescaling: Rescaling of the new report.
        strict: Whether the new report counts unscored videos as wrong.

    Returns:
        Model -> its part of `results.json`, without the baselines.

    Raises:
        FileNotFoundError: If a path holds neither.
        ValueError: If the earlier report has another rescaling, or counts unscored videos otherwise.
    """
    tables: list[ScoreTable] = []
    found: dict[str, dict[str, Any]] = {}
    for path in map(Path, paths):
        file = path / _RESULTS_NAME if path.is_dir() else path
        if file.suffix == ".json" and file.is_file():
            found |= _read_results(file, rescaling, strict)
        else:
            tables.append(read_scores(path))
    scored = build_results(tables, rescaling, strict) if tables else {}
    return {model: part for model, part in (found | scored).items() if model not in BASELINES}


def compare_with_earlier(
    results: Mapping[str, Mapping[str, Any]], earlier: Mapping[str, Mapping[str, Any]], tables: Sequence[ScoreTable]
) -> list[Change]:
    """Compare every scorer with the earlier one of its name.

    Where the only earlier scorer has a name that none has now, all are compared with it.

    Args:
        results: Content of `results.json`.
        earlier: Result of `read_earlier`.
        tables: Score tables of the new report, for the videos that problem sets share.

    Returns:
        Changes, scorer by scorer, over all kinds and for each kind.

    Raises:
        ValueError: If no scorer has an earlier one, or shares no problem set with it.
    """
    videos = _videos(tables)
    kinds = {id: kind for table in tables for id, kind in table.kinds.items()}
    changes: list[Change] = []
    only = next(iter(earlier)) if len(earlier) == 1 else None
    if only in {table.model for table in tables}:
        only = None  # it has its own successor, so that the others are new
    for table in tables:
        name = table.model if table.model in earlier else only
        if name is None:
            continue
        old, new = (part["problem_sets"] for part in (earlier[name], results[table.model]))
        shared = sorted(id for id in new if id in old and None not in (new[id]["macro_f1"], old[id]["macro_f1"]))
        by_kind: dict[str, list[str]] = {"all": shared}
        for id in shared:
            by_kind.setdefault(outline(id, kinds).kind, []).append(id)
        for kind in ("all", *KINDS):
            if ids := by_kind.get(kind):
                changes.append(
                    _change(
                        table.model, name, kind, [old[i] for i in ids], [new[i] for i in ids], [videos[i] for i in ids]
                    )
                )
    if not changes:
        raise ValueError(
            f"`--against`: expected scorers of the same names and problem sets, got {', '.join(earlier)}; this "
            f"report has {', '.join(table.model for table in tables)}. Give an earlier report of these scorers."
        )
    return changes


def _change(
    model: str, earlier: str, kind: str, old: Sequence[Any], new: Sequence[Any], videos: Sequence[set[str]]
) -> Change:
    """Return the change over some problem sets."""
    before, after = (torch.tensor([e["macro_f1"] for e in part], dtype=torch.float64) for part in (old, new))
    clusters = video_clusters(videos)
    low, high = bootstrap_interval((after - before)[:, None], clusters, f"against {kind}")[:, 0].tolist()
    if low != low:  # NaN for a single cluster
        low = high = None
    return Change(model, earlier, kind, before.mean().item(), after.mean().item(), low, high, len(old))


def _read_results(file: Path, rescaling: Rescaling, strict: bool) -> dict[str, dict[str, Any]]:
    """Return the content of a `results.json` that can be compared with."""
    try:
        found: dict[str, dict[str, Any]] = parse_json(file.read_text(encoding="utf-8"))
        settings = {(part["rescaling"], part.get("strict", True)) for part in found.values()}
        _ = [part["problem_sets"] for part in found.values()]
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: expected the results of a report, got {error!r}. Give another file.") from error
    if settings != {(rescaling, strict)}:
        raise ValueError(
            f"{file}: expected rescaling {rescaling!r} and strict={strict}, as in this report, got "
            f"{sorted(settings)}. Write one of the two reports with the other's options."
        )
    return found


def _videos(tables: Sequence[ScoreTable]) -> dict[str, set[str]]:
    """Return the videos of each problem set, with their environment, which paths need not name."""
    found: dict[str, set[str]] = {}
    for table in tables:
        for id, video in table.rows.select("problem_set", "video").unique().iter_rows():
            found.setdefault(id, set()).add(f"{id.split('/')[0]}:{video}")
    return found
