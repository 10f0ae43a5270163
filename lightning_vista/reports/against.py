"""Comparison of a report with an earlier one: old, new, and the paired difference."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lightning_vista.files.documents import parse_json
from lightning_vista.metrics import Rescaling, bootstrap_interval, video_clusters
from lightning_vista.reports.coverage import partial_notes
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
        new: Mean macro F1 now, over the same videos of the same problem sets.
        low: Lower end of the 95 % interval of the paired difference; None for a single cluster of problem sets.
        high: Upper end.
        problem_sets: Number of problem sets of which both reports have scored the same videos.
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
        ValueError: If the earlier report has another rescaling, or counts unscored videos otherwise; or if two paths
            hold the same scorer.
    """
    tables: list[ScoreTable] = []
    found: dict[str, dict[str, Any]] = {}
    sources: dict[str, Path] = {}
    for path in map(Path, paths):
        file = path / _RESULTS_NAME if path.is_dir() else path
        own: dict[str, dict[str, Any]]
        if file.suffix == ".json" and file.is_file():
            own = _read_results(file, rescaling, strict)
        else:
            tables.append(read_scores(path))
            own = {tables[-1].model: {}}  # scored below, all tables at once
        for model in own.keys() - set(BASELINES):
            if model in sources:
                raise ValueError(
                    f"`--against`: expected each scorer once, got {model!r} in {sources[model]} and in {path}. "
                    "Give one of them."
                )
            sources[model] = path
        found |= own
    if tables:
        found |= build_results(tables, rescaling, strict)
    return {model: part for model, part in found.items() if model not in BASELINES}


def compare_with_earlier(
    results: Mapping[str, Mapping[str, Any]], earlier: Mapping[str, Mapping[str, Any]], tables: Sequence[ScoreTable]
) -> list[Change]:
    """Compare every scorer with the earlier one of its name, over the videos that both have scored.

    A problem set is compared if both reports have the same videos with the same true labels, and the scorer was given
    all of them. Where the only earlier scorer has a name that none has now, all are compared with it.

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
    for model, name in _matches(earlier, tables):
        old, new = (part["problem_sets"] for part in (earlier[name], results[model]))
        apart = _left_out(earlier[name], results[model])
        shared = sorted(id for id in new if id not in apart)
        by_kind: dict[str, list[str]] = {"all": shared}
        for id in shared:
            by_kind.setdefault(outline(id, kinds).kind, []).append(id)
        for kind in ("all", *KINDS):
            if ids := by_kind.get(kind):
                parts = [old[i] for i in ids], [new[i] for i in ids], [videos[i] for i in ids]
                changes.append(_change(model, name, kind, *parts))
    if not changes:
        notes = "".join(f" {note}" for note in notes_on_earlier(results, earlier, tables))
        raise ValueError(
            "`--against`: expected scorers of the same names with the same videos of some problem sets, got "
            f"{', '.join(earlier)}; this report has {', '.join(table.model for table in tables)}.{notes} Give an "
            "earlier report of these scorers, in full."
        )
    return changes


def notes_on_earlier(
    results: Mapping[str, Mapping[str, Any]], earlier: Mapping[str, Mapping[str, Any]], tables: Sequence[ScoreTable]
) -> list[str]:
    """Return what a reader of `compare_with_earlier` must know, one sentence each.

    Args:
        results: Content of `results.json`.
        earlier: Result of `read_earlier`.
        tables: Score tables of the new report.

    Returns:
        For each compared scorer: the coverage of a partial earlier run, the number of problem sets that are left out,
        by reason, and that of compared ones whose descriptions differ.
    """
    partial = partial_notes(earlier)
    notes = []
    for model, name in _matches(earlier, tables):
        if name in partial:
            notes.append(f"The earlier run of {name} is partial ({partial[name]}).")
        apart = _left_out(earlier[name], results[model])
        if apart:
            total = len(earlier[name]["problem_sets"].keys() | results[model]["problem_sets"].keys())
            reasons = "; ".join(f"{reason}: {count:,}" for reason, count in Counter(apart.values()).items())
            be = "is" if len(apart) == 1 else "are"
            notes.append(
                f"{model}: {len(apart):,} of {total:,} problem sets {be} left out of the comparison with the earlier "
                f"report ({reasons})."
            )
        texts, earlier_texts = (part.get("descriptions", {}) for part in (results[model], earlier[name]))
        if changed := [id for id in texts if id not in apart and earlier_texts.get(id, texts[id]) != texts[id]]:
            sets = "problem set has" if len(changed) == 1 else "problem sets have"
            notes.append(f"{model}: {len(changed):,} compared {sets} other descriptions than in the earlier report.")
    return notes


def _matches(earlier: Mapping[str, Mapping[str, Any]], tables: Sequence[ScoreTable]) -> Iterator[tuple[str, str]]:
    """Yield the scorers that are compared, each with the name of the earlier one."""
    only = next(iter(earlier)) if len(earlier) == 1 else None
    if only in {table.model for table in tables}:
        only = None  # it has its own successor, so that the others are new
    for table in tables:
        name = table.model if table.model in earlier else only
        if name is not None:
            yield table.model, name


def _left_out(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Return the problem sets of either report that cannot be compared, with the reason; ordered by id."""
    reasons: dict[str, str] = {}
    for id in sorted(old["problem_sets"].keys() | new["problem_sets"].keys()):
        if id not in old["problem_sets"]:
            reasons[id] = "only in this report"
        elif id not in new["problem_sets"]:
            reasons[id] = "only in the earlier one"
        elif not (_is_full(id, old) and _is_full(id, new)):
            reasons[id] = "not every video was scored"
        elif not _is_same(id, old, new):
            reasons[id] = "other videos or true labels"
        elif None in (old["problem_sets"][id]["macro_f1"], new["problem_sets"][id]["macro_f1"]):
            reasons[id] = "without a figure"
    return reasons


def _is_full(id: str, part: Mapping[str, Any]) -> bool:
    """Say whether a scorer was given all videos that its report has for a problem set."""
    return id in part["contents"] if "contents" in part else id not in part.get("common", {}).get("not_scored", ())


def _is_same(id: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Say whether two reports have the same videos with the same true labels for a problem set."""
    if "contents" in old and "contents" in new:
        return bool(old["contents"][id] == new["contents"][id])
    # Reports of earlier releases tell no more than the number of videos.
    return bool(old["problem_sets"][id]["videos"] == new["problem_sets"][id]["videos"])


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
