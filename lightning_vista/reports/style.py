"""How the figures look: one style per model, one layout for all, text that plotly cannot take for markup.

Colours are CSS variables, such as `var(--series-1)`: the page puts in those of its light or dark theme.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_vista.reports.joining import BASELINES
from lightning_vista.reports.view import Row, number

#: Plotly's symbol and the character that the legend shows for it; models beyond the last start again.
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
    """How one model looks in every figure: colour, symbol and dash say the same, for those who see no colour."""

    colour: str
    symbol: str
    glyph: str
    dash: str


def styles(models: Iterable[str]) -> dict[str, Style]:
    """One style per model; the baselines are grey and have no symbol.

    Example:
        >>> styles(["clip", "majority"])["clip"].colour
        'var(--series-1)'
    """
    chosen: dict[str, Style] = {}
    judges = 0
    for model in models:
        if model in BASELINES:
            dash, glyph = DASHES[model]
            chosen[model] = Style(f"var(--{model})", "line-ew", glyph, dash)
        else:
            symbol, glyph = SYMBOLS[judges % len(SYMBOLS)]
            chosen[model] = Style(f"var(--series-{judges % 8 + 1})", symbol, glyph, "solid")
            judges += 1
    return chosen


def plotly_text(text: str, limit: int = 44) -> str:
    """Text that plotly shows as it is: it would otherwise read `<b>`, `<a href=...>` and the like as markup.

    Args:
        text: Any text.
        limit: Longer text loses its middle, which the tables beside the figures still show.

    Returns:
        The text with `&`, `<` and `>` as entities.

    Example:
        >>> plotly_text("<b>judge</b>")
        '&lt;b&gt;judge&lt;/b&gt;'
    """
    half = limit // 2
    return html.escape(text if len(text) <= limit else f"{text[:half]}…{text[-half:]}", quote=False)


def interval(row: Row, spec: str = ".3f") -> str:
    """The 95% interval of an aggregate in words.

    Example:
        >>> interval({"ci_low": 0.25, "ci_high": 0.5})
        '0.250 to 0.500'
    """
    low, high = number(row["ci_low"]), number(row["ci_high"])
    return "–" if low is None or high is None else f"{low:{spec}} to {high:{spec}}"  # noqa: RUF001  no value


def error_bars(rows: Sequence[Row], colour: str, value: str = "mean_macro_f1") -> dict[str, Any]:
    """Plotly's error bars for 95% intervals, which need not be symmetric; none where there is no interval."""
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
    """What a pointer sees: no text of the user's enters the template, in which plotly would look for formats."""
    return {
        "customdata": [[interval(row), row["problem_sets"]] for row in rows],
        "hovertemplate": f"%{{fullData.name}}<br>{value} (%{{customdata[0]}})<br>"
        "%{customdata[1]} problem sets<extra></extra>",
    }


def rows_layout(title: str, reach: list[float]) -> dict[str, Any]:
    """The layout of figures with one horizontal row per model or pair; the page puts each name above its dots."""
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
    """What all figures share: nothing moves under a thumb, F1 goes from 0 to 1, the legend is the page's own."""
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
