"""Figures of a study, as charts whose dots are seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from lightning_vista.drawing.chart_drawing import ChartFormat, chart_file
from lightning_vista.drawing.charts import Chart, Point
from lightning_vista.files.own_files import write_csv, write_whole
from lightning_vista.study import FigureSpec
from lightning_vista.study.loss_curves import frontiers
from lightning_vista.study.overrides import key_labels
from lightning_vista.study.study_table import StudyRow

_FILE_COLUMNS = ("number", "figure", "series", "x", "value")
#: Points along the axis for each series.
Series = dict[str, list[Point]]


def write_figures(figures: Sequence[tuple[FigureSpec, Chart]], out: Path) -> None:
    """Write each figure as `figure_1.pdf` and `figure_1.png`, and the values of all of them as `figures.csv`.

    Args:
        figures: Specifications of the figures, each with its chart from `plan_figure`.
        out: The folder to write.

    Raises:
        ModuleNotFoundError: If matplotlib is missing; the message names the extra.
        OSError: If a file cannot be written.
    """
    table: list[Sequence[object]] = [_FILE_COLUMNS]
    for number, (spec, chart) in enumerate(figures, 1):
        for file_format in get_args(ChartFormat):
            write_whole(
                out / f"figure_{number}.{file_format}", chart_file(replace(chart, title=spec.title), file_format)
            )
        for name, points in chart.series.items():
            table += [(number, spec.title, name, point.x, value) for point in points for value in point.values]
    write_csv(out / "figures.csv", table, line_end="\r\n")


def plan_figure(spec: FigureSpec, rows: Sequence[StudyRow]) -> Chart:
    """Plan a figure: a row of dots for each run, lines over a key of the grid, or points over a logged name.

    Args:
        spec: Specification of the figure.
        rows: Rows of the study's table.

    Returns:
        The chart. Its dots are the seeds, but for frontiers, whose lines connect points of several steps.
    """
    references = _references(spec, rows)
    rows = [row for row in rows if spec.runs is None or row.variant in spec.runs]
    is_logged = isinstance(spec.x, str) and any(spec.x in row.values for row in rows)
    if spec.frontier:
        series = _frontier_lines(spec, rows)
    elif is_logged:
        series = _clouds(spec, rows)
    else:
        series = collect_series(spec, rows)
    lines = bool(spec.frontier or spec.lines or (isinstance(spec.x, str) and spec.x != "run" and not is_logged))
    if not lines and isinstance(spec.x, list):  # columns, however far apart their numbers are
        series = {name: [Point(str(point.x), point.values) for point in points] for name, points in series.items()}
    return Chart(
        "",
        series,
        spec.x_title,
        spec.y_title,
        rows=spec.x == "run",
        lines=lines,
        log_x=spec.log_x,
        log_y=spec.log_y,
        references=references,
    )


def collect_series(spec: FigureSpec, rows: Sequence[StudyRow]) -> Series:
    """Collect the values of each series along the axis. If a figure shows several runs, their names are in the series'.

    Args:
        spec: Specification of the figure.
        rows: Rows of the runs that the figure shows.

    Returns:
        The points of each series.
    """
    series: Series = {}
    for row in rows:
        if isinstance(spec.x, str) and spec.x not in ("run", *row.point):
            continue  # a reference that has no place along this axis
        point = {key: value for key, value in row.point.items() if key != spec.x}
        labels = key_labels(list(row.point))
        run = ", ".join([row.variant, *(f"{labels[key]} {value}" for key, value in point.items())])
        for title, metric in spec.series.items():
            if spec.x == "run":
                series.setdefault(title, []).append(Point(row.name, _values(row, metric)))
                continue
            places = spec.x if isinstance(spec.x, list) else [row.point[spec.x]]
            name = title if len({row.variant for row in rows}) == 1 and not point else f"{run}: {title}"
            name = run if len(spec.series) == 1 else name
            found = [Point(place, _values(row, metric.replace("{x}", str(place)))) for place in places]
            series.setdefault(name, []).extend(found)
    return series


def _clouds(spec: FigureSpec, rows: Sequence[StudyRow]) -> Series:
    """Collect a cloud of seeds for each run and series: their values over another of their values."""
    series: Series = {}
    for row in rows:
        for title, metric in spec.series.items():
            across, up = row.values.get(str(spec.x), {}), row.values.get(metric, {})
            pairs = [(across[seed], up[seed]) for seed in across if seed in up]
            pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
            if pairs:
                xs, ys = zip(*pairs, strict=True)
                series[row.name if len(spec.series) == 1 else f"{row.name}: {title}"] = [Point(xs, ys)]
    return series


def _frontier_lines(spec: FigureSpec, rows: Sequence[StudyRow]) -> Series:
    """Collect a line for each run and series."""
    return {
        row.name if len(spec.series) == 1 else f"{row.name}: {title}": [Point(point.x, (point.y,)) for point in points]
        for row, title, points in frontiers(spec, rows)
    }


def _references(spec: FigureSpec, rows: Sequence[StudyRow]) -> Mapping[str, float]:
    """Return the values of the dashed lines: given numbers, or means of the first row of a variant."""
    found: dict[str, float] = {}
    for name, value in spec.reference.items():
        if not isinstance(value, str):
            found[name] = float(value)
            continue
        row = next((row for row in rows if row.variant == value), None)
        for title, metric in spec.series.items() if row else ():
            mean = row.mean(metric).mean if row else math.nan
            found[name if len(spec.series) == 1 else f"{name}, {title}"] = mean
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _values(row: StudyRow, metric: str) -> tuple[float, ...]:
    return tuple(row.values.get(metric, {}).values())
