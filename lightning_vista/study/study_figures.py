"""Figures of a study, as plain plotly specifications."""

import math
from collections.abc import Sequence
from typing import Any

from lightning_vista.metrics.aggregation import SeedMean
from lightning_vista.reports.style import Style, error_bars, layout, plotly_text, styles
from lightning_vista.study import FigureSpec
from lightning_vista.study.loss_curves import frontiers
from lightning_vista.study.overrides import key_labels
from lightning_vista.study.study_table import StudyRow

#: A series' name, with its places along the axis and the values there.
Series = dict[str, list[tuple[Any, SeedMean]]]


def draw_figure(spec: FigureSpec, rows: Sequence[StudyRow]) -> dict[str, Any]:
    """Draw a figure: lines over a key of the grid, points over a logged name, bars over anything else.

    All values have 95% intervals over seeds, but for frontiers, whose lines connect points of several steps.

    Args:
        spec: Specification of the figure.
        rows: Rows of the study's table.

    Returns:
        `{"data": [...], "layout": {...}}`, with CSS variables as colours, see `lightning_vista.reports.style`.
    """
    rows = [row for row in rows if spec.runs is None or row.variant in spec.runs]
    if spec.frontier:
        return _figure(spec, _frontier_lines(spec, rows), is_linear=True)
    if isinstance(spec.x, str) and any(spec.x in row.values for row in rows):
        return _figure(spec, _points(spec, rows), is_linear=True)
    series = collect_series(spec, rows)
    lines = spec.lines or (isinstance(spec.x, str) and spec.x != "run")
    looks = styles(series)
    data = []
    for name, points in series.items():
        look: dict[str, Any] = {"type": "bar", "marker": {"color": looks[name].colour}}
        if lines:
            look = {"type": "scatter", "mode": "lines+markers", **_marker(looks[name])}
            look["line"] = look["marker"] | {"width": 2}
        data.append(
            {
                "name": plotly_text(name),
                "x": [place if lines else plotly_text(str(place)) for place, _ in points],
                **_values("y", [value for _, value in points], looks[name].colour if lines else "var(--ink)"),
                **look,
            }
        )
    return _figure(spec, data, is_linear=lines)


def collect_series(spec: FigureSpec, rows: Sequence[StudyRow]) -> Series:
    """Collect the values of each series along the axis. If a figure shows several runs, their names are in the series'.

    Args:
        spec: Specification of the figure.
        rows: Rows of the runs that the figure shows.

    Returns:
        Pairs of a place on the axis and a value, for each series.
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
                series.setdefault(title, []).append((row.name, row.mean(metric)))
                continue
            places = spec.x if isinstance(spec.x, list) else [row.point[spec.x]]
            name = title if len({row.variant for row in rows}) == 1 and not point else f"{run}: {title}"
            name = run if len(spec.series) == 1 else name
            found = [(place, row.mean(metric.replace("{x}", str(place)))) for place in places]
            series.setdefault(name, []).extend(found)
    return series


def _points(spec: FigureSpec, rows: Sequence[StudyRow]) -> list[dict[str, Any]]:
    """Draw a point for each run and series."""
    named = [
        (row.name if len(spec.series) == 1 else f"{row.name}: {title}", row, metric)
        for row in rows
        for title, metric in spec.series.items()
    ]
    looks = styles([name for name, _, _ in named])
    return [
        {
            "name": plotly_text(name),
            "type": "scatter",
            "mode": "markers",
            **_values("x", [row.mean(str(spec.x))], looks[name].colour),
            **_values("y", [row.mean(metric)], looks[name].colour),
            **_marker(looks[name]),
        }
        for name, row, metric in named
    ]


def _frontier_lines(spec: FigureSpec, rows: Sequence[StudyRow]) -> list[dict[str, Any]]:
    """Draw a line for each run and series; pointing at a point shows its step."""
    lines = {
        row.name if len(spec.series) == 1 else f"{row.name}: {title}": points
        for row, title, points in frontiers(spec, rows)
    }
    looks = styles(list(lines))
    return [
        {
            "name": plotly_text(name),
            "type": "scatter",
            "mode": "lines+markers",
            "x": [point.x for point in points],
            "y": [point.y for point in points],
            "text": [f"step {point.step}" for point in points],
            "line": {"color": looks[name].colour, "width": 2},
            **_marker(looks[name]),
        }
        for name, points in lines.items()
    ]


def _values(axis: str, values: Sequence[SeedMean], colour: str) -> dict[str, Any]:
    """Return means along an axis, with their intervals."""
    bars = error_bars([value._asdict() for value in values], colour, "mean")
    return {axis: [value.mean if math.isfinite(value.mean) else None for value in values], f"error_{axis}": bars}


def _marker(look: Style) -> dict[str, Any]:
    return {"marker": {"size": 8, "symbol": look.symbol, "color": look.colour}}


def _figure(spec: FigureSpec, data: list[dict[str, Any]], is_linear: bool) -> dict[str, Any]:
    """Return a figure of these series."""
    kind = ("log" if spec.log_x else "linear") if is_linear else "category"
    x = {"title": {"text": plotly_text(spec.x_title)}, "type": kind, "showgrid": False, "fixedrange": True}
    y = {"title": {"text": plotly_text(spec.y_title)}, "rangemode": "tozero", "fixedrange": True}
    below = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    shown = {"showlegend": len(data) > 1, "legend": below, "bargroupgap": 0.08}
    return {"data": data, "layout": layout(xaxis=x, yaxis=y, **shown)}
