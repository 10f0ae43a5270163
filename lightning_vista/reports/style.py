"""The look of the figures: one style per model, one layout for all, and text that plotly cannot take for markup.

Colours are CSS variables such as `var(--series-1)`; the page replaces them with the colours of its light or dark theme.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_vista.reports.joining import BASELINES
from lightning_vista.reports.view import Row, number

#: Plotly's symbols with the characters that the legend shows for them.
SYMBOLS = (
    ("circle", "●"),
    ("square", "■"),
    ("diamond", "◆"),
    ("triangle-up", "▲"),
    ("triangle-down", "▼"),
    ("star", "★"),
    ("cross", "✚"),
    ("x", "✖"),
)
DASHES = {"majority": ("dash", "╌"), "random": ("dot", "┈")}


@dataclass(frozen=True)
class Style:
    """The look of one model in every figure; symbol and dash repeat the colour's information without colour vision.

    Attributes:
        colour: CSS variable of the colour.
        symbol: Plotly's symbol.
        glyph: Character that stands for the symbol in text.
        dash: Plotly's dash of lines.
    """

    colour: str
    symbol: str
    glyph: str
    dash: str


def styles(models: Iterable[str]) -> dict[str, Style]:
    """Return one style per model; the baselines are grey lines without a symbol.

    Args:
        models: Names of the models.

    Example:
        >>> styles(["clip", "majority"])["clip"].colour
        'var(--series-1)'
    """
    chosen: dict[str, Style] = {}
    scorers = 0
    for model in models:
        if model in BASELINES:
            dash, glyph = DASHES[model]
            chosen[model] = Style(f"var(--{model})", "line-ew", glyph, dash)
        else:
            # After eight scorers the colours start again, with the symbols shifted, so that no two look alike.
            symbol, glyph = SYMBOLS[(scorers + scorers // 8) % len(SYMBOLS)]
            chosen[model] = Style(f"var(--series-{scorers % 8 + 1})", symbol, glyph, "solid")
            scorers += 1
    return chosen


def plotly_text(text: str, limit: int = 44) -> str:
    """Escape text for plotly, which would otherwise read `<b>`, `<a href=...>` and the like as markup.

    Args:
        text: Any text.
        limit: Maximum length; longer text loses its middle, which the tables beside the figures still show.

    Returns:
        The text with `&`, `<` and `>` as entities.

    Example:
        >>> plotly_text("<b>scorer</b>")
        '&lt;b&gt;scorer&lt;/b&gt;'
    """
    half = limit // 2
    return html.escape(text if len(text) <= limit else f"{text[:half]}…{text[-half:]}", quote=False)


def interval(row: Row, spec: str = ".3f") -> str:
    """Return the 95% interval of an aggregate in words; a dash if there is none.

    Args:
        row: Aggregate with `ci_low` and `ci_high`.
        spec: Format of the numbers.

    Example:
        >>> interval({"ci_low": 0.25, "ci_high": 0.5})
        '0.250 to 0.500'
    """
    low, high = number(row["ci_low"]), number(row["ci_high"])
    return "–" if low is None or high is None else f"{low:{spec}} to {high:{spec}}"  # noqa: RUF001  no value


def with_sets(text: object, rows: Iterable[Row]) -> str:
    """Return an axis tick with the number of problem sets behind it.

    Args:
        text: Text of the tick.
        rows: Aggregates of the models at this tick.

    Example:
        >>> with_sets("Level 2", [{"problem_sets": 9}, {"problem_sets": 9}])
        'Level 2<br>n = 9'
    """
    return f"{text}<br>n = {_num_sets(rows)}"


def level_axis(rows: Iterable[tuple[int, Row]]) -> dict[str, Any]:
    """Return plotly's axis of levels, with the number of problem sets below each.

    Args:
        rows: Levels with the aggregates of the models.

    Example:
        >>> level_axis([(2, {"problem_sets": 9}), (3, {"problem_sets": 8})])["ticktext"]
        ['2<br>n = 9', '3<br>8']
    """
    found: dict[int, list[Row]] = {}
    for level, row in rows:
        found.setdefault(level, []).append(row)
    levels = sorted(found)
    # "n =" stands once, since eight levels with three digits each must fit into a phone's width.
    texts = [f"{level}<br>{'' if place else 'n = '}{_num_sets(found[level])}" for place, level in enumerate(levels)]
    title = {"text": "Level (n problem sets)"}
    ticks = {"tickvals": levels, "ticktext": texts, "tickangle": 0}
    return {"title": title, **ticks, "showgrid": False, "fixedrange": True}


def _num_sets(rows: Iterable[Row]) -> str:
    counts = sorted({int(row["problem_sets"]) for row in rows})
    return " to ".join(str(count) for count in dict.fromkeys(counts[:1] + counts[-1:]))


def error_bars(rows: Sequence[Row], colour: str, value: str = "mean_macro_f1") -> dict[str, Any]:
    """Return plotly's error bars for 95% intervals, which may be asymmetric; of length 0 without an interval."""
    triples = [(number(row[value]), number(row["ci_low"]), number(row["ci_high"])) for row in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if mean is None or high is None else high - mean for mean, _, high in triples],
        "arrayminus": [0.0 if mean is None or low is None else mean - low for mean, low, _ in triples],
        "color": colour,
        "thickness": 1.2,
        "width": 0,
    }


def hover(rows: Sequence[Row], value: str) -> dict[str, Any]:
    """Return plotly's hover text; user text stays out of the template, in which plotly would look for formats."""
    return {
        "customdata": [[interval(row), row["problem_sets"]] for row in rows],
        "hovertemplate": f"%{{fullData.name}}<br>{value} (%{{customdata[0]}})<br>"
        "%{customdata[1]} problem sets<extra></extra>",
    }


def rows_layout(title: str, reach: list[float]) -> dict[str, Any]:
    """Return the layout of figures with one horizontal row per model or pair; the page puts names above the dots."""
    return layout(
        xaxis={"title": {"text": title}, "range": reach, "dtick": 0.25, "fixedrange": True},
        yaxis={"showticklabels": False, "showgrid": False, "zeroline": False, "fixedrange": True},
        shapes=[
            {"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": "var(--axis)"}}
        ],
        margin={"l": 8, "r": 8, "t": 8, "b": 40},
        meta={"row_height": 46},
    )


def layout(**changes: Any) -> dict[str, Any]:
    """Return the shared layout: no dragging or zooming by touch, F1 from 0 to 1, and the page's own legend."""
    axis = {"gridcolor": "var(--grid)", "linecolor": "var(--rule)", "zerolinecolor": "var(--axis)", "automargin": True}
    shared: dict[str, Any] = {
        "showlegend": False,
        "dragmode": False,
        "hovermode": "closest",
        "margin": {"l": 36, "r": 8, "t": 8, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "var(--muted)"},
        "hoverlabel": {"bgcolor": "var(--surface)", "bordercolor": "var(--rule)", "font": {"color": "var(--ink)"}},
    }
    f1 = {"range": [0, 1.04], "dtick": 0.25, "tickformat": ".2f", "fixedrange": True}
    axes = {"xaxis": axis | changes.pop("xaxis", {}), "yaxis": axis | changes.pop("yaxis", f1)}
    return shared | axes | changes
