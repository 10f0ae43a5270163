"""A track: one figure between 0 and 1 with its interval and the level of chance, in one line."""

from dataclasses import dataclass

from markupsafe import Markup

from lightning_vista.reports.page.svg import draw_mark, element, line, picture

_WIDTH, _HEIGHT, _EDGE = 180, 22, 8


@dataclass(frozen=True)
class Dot:
    """One figure on a track.

    Attributes:
        value: The figure; None draws nothing.
        low: Lower end of its interval, if any.
        high: Upper end.
        is_hollow: Whether the mark is hollow.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    is_hollow: bool = False


def draw_track(title: str, dots: list[Dot], colour: str, symbol: str = "circle", chance: float | None = None) -> Markup:
    """Draw figures on a line from 0 to 1.

    Args:
        title: Description for readers who cannot see it.
        dots: Figures; the intervals of several would hide each other, so only a single one shows its interval.
        colour: Colour of the marks.
        symbol: Shape of the marks.
        chance: Level of chance, a dashed tick; None without one.

    Returns:
        An SVG element.

    Example:
        >>> draw_track("F1 0.81", [Dot(0.81, 0.6, 1.0)], "red", chance=0.15).count("<circle")
        1
    """
    middle = _HEIGHT / 2
    parts = [line(_EDGE, middle, _WIDTH - _EDGE, middle, "var(--rule)", stroke_width=2)]
    if len(dots) == 1 and dots[0].low is not None and dots[0].high is not None:
        left, right = _place(dots[0].low), _place(dots[0].high)
        width = max(right - left, 1.0)
        band = element("rect", x=left, y=middle - 4, width=width, height=8, rx=2, fill=colour, fill_opacity=0.35)
        parts.append(band)
    if chance is not None:
        x = _place(chance)
        parts.append(line(x, 1, x, _HEIGHT - 1, "var(--ink)", stroke_width=1.5, stroke_dasharray="3 2"))
    found = [(_place(dot.value), dot) for dot in dots if dot.value is not None]
    if len(found) > 1:
        ends = [x for x, _ in found]
        parts.append(line(min(ends), middle, max(ends), middle, colour, stroke_width=2))
    parts += [draw_mark(x, middle, symbol, colour, dot.is_hollow) for x, dot in found]
    return picture(_WIDTH, _HEIGHT, title, parts, class_="track")


def _place(value: float) -> float:
    return _EDGE + (_WIDTH - 2 * _EDGE) * min(max(value, 0.0), 1.0)
