"""A small plot of figures over the number of steps, for one scorer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from lightning_vista.reports.page.svg import band, curve, draw_mark, draw_words, line, picture

#: The plot and its margins, in pixels; the right one holds the names of the lines.
_WIDTH, _HEIGHT = 250, 150
_LEFT, _TOP, _RIGHT = 34, 22, 82
_ROW = 14


@dataclass(frozen=True)
class LevelPoint:
    """A figure at a level.

    Attributes:
        level: Number of steps.
        value: The figure.
        low: Lower end of its interval, if any.
        high: Upper end.
        sets: Number of problem sets.
    """

    level: int
    value: float
    low: float | None
    high: float | None
    sets: int


@dataclass(frozen=True)
class Line:
    """One line of the plot.

    Attributes:
        name: Short name at its end; empty for a line that stands alone.
        colour: Its colour.
        symbol: Shape of its marks.
        points: Figures, by level.
        chance: Level -> level of chance, a dotted line.
        is_dashed: Whether it is dashed.
    """

    name: str
    colour: str
    symbol: str
    points: Sequence[LevelPoint]
    chance: Mapping[int, float] = field(default_factory=dict)
    is_dashed: bool = False


def draw_levels(title: str, lines: Sequence[Line], y_title: str = "macro F1") -> Markup:
    """Draw lines over the number of steps, with intervals as bands, chance dotted, and the numbers of sets below.

    Args:
        title: Description for readers who cannot see it.
        lines: Lines with at least one point.
        y_title: Words above the vertical axis.

    Returns:
        An SVG element.

    Example:
        >>> points = [LevelPoint(2, 0.9, 0.8, 1.0, 8), LevelPoint(3, 0.4, 0.2, 0.6, 8)]
        >>> draw_levels("Order", [Line("order", "red", "circle", points, {2: 0.5, 3: 0.3})]).count("<circle")
        2
    """
    levels = sorted({point.level for each in lines for point in each.points})
    bottom = _TOP + _HEIGHT
    parts = [draw_words(0, 11, y_title)]
    for value in (0.0, 0.5, 1.0):
        parts.append(line(_LEFT, _y(value), _LEFT + _WIDTH, _y(value)))
        parts.append(draw_words(_LEFT - 6, _y(value) + 4, f"{value:g}", "end"))
    parts += [draw_words(_x(level, levels), bottom + 16, level, "middle") for level in levels]
    parts.append(draw_words(_LEFT + _WIDTH + 8, bottom + 16, "steps"))
    ends = [(each.name, _y(each.points[-1].value), each.colour) for each in lines if each.name]
    ends += [("chance", _y(each.chance[max(each.chance)]), each.colour) for each in lines if each.chance]
    for row, each in enumerate(lines):
        parts += _draw_line(each, levels)
        y = bottom + 30 + row * _ROW
        parts.append(draw_words(_LEFT - 6, y, "n", "end", fill=each.colour, font_size=10))
        parts += [
            draw_words(_x(point.level, levels), y, point.sets, "middle", fill=each.colour, font_size=10)
            for point in each.points
        ]
    for name, height, colour in _spread(ends):
        weight = 400 if name == "chance" else 600
        parts.append(draw_words(_LEFT + _WIDTH + 8, height + 4, name, fill=colour, font_weight=weight))
    total = bottom + 24 + len(lines) * _ROW
    return picture(_LEFT + _WIDTH + _RIGHT, total, title, parts, class_="levels")


def _draw_line(each: Line, levels: Sequence[int]) -> list[Markup]:
    """Return chance, band, line and marks of one line."""
    parts = []
    if chance := [(_x(level, levels), _y(value)) for level, value in sorted(each.chance.items())]:
        if len(chance) == 1:
            chance = [(chance[0][0] - 12, chance[0][1]), (chance[0][0] + 12, chance[0][1])]
        parts.append(curve(chance, each.colour, stroke_width=1.5, stroke_dasharray="2 3"))
    bounds = [
        (_x(p.level, levels), _y(p.low), _y(p.high)) for p in each.points if p.low is not None and p.high is not None
    ]
    if len(bounds) > 1:
        parts.append(band(bounds, each.colour))
    elif bounds:
        x, low, high = bounds[0]
        parts.append(line(x, low, x, high, each.colour))
    places = [(_x(point.level, levels), _y(point.value)) for point in each.points]
    parts.append(curve(places, each.colour, stroke_dasharray="6 4" if each.is_dashed else None))
    return parts + [draw_mark(x, y, each.symbol, each.colour, radius=3.5) for x, y in places]


def _spread(ends: list[tuple[str, float, str]]) -> list[tuple[str, float, str]]:
    """Move names at the ends of lines apart, so that they do not overlap."""
    ordered = sorted(ends, key=lambda end: end[1])
    placed: list[tuple[str, float, str]] = []
    for name, y, colour in ordered:
        placed.append((name, max(y, placed[-1][1] + 13) if placed else y, colour))
    return placed


def _x(level: int, levels: Sequence[int]) -> float:
    if len(levels) == 1:
        return _LEFT + _WIDTH / 2
    return _LEFT + 14 + (_WIDTH - 28) * (level - levels[0]) / (levels[-1] - levels[0])


def _y(value: float) -> float:
    return _TOP + _HEIGHT * (1 - min(max(value, 0.0), 1.0))
