"""Heat map: a picture of a small matrix of shares, with its numbers in the cells."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_vista.optional import require

if TYPE_CHECKING:  # pillow is optional
    from PIL.Image import Image

_CELL_WIDTH, _CELL_HEIGHT = 92, 48
_GAP = 14
_INK, _GREY, _PAPER, _FULL = (25, 25, 30), (110, 110, 118), (255, 255, 255), (23, 78, 134)


def draw_heat_map(
    title: str, subtitle: str, rows: Sequence[str], columns: Sequence[str], shares: Sequence[Sequence[float]]
) -> "Image":
    """Draw a matrix whose rows add up to 1: the larger a share, the darker its cell. A row of zeros stays empty.

    Args:
        title: The text of the first line.
        subtitle: The text of the second line.
        rows: The names of the rows.
        columns: The names of the columns.
        shares: Shares from 0 to 1, one sequence for each row.

    Returns:
        The image, in RGB.

    Raises:
        ModuleNotFoundError: If Pillow is missing; the message names the extra.

    Example:
        >>> draw_heat_map("encoder", "share of gradient", ["low", "high"], ["low", "high"], [[1, 0], [0, 1]]).mode
        'RGB'
    """
    image, drawing = require("PIL.Image", "studies"), require("PIL.ImageDraw", "studies")
    font = require("PIL.ImageFont", "studies").load_default(14)
    left = 2 * _GAP + int(max(font.getlength(row) for row in rows))
    cell_width = max(_CELL_WIDTH, *(int(font.getlength(column)) + _GAP for column in columns))
    top = 5 * _GAP + _GAP // 2
    width = max(left + cell_width * len(columns), *(_GAP + int(font.getlength(text)) for text in (title, subtitle)))
    picture: Image = image.new("RGB", (width + _GAP, top + _CELL_HEIGHT * len(rows) + _GAP), _PAPER)
    draw = drawing.Draw(picture)
    draw.text((_GAP, _GAP // 2), title, _INK, font)
    draw.text((_GAP, 2 * _GAP), subtitle, _GREY, font)
    for column, name in enumerate(columns):
        draw.text((left + cell_width * (column + 0.5), top - _GAP // 2), name, _INK, font, anchor="ms")
    for row, name in enumerate(rows):
        middle = top + _CELL_HEIGHT * (row + 0.5)
        draw.text((left - _GAP, middle), name, _INK, font, anchor="rm")
        for column, share in enumerate(shares[row]):
            start = left + cell_width * column
            box = (start, middle - _CELL_HEIGHT / 2, start + cell_width - 2, middle + _CELL_HEIGHT / 2 - 2)
            draw.rectangle(box, _color(share))
            text = f"{share:.2f}" if any(shares[row]) else "no gradient"
            draw.text((start + cell_width / 2, middle), text, _PAPER if share > 0.5 else _INK, font, anchor="mm")
    return picture


def _color(share: float) -> tuple[int, ...]:
    """Return the color of a share, from almost white to blue."""
    return tuple(round(245 + share * (full - 245)) for full in _FULL)
