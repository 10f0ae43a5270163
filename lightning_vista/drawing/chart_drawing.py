"""Drawing of charts, once for pages (SVG) and for documents and loggers (pixels)."""

import io
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from lightning_vista.drawing.charts import COLOURS, Chart, Point, series_look, spread
from lightning_vista.optional import require
from lightning_vista.options import check_word

if TYPE_CHECKING:  # matplotlib is optional
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Formats of files with a chart.
ChartFormat: TypeAlias = Literal["pdf", "png"]
#: Format -> metadata of its files without a date and a version, which would differ between equal charts.
_METADATA: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}}
_INK, _GREY, _RULE = "#1c1e21", "#575c63", "#dcd8cf"
#: CSS variables of a page for the colours of a chart, so that it follows the page's theme.
_VARIABLES = {_INK: "--ink", _GREY: "--muted", _RULE: "--rule"} | {
    colour: f"--series-{number}" for number, colour in enumerate(COLOURS, 1)
}
#: In inches: the plot without its titles and names, and the height of a line of text.
_WIDTH, _HEIGHT, _LINE = 4.6, 2.7, 0.2
_DPI = 100
#: Letters after which titles and names continue in another line.
_TITLE, _NAME = 72, 44
#: In points: a line of a legend or title, and the names of references above a plot.
_LEGEND_POINTS, _NAME_POINTS = 14, 12


def draw_chart(chart: Chart) -> "Figure":
    """Draw a chart.

    Args:
        chart: The chart.

    Returns:
        A figure of matplotlib; its titles and names lie around the axes, so save it with `bbox_inches="tight"`.

    Raises:
        ModuleNotFoundError: If matplotlib is missing; the message names the extra.
    """
    with _plain_text():
        axes = _axes(chart)
        if chart.rows:
            _draw_rows(chart, axes)
        elif all(isinstance(place, str) for place in chart.places):
            _draw_columns(chart, axes)
        else:
            _draw_numbers(chart, axes)
        _draw_references(chart, axes)
        _set_reach(chart, axes)
        _write_titles(chart, axes)
        figure: Any = axes.figure  # never a part of another figure
        drawn: Figure = figure
    return drawn


def chart_svg(chart: Chart) -> str:
    """Draw a chart as one SVG element for a page, whose CSS variables (`--ink`, `--series-1`, ...) give the colours.

    Args:
        chart: The chart.

    Returns:
        The element, the same for the same chart; it has no script, and its text is text.

    Raises:
        ModuleNotFoundError: If matplotlib is missing; the message names the extra.

    Example:
        >>> from lightning_vista.drawing.charts import Chart, Point
        >>> svg = chart_svg(Chart("", {"a": [Point("one", (1.0, 2.0))]}, rows=True))
        >>> svg.startswith("<svg"), "var(--series-1)" in svg
        (True, True)
    """
    buffer = io.StringIO()
    # The salt makes ids, which must be unique in a page, from the chart; without it they are random.
    with _plain_text({"svg.hashsalt": repr(chart)}):
        figure = draw_chart(chart)
        options: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.04, "transparent": True}
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, **options)
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r"#[0-9a-f]{6}", lambda colour: _variable(colour[0]), svg)
    return re.sub(r'<svg [^>]*?width="([\d.]+)pt"', lambda found: found[0].replace("<svg ", '<svg class="chart" '), svg)


def chart_file(chart: Chart, file_format: ChartFormat) -> bytes:
    """Draw a chart as a file of its own, for papers and slides.

    Args:
        chart: The chart.
        file_format: `pdf`, in which text stays text, or `png`.

    Returns:
        The content of the file, the same for the same chart.

    Raises:
        ModuleNotFoundError: If matplotlib is missing; the message names the extra.
        ValueError: If the format is another word.

    Example:
        >>> from lightning_vista.drawing.charts import Chart, Point
        >>> chart_file(Chart("", {"a": [Point("one", (1.0, 2.0))]}, rows=True), "pdf")[:5]
        b'%PDF-'
    """
    check_word("file_format", file_format, get_args(ChartFormat))
    buffer = io.BytesIO()
    with _plain_text({"pdf.fonttype": 42}):
        draw_chart(chart).savefig(
            buffer,
            format=file_format,
            dpi=2 * _DPI,
            bbox_inches="tight",
            pad_inches=0.04,
            metadata=_METADATA[file_format],
        )
    return buffer.getvalue()


def _variable(colour: str) -> str:
    return f"var({_VARIABLES[colour]})" if colour in _VARIABLES else colour


def _plain_text(more: Mapping[str, Any] | None = None) -> AbstractContextManager[None]:
    """Return settings in which no text is a formula: a user's "$" stays one, and SVG has text instead of outlines."""
    shared = {"text.parse_math": False, "svg.fonttype": "none", "font.size": 9, "text.color": _INK}
    settings: AbstractContextManager[None] = require("matplotlib", "plots").rc_context(shared | dict(more or {}))
    return settings


def _axes(chart: Chart) -> "Axes":
    height = _HEIGHT
    if chart.rows:
        names = [_wrap(str(place), _NAME) for place in chart.places]
        height = sum(_LINE * max(name.count("\n") + 1, 0.8 * len(chart.series)) + 0.1 for name in names)
    elif chart.lines:
        height = max(_HEIGHT, _LINE * 0.85 * len(chart.series))
    figure = require("matplotlib.figure", "plots").Figure((_WIDTH, max(height, 0.5)), dpi=_DPI)
    axes: Axes = figure.add_axes((0, 0, 1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GREY)
    axes.tick_params(colors=_GREY, labelcolor=_INK, length=3)
    axes.set_axisbelow(True)
    axes.grid(axis="x" if chart.rows else "y", color=_RULE, linewidth=0.8)
    return axes


def _draw_rows(chart: Chart, axes: "Axes") -> None:
    """Draw a row for each place, the first at the top."""
    places = chart.places
    for number, (name, points) in enumerate(chart.series.items()):
        shift = _dodge(number, len(chart.series), 0.46)
        for point in points:
            y = places.index(point.x) + shift
            _mark(axes, chart, number, point, [(value, y) for value in point.values], (point.mean, y), "|")
        axes.plot([], [], color=series_look(number)[0], marker=series_look(number)[1], linestyle="none", label=name)
    axes.set_yticks(range(len(places)), [_wrap(str(place), _NAME) for place in places])
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if chart.log_y:
        axes.set_xscale("log")
    _write_legend(chart, axes)


def _draw_columns(chart: Chart, axes: "Axes") -> None:
    """Draw a column for each place; series lie beside each other."""
    places = chart.places
    for number, (name, points) in enumerate(chart.series.items()):
        shift = 0 if chart.lines else _dodge(number, len(chart.series), 0.6)
        xs = [places.index(point.x) + shift for point in points]
        for x, point in zip(xs, points, strict=True):
            _mark(axes, chart, number, point, [(x, value) for value in point.values], (x, point.mean), "_")
        line: dict[str, Any] = {"color": series_look(number)[0], "marker": series_look(number)[1], "label": name}
        means = [point.mean if math.isfinite(point.mean) else math.nan for point in points]
        axes.plot(xs if chart.lines else [], means if chart.lines else [], linestyle="-" if chart.lines else "", **line)
    axes.set_xticks(range(len(places)), [_wrap(str(place), 14) for place in places])
    axes.set_xlim(-0.6, len(places) - 0.4)
    if chart.log_y:
        axes.set_yscale("log")
    _write_legend(chart, axes)


def _draw_numbers(chart: Chart, axes: "Axes") -> None:
    """Draw values over numbers: lines with names at their ends, or clouds of points with a legend."""
    axes.set_xscale("log" if chart.log_x else "linear")
    axes.set_yscale("log" if chart.log_y else "linear")
    ends: dict[str, tuple[int, float]] = {}
    for number, (name, points) in enumerate(chart.series.items()):
        colour, marker = series_look(number)
        for point in points:
            places = point.place if isinstance(point.place, tuple) else (float(point.x),) * len(point.values)
            _mark(
                axes, chart, number, point, list(zip(places, point.values, strict=True)), (float(point.x), point.mean)
            )
        means = [(float(point.x), point.mean) for point in points if math.isfinite(point.mean)]
        if means and chart.lines:
            style = "-" if number < len(COLOURS) else (0, (4, 1.5))
            axes.plot(*zip(*means, strict=True), color=colour, linestyle=style, linewidth=1.8, label=name)
            ends[name] = (number, means[-1][1])
        elif means:
            axes.plot([], [], color=colour, marker=marker, linestyle="none", label=_wrap(name, _NAME))
    ticks = sorted({float(place) for place in chart.places})
    if len(ticks) <= 7 and chart.lines:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    if not chart.lines and len(chart.series) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.03), frameon=False, fontsize=8, labelcolor=_INK)
    _set_reach(chart, axes)  # before the names, whose places depend on it
    if len(chart.series) > 1:
        _write_ends(axes, ends)


def _mark(
    axes: "Axes",
    chart: Chart,
    number: int,
    point: Point,
    dots: Sequence[tuple[float, float]],
    mean: tuple[float, float],
    tick: str = "",
) -> None:
    """Draw the seeds of a point as dots, and their mean as a tick, or as a larger marker on lines."""
    colour, marker = series_look(number)
    known = [dot for dot in dots if all(map(math.isfinite, dot))]
    if chart.dots and len(known) > 1:
        small: dict[str, Any] = {"s": 11, "alpha": 0.55, "linewidths": 0, "zorder": 3, "clip_on": False}
        axes.scatter(*zip(*known, strict=True), color=colour, marker=marker if tick else "o", **small)
    if not all(map(math.isfinite, mean)) or not (chart.dots or tick):
        return
    if ends := chart.cut(point):
        line = (ends, (mean[1],) * 2) if chart.rows else ((mean[0],) * 2, ends)
        axes.plot(*line, color=colour, linewidth=3, alpha=0.3, solid_capstyle="butt", zorder=2)
    size: dict[str, Any] = {"markersize": 5.5, "zorder": 4, "clip_on": False, "linestyle": "none"}
    if tick and len(known) > 1:
        size |= {"markersize": 11, "markeredgewidth": 2.2}
    axes.plot(*([place] for place in mean), color=colour, marker=tick if tick and len(known) > 1 else marker, **size)


def _draw_references(chart: Chart, axes: "Axes") -> None:
    """Draw dashed lines, each with its name."""
    for name, value in chart.references.items():
        if not math.isfinite(value):
            continue
        place: dict[str, Any]
        if chart.rows:
            axes.axvline(value, color=_GREY, linestyle=(0, (3, 2)), linewidth=1)
            place = {"ha": "center", "va": "bottom", "fontsize": 8, "color": _GREY}
            axes.annotate(name, (value, 1), (0, 2), ("data", "axes fraction"), "offset points", **place)
        else:
            axes.axhline(value, color=_GREY, linestyle=(0, (3, 2)), linewidth=1)
            place = {"ha": "left", "va": "bottom", "fontsize": 8, "color": _GREY}
            axes.annotate(name, (0, value), (3, 1), ("axes fraction", "data"), "offset points", **place)


def _set_reach(chart: Chart, axes: "Axes") -> None:
    """Let the axis of values begin at 0 where that costs little, and never reach where no share can be."""
    values = [*chart.values, *(value for value in chart.references.values() if math.isfinite(value))]
    if chart.log_y or not values:
        return
    low, high = chart.reach or (min(values), max(values))
    if chart.reach is None:
        if 0 <= low <= 0.6 * high:
            low = 0.0
        margin = 0.04 * ((high - low) or abs(high) or 1.0)
        low, high = (low if low == 0 else low - margin), high + margin
    (axes.set_xlim if chart.rows else axes.set_ylim)(low, high)


def _write_titles(chart: Chart, axes: "Axes") -> None:
    """Write the titles: that of the values above the axis, where it is read without turning the head."""
    axes.set_xlabel(_wrap(chart.y_title if chart.rows else chart.x_title, _TITLE), color=_GREY)
    points = 7 + _LEGEND_POINTS * _legend_lines(chart) + _NAME_POINTS * _has_names_above(chart)
    above = {"medium": "" if chart.rows else chart.y_title, "large": chart.title}
    for size, text in ((size, _wrap(text, _TITLE)) for size, text in above.items() if text):
        look: dict[str, Any] = {"color": _GREY} if size == "medium" else {"color": _INK, "fontweight": "bold"}
        axes.annotate(text, (0, 1), (0, points), "axes fraction", "offset points", va="bottom", fontsize=size, **look)
        points += 4 + _LEGEND_POINTS * (text.count("\n") + 1)


def _has_names_above(chart: Chart) -> bool:
    """Return whether names of references stand above the plot."""
    return chart.rows and any(map(math.isfinite, chart.references.values()))


def _legend_lines(chart: Chart) -> int:
    """Return the height, in lines, of a legend above the plot; charts over numbers have theirs at the right."""
    is_above = len(chart.series) > 1 and all(isinstance(place, str) for place in chart.places)
    return -(-len(chart.series) // _legend_columns(chart)) if is_above else 0


def _legend_columns(chart: Chart) -> int:
    longest = max(len(name) for name in chart.series)
    return max(1, min(len(chart.series), 84 // (longest + 6)))


def _write_legend(chart: Chart, axes: "Axes") -> None:
    """Write the names of several series above the plot."""
    if not _legend_lines(chart):
        return
    points = 4 + _NAME_POINTS * _has_names_above(chart)
    figure: Any = axes.figure
    spaces = {"handletextpad": 0.2, "columnspacing": 1.2, "borderaxespad": 0, "borderpad": 0}
    place = (0, 1 + points / 72 / figure.get_figheight())
    options: dict[str, Any] = {"ncols": _legend_columns(chart), "frameon": False, "labelcolor": _INK, **spaces}
    axes.legend(loc="lower left", bbox_to_anchor=place, **options)


def _write_ends(axes: "Axes", ends: Mapping[str, tuple[int, float]]) -> None:
    """Write the name of each line at its end, with a thin lead where it had to move."""
    pixels = [float(axes.transData.transform((1, end))[1]) for _, end in ends.values()]
    texts = [_wrap(name, _NAME) for name in ends]
    gap = _DPI * 0.145 * max((text.count("\n") + 1 for text in texts), default=1)
    for text, (number, end), here, there in zip(texts, ends.values(), pixels, spread(pixels, gap), strict=True):
        colour = series_look(number)[0]
        lead = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 1}
        axes.annotate(
            text,
            (1, end),
            (10, (there - here) * 72 / _DPI),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=8,
            arrowprops=lead,
        )


def _dodge(number: int, count: int, width: float) -> float:
    return 0.0 if count < 2 else width * (number / (count - 1) - 0.5)


def _wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width)) or text
