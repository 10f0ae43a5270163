"""Small helpers for static SVG whose text is escaped and whose colours are the page's CSS variables."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

#: Values of attributes; None leaves the attribute out.
Value = str | int | float | None
#: Look of text in a picture; shapes have a fill of their own.
_WORDS: dict[str, Value] = {"font_size": 11, "fill": "var(--muted)"}


def element(name: str, *children: str, **attributes: Value) -> Markup:
    """Return an element as markup; text and values are escaped.

    Args:
        name: Name of the element.
        children: Markup, or text that is escaped.
        attributes: Attributes; an underscore stands for a hyphen, and one at the end keeps a name from being a keyword.

    Example:
        >>> element("text", "a < b", x=1.25, text_anchor="end")
        Markup('<text x="1.2" text-anchor="end">a &lt; b</text>')
    """
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    # Both are escaped above and below; names come from this package alone.
    return Markup(f"<{name}{''.join(parts)}>{''.join(map(escape, children))}</{name}>")


def picture(width: float, height: float, title: str, children: Iterable[str], **attributes: Value) -> Markup:
    """Return an SVG image that scales with its place.

    Args:
        width: Width of its coordinates.
        height: Height of its coordinates.
        title: Description for readers who cannot see it.
        children: Its elements.
        attributes: Further attributes.
    """
    box = f"0 0 {width:g} {height:g}"
    size: dict[str, Value] = {"viewBox": box, "width": width, "height": height, "role": "img", "aria_label": title}
    return element("svg", *children, **size, **_WORDS, **attributes)


def draw_words(x: float, y: float, text: object, anchor: str = "start", **attributes: Value) -> Markup:
    """Return a line of text in the muted colour, unless `fill` says otherwise; for a `picture`, whose look it takes."""
    return element("text", str(text), x=x, y=y, text_anchor=None if anchor == "start" else anchor, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, stroke: str = "var(--grid)", **attributes: Value) -> Markup:
    """Return a straight line."""
    return element("path", d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", stroke=stroke, fill="none", **attributes)


def curve(points: Sequence[tuple[float, float]], stroke: str, **attributes: Value) -> Markup:
    """Return a line through points."""
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    look: dict[str, Value] = {"stroke_width": 2, **attributes}
    return element("path", d=f"M{path}", stroke=stroke, fill="none", **look)


def band(points: Sequence[tuple[float, float, float]], fill: str) -> Markup:
    """Return the area between two lines, from points (x, lower y, upper y)."""
    there = [f"{x:.1f} {low:.1f}" for x, low, _ in points]
    back = [f"{x:.1f} {high:.1f}" for x, _, high in reversed(points)]
    return element("path", d=f"M{'L'.join(there + back)}Z", fill=fill, fill_opacity=0.16)


def draw_mark(x: float, y: float, symbol: str, colour: str, is_hollow: bool = False, radius: float = 5) -> Markup:
    """Return a mark; its shape repeats what its colour says.

    Args:
        x: Place of its centre.
        y: Place of its centre.
        symbol: `circle`, or another name of `style.SYMBOLS`.
        colour: Colour of its fill, or of its outline where it is hollow.
        is_hollow: Whether only its outline is drawn.
        radius: Half of its width.
    """
    fill = "var(--surface)" if is_hollow else colour
    look = {"fill": fill, "stroke": colour, "stroke_width": 2 if is_hollow else 1}
    if symbol not in _SHAPES:
        return element("circle", cx=x, cy=y, r=radius, **look)
    corners = "L".join(f"{x + radius * dx:.1f} {y + radius * dy:.1f}" for dx, dy in _SHAPES[symbol])
    return element("path", d=f"M{corners}Z", **look)


_STAR = ((0, -1.2), (0.3, -0.35), (1.15, -0.35), (0.45, 0.2), (0.7, 1), (0, 0.5))
_CROSS = ((-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35))
#: Corners of the symbols, in units of the radius.
_SHAPES: dict[str, tuple[tuple[float, float], ...]] = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "diamond": ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
    "triangle-up": ((0, -1.1), (1.1, 0.9), (-1.1, 0.9)),
    "triangle-down": ((0, 1.1), (1.1, -0.9), (-1.1, -0.9)),
    "star": (*_STAR, *((-x, y) for x, y in reversed(_STAR[1:-1]))),
    "cross": (*_CROSS, *((-x, -y) for x, y in _CROSS)),
    "x": tuple(((a - b) * 0.8, (a + b) * 0.8) for a, b in (*_CROSS, *((-x, -y) for x, y in _CROSS))),
}


def _plain(value: str | int | float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
