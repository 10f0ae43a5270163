"""Losses that runs keep over their steps, and what a study derives from them: curves, compute ratios and frontiers."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from lightning_vista.drawing.charts import Chart, Point
from lightning_vista.files.csv_tables import naming_table
from lightning_vista.files.own_files import write_csv
from lightning_vista.metrics.unlearning import compute_ratio, retain_forget_frontier
from lightning_vista.study import ComputeRatioSpec, FigureSpec
from lightning_vista.study.study_table import StudyRow, reference_row

#: Table of the losses of `fit` in a run's folder, as the callback `LossLog` writes it.
_LOSSES = "losses.csv"
#: Highest numbers of charts that are chosen by themselves, of lines in a chart, and of points in a line.
_CHARTS, _ROWS, _POINTS = 6, 8, 60


class FrontierPoint(NamedTuple):
    """A point on a frontier: means over seeds after a step."""

    step: int
    x: float
    y: float


def read_losses(path: Path, columns: Sequence[str]) -> dict[int, list[float]]:
    """Read some columns of a table of losses over steps, such as `losses.csv`.

    Args:
        path: The CSV file.
        columns: The names of the columns.

    Returns:
        The values at each step that has a finite number in all of these columns; empty without a file.

    Raises:
        ValueError: If the file is damaged; names it.
    """
    table = _read_table(path)
    found = [table.get(name, {}) for name in columns]
    return {step: [values[step] for values in found] for step in found[0] if all(step in values for values in found)}


def loss_table(folder: Path) -> Path:
    """Return the table of losses in the folder of a run: that of `LossLog`, or else the newest of a `CSVLogger`.

    Args:
        folder: The folder.

    Returns:
        The path, which need not exist.
    """
    if (path := folder / _LOSSES).is_file():
        return path
    return max(folder.rglob("metrics.csv"), key=lambda found: found.stat().st_mtime, default=path)


def plan_curves(rows: Sequence[StudyRow], names: Sequence[str] = ()) -> list[Chart]:
    """Plan charts of the logged losses over steps: a chart for each loss, with a line for each row.

    Args:
        rows: Rows of the study's table.
        names: Logged names; by default those of training and validation with "loss" in them, at most six.

    Returns:
        The charts, with the names of the losses as titles. A loss of more than eight rows has a chart for each variant,
        with the same axis.
    """
    tables = {row.name: [_read_table(loss_table(folder)) for folder in row.folders.values()] for row in rows}
    logged = dict.fromkeys(name for found in tables.values() for table in found for name in table)
    found = [name for name in logged if "loss" in name and name.startswith(("train/", "val/"))][:_CHARTS]
    charts = []
    for name in names or found:
        lines = {row.name: _mean_curve([table.get(name, {}) for table in tables[row.name]]) for row in rows}
        lines = {row: points for row, points in lines.items() if points}
        if len(lines) <= _ROWS:
            charts.append(Chart(name, lines, "Step", lines=True, dots=False))
            continue
        values = [value for points in lines.values() for point in points for value in point.values]
        for variant in dict.fromkeys(row.variant for row in rows):
            own = {row.name: lines[row.name] for row in rows if row.variant == variant and row.name in lines}
            reach = (min(0.0, *values), max(values))
            if own:
                charts.append(Chart(f"{name}, {variant}", own, "Step", lines=True, dots=False, reach=reach))
    return charts


def _read_table(path: Path) -> dict[str, dict[int, float]]:
    """Read the finite numbers of each column of a table over steps; a step may have several rows, as `LossLog` does."""
    columns: dict[str, dict[int, float]] = {}
    if path.is_file():
        with naming_table(path), path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for name, text in row.items():
                    if name not in ("step", "epoch") and text and math.isfinite(float(text)):
                        columns.setdefault(name, {})[int(row["step"])] = float(text)
    return columns


def _mean_curve(curves: Sequence[Mapping[int, float]]) -> list[Point]:
    """Return means over seeds at the steps that all of them have, thinned to what a chart can show."""
    curves = [curve for curve in curves if curve]
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    chosen = steps[:: -(-len(steps) // _POINTS)] if steps else []
    return [
        Point(float(step), tuple(curve[step] for curve in curves)) for step in dict.fromkeys([*chosen, *steps[-1:]])
    ]


def add_compute_ratios(
    rows: Sequence[StudyRow], specs: Mapping[str, ComputeRatioSpec], baseline: str = ""
) -> dict[str, str]:
    """Add to each row the share of a baseline's training at which it had the same loss, see `compute_ratio`.

    The baseline's curve is that of the same seed in the row that `reference_row` finds. What lacks a curve is printed.

    Args:
        rows: Rows, which are changed.
        specs: Specification of each column.
        baseline: Name of the variant whose curve counts where a specification names none.

    Returns:
        The name of each column's ratios among the values of rows.
    """
    names = {}
    for title, spec in specs.items():
        variant = spec.baseline or baseline
        names[title] = f"compute ratio of {spec.value} by {spec.curve} of {variant}"
        for row in rows:
            below = reference_row(rows, row, variant)
            folders = below.folders if below else {}
            losses = row.values.get(spec.value, {})
            curves = {seed: read_losses(folders[seed] / _LOSSES, [spec.curve]) for seed in losses if seed in folders}
            curves = {seed: curve for seed, curve in curves.items() if len(curve) > 1}
            if curves:
                row.values[names[title]] = {seed: _ratio(losses[seed], curve) for seed, curve in curves.items()}
            if missing := sorted(set(losses) - set(curves)):
                print(
                    f"{title}: no curve for {row.name}, seeds {missing}. It needs a finished run of {variant!r} with "
                    f"the same seed, without a CSVLogger, whose {_LOSSES} has {spec.curve} at two or more steps."
                )
    return names


def frontiers(spec: FigureSpec, rows: Sequence[StudyRow]) -> Iterator[tuple[StudyRow, str, list[FrontierPoint]]]:
    """Find the points of each row that no other point of it surpasses, with lower `x` and higher `y`.

    Args:
        spec: Specification of a figure with `frontier`.
        rows: Rows of the study's table.

    Yields:
        Row, series and its points by rising `x`. They are means over the seeds that have the table, at the steps that
        all of these have.
    """
    for row in (row for row in rows if spec.runs is None or row.variant in spec.runs):
        for title, metric in spec.series.items():
            tables = [read_losses(folder / spec.frontier, [str(spec.x), metric]) for folder in row.folders.values()]
            yield row, title, _surpassing([table for table in tables if table])


def write_frontiers(figures: Sequence[FigureSpec], rows: Sequence[StudyRow], path: Path) -> None:
    """Write the points of all figures of frontiers as a table.

    Args:
        figures: Specifications of these figures.
        rows: Rows of the study's table.
        path: The CSV file to write.
    """
    lines: list[list[Any]] = [["figure", "run", "series", *FrontierPoint._fields]]
    for spec in figures:
        for row, title, points in frontiers(spec, rows):
            lines += [[spec.title, row.name, title, *point] for point in points]
    write_csv(path, lines)


def _surpassing(tables: Sequence[Mapping[int, Sequence[float]]]) -> list[FrontierPoint]:
    """Return the frontier of the means over tables, each from a step to `x` and `y`."""
    steps = sorted(set.intersection(*map(set, tables))) if tables else []
    means = [[fmean(values) for values in zip(*(table[step] for table in tables), strict=True)] for step in steps]
    x, y = torch.tensor(means, dtype=torch.float64).reshape(-1, 2).T
    return [FrontierPoint(steps[place], *means[place]) for place in retain_forget_frontier(x, y).tolist()]


def _ratio(loss: float, curve: Mapping[int, Sequence[float]]) -> float:
    steps = sorted(curve)
    return compute_ratio(loss, [curve[step][0] for step in steps], steps) if math.isfinite(loss) else math.nan
