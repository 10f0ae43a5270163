"""The figures of a study, as plain plotly specifications."""

import math
from collections.abc import Sequence
from typing import Any

from lightning_vista.metrics.seeds import SeedMean
from lightning_vista.reports.study_table import StudyRow
from lightning_vista.reports.style import error_bars, layout, plotly_text, styles
from lightning_vista.study import FigureSpec

#: A series' name, with its places along the axis and the values there.
Series = dict[str, list[tuple[Any, SeedMean]]]


def draw_figure(spec: FigureSpec, rows: Sequence[StudyRow]) -> dict[str, Any]:
    """Draw a figure: lines over a key of the grid, bars over anything else; with 95% intervals over seeds.

    Args:
        spec: What it shows.
        rows: What was measured.

    Returns:
        `{"data": [...], "layout": {...}}`; colours are CSS variables, see `lightning_vista.reports.style`.
    """
    series = collect_series(spec, [row for row in rows if spec.runs is None or row.variant in spec.runs])
    lines = isinstance(spec.x, str) and spec.x != "run"
    looks = styles(series)
    data = []
    for name, points in series.items():
        values = [{**value._asdict()} for _, value in points]
        look: dict[str, Any] = {"type": "bar", "marker": {"color": looks[name].colour}}
        if lines:
            marker = {"size": 8, "symbol": looks[name].symbol, "color": looks[name].colour}
            look = {"type": "scatter", "mode": "lines+markers", "marker": marker, "line": marker | {"width": 2}}
        data.append(
            {
                "name": plotly_text(name),
                "x": [place if lines else plotly_text(str(place)) for place, _ in points],
                "y": [None if math.isnan(value.mean) else value.mean for _, value in points],
                "error_y": error_bars(values, looks[name].colour if lines else "var(--ink)", "mean"),
                **look,
            }
        )
    x = {"title": {"text": plotly_text(spec.x_title)}, "type": "linear" if lines else "category", "showgrid": False}
    y = {"title": {"text": plotly_text(spec.y_title)}, "rangemode": "tozero", "fixedrange": True}
    below = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    shown = {"showlegend": len(series) > 1, "legend": below, "bargroupgap": 0.08}
    return {"data": data, "layout": layout(xaxis=x | {"fixedrange": True}, yaxis=y, **shown)}


def collect_series(spec: FigureSpec, rows: Sequence[StudyRow]) -> Series:
    """The values of each series along the axis; the name of a run is part of a series' name where there are several.

    Args:
        spec: What the figure shows.
        rows: What was measured, in the runs that it shows.

    Returns:
        For each series, pairs of a place and a value.
    """
    series: Series = {}
    for row in rows:
        point = {key: value for key, value in row.point.items() if key != spec.x}
        run = ", ".join([row.variant, *(f"{key.split('.')[-1]} {value}" for key, value in point.items())])
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
