"""Results of controls of frame order: what a scorer loses when the same frames come in another order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
import torch
from torch import Tensor

from lightning_vista.metrics import Rescaling, predict_labels, rescale_scores, score_problem_set, share_changed
from lightning_vista.reports.comparisons import ALL, Cell, cells, finite, tabulate
from lightning_vista.reports.joining import JoinedProblemSet, join_tables
from lightning_vista.vista.frame_order import FORWARD
from lightning_vista.vista.problem_sets import KINDS
from lightning_vista.vista.tables import ScoreTable

BLIND = "blind to order on permutation sets"
NOT_BLIND = "not blind to order on permutation sets"
MISLED = "no better with the right order on permutation sets"
#: Columns of a table of controls: the keys of the rows of `control_results`.
CONTROL_COLUMNS = (
    *("control", "environment", "level", "kind"),
    *("mean_difference", "standard_error", "ci_low", "ci_high", "problem_sets", "intact", "mean_macro_f1", "changed"),
)
#: Controls that keep every frame. Others also take frames away, so that a loss may have other reasons than order.
_KEEPING = ("reversed", "shuffled")


@dataclass(frozen=True)
class ControlLine:
    """One line of the table of controls: a scorer with one order of frames.

    Attributes:
        model: Name of the scorer.
        order: `forward`, or the control.
        f1: Kind (`all` for all kinds) -> mean macro F1; None where no problem set has a figure.
        changed: Kind -> mean share of predictions that the control changes; empty for `forward`.
        problem_sets: Kind -> number of problem sets.
        difference: Row of the permutation sets with `mean_difference`, `ci_low` and `ci_high`; None for `forward` and
            without such sets.
    """

    model: str
    order: str
    f1: Mapping[str, float | None] = field(default_factory=dict)
    changed: Mapping[str, float | None] = field(default_factory=dict)
    problem_sets: Mapping[str, int] = field(default_factory=dict)
    difference: Mapping[str, Any] | None = None


def control_results(table: ScoreTable, rescaling: Rescaling, strict: bool) -> dict[str, Any]:
    """Compare a scorer's results on intact videos with those under each control of frame order.

    Args:
        table: Score table with targets.
        rescaling: `none`, `video`, `label` or `both`, see `rescale_scores`; each order is rescaled by itself.
        strict: Whether an unscored video counts as wrong; otherwise it is left out.

    Returns:
        `{verdict, rows}`, or nothing without controls. `rows` are `{control, environment, level, kind,
        mean_difference, standard_error, ci_low, ci_high, problem_sets, intact, mean_macro_f1, changed}` for each
        environment and kind: mean macro F1 of the `intact` videos and under the control, the paired difference of the
        two with its 95 % interval over problem sets, and the mean share of predictions that change. `level` is `all`.
    """
    if not table.controls:
        return {}
    intact = _joined(table, table.rows)
    rows = [
        {"control": control, **row}
        for control, shown in table.controls.items()
        for row in _rows(table.model, intact, _joined(table, shown), rescaling, strict)
    ]
    return {"verdict": order_verdict(rows), "rows": rows}


def order_verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the verdict on a scorer: whether the order of frames changes its F1 on permutation sets.

    Args:
        rows: Rows of `control_results`.

    Returns:
        `blind to order on permutation sets` if, under each of the controls `reversed` and `shuffled` that were run,
        the 95 % interval of the F1 difference holds 0; `not blind ...` if F1 falls under one of them, beyond its
        interval; `no better with the right order ...` if it only rises. Otherwise the text says what is missing for a
        verdict.

    Example:
        >>> row = {"control": "reversed", "environment": "all", "kind": "permutation"}
        >>> order_verdict([{**row, "ci_low": -0.01, "ci_high": 0.02}]), order_verdict([])
        ('blind to order on permutation sets', 'no verdict on order: it takes the control reversed or shuffled')
    """
    keeping = [row for row in rows if row["control"] in _KEEPING]
    if not keeping:
        return f"no verdict on order: it takes the control {' or '.join(_KEEPING)}"
    found = [row for row in keeping if row["environment"] == ALL and row["kind"] == "permutation"]
    if not found or any(row["ci_low"] is None for row in found):
        return "no verdict on order: it takes permutation sets with different videos"
    if any(row["ci_low"] > 0 for row in found):
        return NOT_BLIND
    return MISLED if any(row["ci_high"] < 0 for row in found) else BLIND


def control_lines(results: Mapping[str, Mapping[str, Any]], environment: str = ALL) -> list[ControlLine]:
    """Return the lines of the table of controls.

    Args:
        results: Content of `results.json`.
        environment: Environment of the figures.

    Returns:
        For each scorer with controls a line for `forward`, then one for each control, over its own problem sets.
    """
    lines: list[ControlLine] = []
    for model, part in results.items():
        rows = [row for row in part.get("controls", {}).get("rows", ()) if row["environment"] == environment]
        for control in dict.fromkeys(row["control"] for row in rows):
            own = {row["kind"]: row for row in rows if row["control"] == control}
            counts = {kind: row["problem_sets"] for kind, row in own.items()}
            if not lines or lines[-1].model != model:
                lines.append(ControlLine(model, FORWARD, _column(own, "intact"), problem_sets=counts))
            f1, changed = _column(own, "mean_macro_f1"), _column(own, "changed")
            lines.append(ControlLine(model, control, f1, changed, counts, own.get("permutation")))
    return lines


def control_kinds(lines: Sequence[ControlLine]) -> list[str]:
    """Return the kinds of the table of controls: `all`, then those of `KINDS` that a line has.

    Args:
        lines: Result of `control_lines`.
    """
    return [kind for kind in (ALL, *KINDS) if any(kind in line.f1 for line in lines)]


def order_verdicts(results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the verdict on each scorer that was run with controls.

    Args:
        results: Content of `results.json`.

    Example:
        >>> order_verdicts({"clip": {"controls": {"verdict": BLIND, "rows": []}}, "majority": {}})
        {'clip': 'blind to order on permutation sets'}
    """
    return {model: part["controls"]["verdict"] for model, part in results.items() if "controls" in part}


def _column(rows: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, float | None]:
    return {kind: row[name] for kind, row in rows.items()}


def _joined(table: ScoreTable, rows: pl.DataFrame) -> Sequence[JoinedProblemSet]:
    """Return the problem sets of a table in one order of frames; they are the same for all orders."""
    return join_tables([replace(table, rows=rows, controls={})]).problem_sets


def _rows(
    model: str,
    intact: Sequence[JoinedProblemSet],
    control: Sequence[JoinedProblemSet],
    rescaling: Rescaling,
    strict: bool,
) -> list[dict[str, Any]]:
    """Return the rows of one control."""
    outlines = [item.outline for item in intact]
    by_cell = {cell: positions for cell, positions in cells(outlines).items() if cell.level == ALL}
    videos = [{(item.outline.environment, video) for video in item.videos} for item in intact]
    before, after = _macro_f1(model, intact, rescaling, strict), _macro_f1(model, control, rescaling, strict)
    predicted = [[_predictions(model, item, rescaling) for item in order] for order in (intact, control)]
    changed = torch.stack([share_changed(*pair) for pair in zip(*predicted, strict=True)])
    figures = torch.stack([before, after, changed], dim=1).masked_fill((before - after).isnan()[:, None], torch.nan)
    rows = tabulate((before - after)[:, None], videos, by_cell, mean="mean_difference")[0]
    names = ("intact", "mean_macro_f1", "changed")
    for row in rows:
        means = figures[by_cell[Cell(row["environment"], row["level"], row["kind"])]].nanmean(dim=0)
        row.update(zip(names, map(finite, means.tolist()), strict=True))
    return rows


def _macro_f1(model: str, sets: Sequence[JoinedProblemSet], rescaling: Rescaling, strict: bool) -> Tensor:
    """Return macro F1 `(problem_sets,)`, float64."""
    found = [score_problem_set(item.scores[model], item.targets, rescaling, strict).macro_f1 for item in sets]
    return torch.tensor(found, dtype=torch.float64)


def _predictions(model: str, item: JoinedProblemSet, rescaling: Rescaling) -> Tensor:
    """Return predicted labels `(videos, labels)`, bool."""
    return predict_labels(rescale_scores(item.scores[model], rescaling), item.targets.sum(dim=1))
