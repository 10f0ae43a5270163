"""The figures of the report, as plain plotly specifications, each with a table of its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_vista.reports.joining import BASELINES
from lightning_vista.reports.style import (
    Style,
    error_bars,
    hover,
    interval,
    layout,
    level_axis,
    plotly_text,
    rows_layout,
    styles,
    with_sets,
)
from lightning_vista.reports.view import Counts, Row, View, number
from lightning_vista.vista import KINDS

KIND_TITLES = {"all": "All kinds"} | {kind: kind.capitalize() for kind in KINDS}
SPLIT_TITLES = {"go_only": "Trace-free orders", "mixed": "Mixed orders"}

_Points = Mapping[str, Sequence[tuple[int, Row]]]  # model -> (level, aggregate)
_ROW_COLUMNS = ("Mean F1", "95% interval", "Standard error", "Problem sets")
_COUNT_COLUMNS = ("Videos", "Unscored", "Ties")


@dataclass(frozen=True)
class Figure:
    """A plotly specification with its equivalent in words and numbers.

    Attributes:
        title: Heading above the figure.
        summary: Description for readers who cannot see the figure.
        plot: `{"data": [...], "layout": {...}}`; a trace's `meta` lists the models it belongs to.
        columns: Heads of the table.
        rows: Cells of the table, as text.
        counts: Model -> numbers of videos, unscored videos and ties behind the figure.
    """

    title: str
    summary: str
    plot: dict[str, Any]
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    counts: Mapping[str, Counts]


def f1_by_level(view: View, environment: str, kind: str) -> Figure:
    """Plot mean macro F1 over the number of actions, one line per model with its 95% intervals (ViSTa, section 4)."""
    levels = view.levels_of(environment, kind)
    points = {
        model: [(level, row) for level in levels if (row := view.row(model, environment, level, kind))]
        for model in view.models
    }
    return _by_level(view, environment, kind, KIND_TITLES[kind], points)


def order_leak(view: View, environment: str, split: str) -> Figure:
    """Plot F1 by level on the trace-free permutation sets (`go_only`), or on the others (`mixed`)."""
    points = {
        model: [
            (int(row["level"]), row)
            for row in view.compared(model).get("order_leak", ())
            if (row["environment"], row["split"]) == (environment, split) and row["level"] != "all"
        ]
        for model in view.models
    }
    return _by_level(view, environment, split, SPLIT_TITLES[split], points)


def level_one_bars(view: View, environment: str) -> Figure:
    """Plot mean macro F1 on the problem sets of level 1, one cluster of bars per kind."""
    kinds = view.kinds_at(environment, 1)
    looks = styles(view.models)
    data = []
    rows = []
    for index, model in enumerate(view.models):
        found = [(kind, row) for kind in kinds if (row := view.row(model, environment, 1, kind))]
        data.append(
            {
                "type": "bar",
                "name": plotly_text(view.label(model)),
                "meta": [index],
                "x": [with_sets(KIND_TITLES[kind], [row]) for kind, row in found],
                "y": [number(row["mean_macro_f1"]) for _, row in found],
                "error_y": error_bars([row for _, row in found], "var(--ink)"),
                "marker": {"color": looks[model].colour},
                **hover([row for _, row in found], "%{y:.3f}"),
            }
        )
        rows += [
            (view.label(model), KIND_TITLES[kind], *_row_cells(row), *_count_cells(view, model, environment, 1, kind))
            for kind, row in found
        ]
    axis = {"fixedrange": True, "showgrid": False}
    return Figure(
        "Level 1, by kind",
        f"Macro F1 on level 1 for {len(kinds)} kinds and {len(data)} models.",
        {"data": data, "layout": layout(xaxis=axis, bargap=0.25, bargroupgap=0.08, meta={"height": 320})},
        ("Model", "Kind", *_ROW_COLUMNS, *_COUNT_COLUMNS),
        rows,
        view.counts_of_all(environment, level=1),
    )


def raw_beside_rescaled(rescaled: View, raw: View, environment: str) -> Figure:
    """Plot each model's mean macro F1 from raw scores (hollow) and from rescaled ones (filled), joined by a line."""
    looks = styles(rescaled.models)
    data = []
    rows = []
    for index, model in enumerate(rescaled.models):
        both = [view for view in (raw, rescaled) if model in view.models]
        found = [(view, row) for view in both if (row := view.row(model, environment))]
        trace = _dots(
            plotly_text(rescaled.label(model)), [index], [row for _, row in found], looks[model], "mean_macro_f1"
        )
        symbols = ["circle-open" if view is raw else "circle" for view, _ in found]
        data.append(trace | {"mode": "lines+markers", "marker": trace["marker"] | {"symbol": symbols}})
        rows += [
            (view.label(model), view.rescaling, *_row_cells(row), *_count_cells(view, model, environment))
            for view, row in found
        ]
    return Figure(
        f"Over {rescaled.num_sets(environment)} problem sets",
        "Mean macro F1 of each model from raw and from rescaled scores.",
        {"data": data, "layout": rows_layout("Mean macro F1", [0, 1.02])},
        ("Model", "Rescaling", *_ROW_COLUMNS, *_COUNT_COLUMNS),
        rows,
        rescaled.counts_of_all(environment),
    )


def draw_differences(view: View, environment: str) -> Figure:
    """Plot the mean difference in macro F1 of each pair of models over the same problem sets, with 95% intervals."""
    models = list(view.models)
    looks = styles(models)
    found = [
        (model, row)
        for model, row in _pairs(view)
        if row["environment"] == environment and "all" in (row["level"], row["kind"])
    ]
    data = []
    for model, row in found:
        if (row["level"], row["kind"]) == ("all", "all"):
            name = f"{plotly_text(_difference_name(view, model, row), 48)} (n = {row['problem_sets']})"
            owners = [models.index(model), models.index(row["other"])]
            trace = _dots(name, owners, [row], looks[model], "mean_difference")
            data.append(trace | {"mode": "markers", "marker": trace["marker"] | {"symbol": looks[model].symbol}})
    rows = [
        (
            _difference_name(view, model, row),
            KIND_TITLES[row["kind"]],
            str(row["level"]),
            _decimal(row["mean_difference"], "+.3f"),
            interval(row),
            str(row["problem_sets"]),
        )
        for model, row in found
    ]
    ends = [end for trace in data for end in _ends(trace)]
    reach = [min([0.0, *ends]) - 0.04, max([0.0, *ends]) + 0.04]
    return Figure(
        "Over the problem sets that both models have scored",
        "Mean difference in macro F1 between pairs of models over the same problem sets.",
        {"data": data, "layout": rows_layout("Difference in macro F1", reach)},
        ("Models", "Kind", "Level", "Mean difference", "95% interval", "Problem sets"),
        rows,
        view.counts_of_all(environment),
    )


def _row_cells(row: Row) -> tuple[str, ...]:
    return _decimal(row["mean_macro_f1"]), interval(row), _decimal(row["standard_error"]), str(row["problem_sets"])


def _count_cells(
    view: View, model: str, environment: str, level: int | str = "all", kind: str = "all"
) -> tuple[str, ...]:
    counts = view.counts(model, environment, level, kind)
    if model in BASELINES:
        return str(counts.videos), "–", "–"  # noqa: RUF001  they score everything, and their ties are meaningless
    return str(counts.videos), str(counts.unscored), str(counts.ties)


def _decimal(value: object, spec: str = ".3f") -> str:
    finite = number(value)
    return "–" if finite is None else f"{finite:{spec}}"  # noqa: RUF001  an en dash stands for no value


def _by_level(view: View, environment: str, group: str, title: str, points: _Points) -> Figure:
    """Return the figure of a kind or split, with its table."""
    rows = [
        (view.label(model), str(level), *_row_cells(row), *_count_cells(view, model, environment, level, group))
        for model, pairs in points.items()
        for level, row in pairs
    ]
    return Figure(
        title,
        f"Macro F1 by level, {title.lower()}, for {len(points)} models.",
        _lines(view, points),
        ("Model", "Level", *_ROW_COLUMNS, *_COUNT_COLUMNS),
        rows,
        view.counts_of_all(environment, kind=group),
    )


def _lines(view: View, points: _Points) -> dict[str, Any]:
    """Return one line per model; models are shifted slightly, so that intervals do not hide each other."""
    levels = sorted({level for pairs in points.values() for level, _ in pairs})
    looks = styles(points)
    data = []
    for index, (model, pairs) in enumerate(points.items()):
        rows = [row for _, row in pairs]
        baseline = model in BASELINES
        shift = 0 if baseline else 0.07 * (index - (len(points) - 1) / 2)
        data.append(
            {
                "type": "scatter",
                "mode": "lines" if baseline else "lines+markers",
                "name": plotly_text(view.label(model)),
                "meta": [index],
                "x": [level + shift for level, _ in pairs],
                "y": [number(row["mean_macro_f1"]) for row in rows],
                "line": {"color": looks[model].colour, "width": 2, "dash": looks[model].dash},
                "marker": {"size": 8, "symbol": looks[model].symbol, "color": looks[model].colour},
                "error_y": error_bars(rows, looks[model].colour) | {"visible": not baseline},
                **hover(rows, "%{y:.3f}"),
            }
        )
    axis = level_axis(pair for pairs in points.values() for pair in pairs)
    reach = [min(levels, default=1) - 0.5, max(levels, default=1) + 0.5]
    return {"data": data, "layout": layout(xaxis=axis | {"range": reach}, meta={"height": 300})}


def _dots(name: str, owners: list[int], rows: Sequence[Row], look: Style, value: str) -> dict[str, Any]:
    """Return the values of one horizontal row, with their intervals; the page positions the visible rows."""
    return {
        "type": "scatter",
        "name": name,
        "meta": owners,
        "x": [number(row[value]) for row in rows],
        "line": {"color": look.colour, "width": 2},
        "marker": {"size": 10, "color": look.colour, "line": {"color": look.colour, "width": 2}},
        "error_x": error_bars(rows, look.colour, value),
        **hover(rows, "%{x:.3f}"),
    }


def _pairs(view: View) -> list[tuple[str, Row]]:
    """Return every pair of models once, a scorer before a baseline, without the pair of the two baselines."""
    pairs = []
    seen: set[tuple[frozenset[str], str, str, str]] = set()
    for model, part in view.models.items():
        for row in part.get("differences", ()):
            pair = frozenset((model, row["other"]))
            key = (pair, str(row["environment"]), str(row["level"]), str(row["kind"]))
            if key not in seen and not pair <= set(BASELINES):
                pairs.append((model, row))
            seen.add(key)
    return pairs


def _difference_name(view: View, model: str, row: Row) -> str:
    return f"{view.label(model)} − {view.label(row['other'])}"  # noqa: RUF001  a minus sign, since names hold hyphens


def _ends(trace: Mapping[str, Any]) -> list[float]:
    """Return the ends of a trace's first interval."""
    x, bars = trace["x"][0] or 0.0, trace["error_x"]
    return [x - bars["arrayminus"][0], x + bars["array"][0]]
