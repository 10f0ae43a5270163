"""The figures of scorers as rewards: ranks of the right videos, and rewards of wrong orders."""

from collections.abc import Sequence
from typing import Any

from lightning_vista.reports.figures import KIND_TITLES, Figure
from lightning_vista.reports.style import (
    error_bars,
    hover,
    interval,
    layout,
    level_axis,
    plotly_text,
    styles,
    with_sets,
)
from lightning_vista.reports.view import Row, View, number
from lightning_vista.vista import KINDS

_ORDERED = ("AUC", "95% interval", "Rank accuracy", "95% interval", "Margin", "95% interval", "Problem sets")


def reward_figures(view: View, environment: str) -> list[Figure]:
    """Return the figures of an environment that have data.

    Args:
        view: Results of all models.
        environment: Environment to show.

    Returns:
        Bars of AUC by kind, with a table of the other figures of `RewardQuality` by kind and level; and, with
        permutation sets, lines of the share of them in which a wrong order pays as much as the right one.
    """
    found = {
        model: [row for row in view.compared(model).get("reward_quality", ()) if row["environment"] == environment]
        for model in view.models
    }
    return [figure for figure in (_order_of_videos(view, found), _wrong_orders(view, found)) if figure.plot["data"]]


def _order_of_videos(view: View, found: dict[str, list[Row]]) -> Figure:
    """Plot the chance that a right video is scored above a wrong one, by kind."""
    looks = styles(view.models)
    data = []
    for index, (model, rows) in enumerate(found.items()):
        shown = [row for row in rows if row["figure"] == "auc" and row["kind"] in KINDS and row["level"] == "all"]
        if shown:
            x = [with_sets(KIND_TITLES[row["kind"]], [row]) for row in shown]
            look = {"type": "bar", "marker": {"color": looks[model].colour}}
            data.append(_trace(view.label(model), index, x, shown, "var(--ink)") | look)
    axis = {"fixedrange": True, "showgrid": False}
    return Figure(
        "Right videos above wrong ones, by kind",
        f"The chance that a right video is scored above a wrong one, by kind, for {len(data)} models.",
        {"data": data, "layout": layout(xaxis=axis, bargap=0.25, bargroupgap=0.08, meta={"height": 320})},
        ("Model", "Kind", "Level", *_ORDERED),
        [cells for model, rows in found.items() for cells in _table(view.label(model), rows)],
        {model: view.counts(model, _environment(rows)) for model, rows in found.items() if rows},
    )


def _wrong_orders(view: View, found: dict[str, list[Row]]) -> Figure:
    """Plot the share of problem sets in which a wrong order pays as much as the right one, by level."""
    looks = styles(view.models)
    data = []
    cells = []
    points = []
    for index, (model, rows) in enumerate(found.items()):
        shown = [row for row in rows if row["figure"] == "exploitable" and row["kind"] == "permutation"]
        cells += [(view.label(model), str(row["level"]), *_figure(row), str(row["problem_sets"])) for row in shown]
        shown = [row for row in shown if row["level"] != "all"]
        marker = {"size": 8, "symbol": looks[model].symbol, "color": looks[model].colour}
        line = {"type": "scatter", "mode": "lines+markers", "marker": marker}
        if shown:
            points += [(row["level"], row) for row in shown]
            x = [row["level"] for row in shown]
            data.append(_trace(view.label(model), index, x, shown, looks[model].colour) | line)
    axis = level_axis(points)
    return Figure(
        "Permutation sets in which a wrong order pays as much as the right one",
        f"Share of permutation sets in which a wrong order earns at least as much, by level, for {len(data)} models.",
        {"data": data, "layout": layout(xaxis=axis, meta={"height": 300})},
        ("Model", "Level", "Share", "95% interval", "Problem sets"),
        cells,
        {model: view.counts(model, _environment(rows), kind="permutation") for model, rows in found.items() if rows},
    )


def _trace(name: str, index: int, x: Sequence[Any], rows: Sequence[Row], bars: str) -> dict[str, Any]:
    """Return means with their intervals."""
    return {
        "name": plotly_text(name),
        "meta": [index],
        "x": list(x),
        "y": [number(row["mean"]) for row in rows],
        "error_y": error_bars(rows, bars, "mean"),
        **hover(rows, "%{y:.3f}"),
    }


def _table(name: str, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return one row for each kind and level, in the order of the results."""
    by_cell: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        by_cell.setdefault((row["kind"], str(row["level"])), {})[row["figure"]] = row
    return [
        (
            name,
            KIND_TITLES[kind],
            level,
            *(text for name in ("auc", "rank_accuracy", "margin") for text in _figure(figures[name])),
            str(figures["auc"]["problem_sets"]),
        )
        for (kind, level), figures in by_cell.items()
    ]


def _figure(row: Row) -> tuple[str, str]:
    """Return a mean and its interval in words."""
    return f"{row['mean']:.3f}", interval(row)


def _environment(rows: Sequence[Row]) -> str:
    return str(rows[0]["environment"])
