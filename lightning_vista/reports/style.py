"""The look of the figures: one colour and one symbol per model.

Colours are CSS variables such as `var(--series-1)`, which the page sets for its light and its dark theme.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lightning_vista.reports.joining import BASELINES
from lightning_vista.reports.view import Row, number

#: Names of the symbols, with the characters that stand for them in text.
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


@dataclass(frozen=True)
class Style:
    """The look of one model in every figure; the symbol repeats the colour's information without colour vision.

    Attributes:
        colour: CSS variable of the colour.
        symbol: Name of the symbol.
        glyph: Character that stands for the symbol in text.
    """

    colour: str
    symbol: str
    glyph: str


def styles(models: Iterable[str]) -> dict[str, Style]:
    """Return one style per model; the baselines are grey circles.

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
            chosen[model] = Style(f"var(--{model})", "circle", "○")
        else:
            # After eight scorers the colours start again, with the symbols shifted, so that no two look alike.
            symbol, glyph = SYMBOLS[(scorers + scorers // 8) % len(SYMBOLS)]
            chosen[model] = Style(f"var(--series-{scorers % 8 + 1})", symbol, glyph)
            scorers += 1
    return chosen


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
