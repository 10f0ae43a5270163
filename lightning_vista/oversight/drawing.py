"""Draws the grid of scalable oversight, and what a policy does in it."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

#: The edge of a cell in pixels.
CELL = 40
#: Row and column that each action adds: up, down, left, right.
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
#: Moves that are less probable get no arrow.
_RARE = 0.05
_PAPER, _LINE, _FRAME = (250, 250, 247), (205, 205, 200), (240, 185, 50)
_AGENT, _DIAMOND, _GHOST, _ARROW = (60, 60, 66), (40, 150, 225), (205, 70, 90), (120, 120, 126)

# Where pixels lie in a cell, from -1 to 1; each shape says which of them it covers.
_AXIS = (torch.arange(CELL) + 0.5) / CELL * 2 - 1
_Y, _X = torch.meshgrid(_AXIS, _AXIS, indexing="ij")
_FROM_EDGE = 1 - torch.maximum(_Y.abs(), _X.abs())
_EDGE, _BAND = _FROM_EDGE < 2 / CELL, (_FROM_EDGE > 2 / CELL) & (_FROM_EDGE < 8 / CELL)
_DISC, _DOT = _X**2 + _Y**2 < 0.25, _X**2 + _Y**2 < 0.03
_RHOMB = _X.abs() + 1.2 * _Y.abs() < 0.75
_HEAD = (_X**2 + _Y**2 < 0.3) & (_Y < 0)
_SHEET = (_X.abs() < 0.55) & (_Y >= 0) & (_Y - 0.12 * (18 * _X).cos() < 0.5)
_EYES = (_X.abs() - 0.22) ** 2 + (_Y + 0.1) ** 2 < 0.015


def draw_grid(size: int, agent: int | None, diamond: int, ghost: int, overseen: Iterable[int] = ()) -> Tensor:
    """Draw a grid: a blue diamond, a red ghost, the agent as a disc, and a yellow frame where there is oversight.

    Args:
        size: Rows and columns.
        agent: The agent's cell, numbered row by row; None to leave it out.
        diamond: The diamond's cell.
        ghost: The ghost's cell.
        overseen: The cells under oversight.

    Returns:
        uint8 `(height, width, 3)`, `CELL` pixels for each row and column.

    Example:
        >>> draw_grid(5, 0, 1, 2).shape
        torch.Size([200, 200, 3])
    """
    picture = torch.tensor(_PAPER, dtype=torch.uint8).repeat(size * CELL, size * CELL, 1)
    for cell in range(size**2):
        _paint(picture, cell, _EDGE, _LINE)
    for cell in overseen:
        _paint(picture, cell, _BAND, _FRAME)
    _paint(picture, diamond, _RHOMB, _DIAMOND)
    _paint(picture, ghost, (_HEAD | _SHEET) & ~_EYES, _GHOST)
    if agent is not None:
        _paint(picture, agent, _DISC, _AGENT)
    return picture


def draw_arrows(picture: Tensor, probabilities: Tensor, cells: Iterable[int]) -> None:
    """Draw arrows into a grid, as long as their moves are probable.

    Args:
        picture: What `draw_grid` made; it is changed.
        probabilities: Of each move of `MOVES` in each cell, `(cells, 4)`.
        cells: Where to draw them.
    """
    for cell in cells:
        for (down, right), probability in zip(MOVES, probabilities[cell].tolist(), strict=True):
            if probability >= _RARE:
                _paint(picture, cell, _arrow(down, right, 0.6 * probability), _ARROW)


def draw_trail(picture: Tensor, cells: Sequence[int]) -> None:
    """Draw dots into the cells of a grid that an agent came through.

    Args:
        picture: What `draw_grid` made; it is changed.
        cells: The cells.
    """
    for cell in cells:
        _paint(picture, cell, _DOT, _AGENT)


def _arrow(down: int, right: int, length: float) -> Tensor:
    along, across = _Y * down + _X * right, (_Y * right).abs() + (_X * down).abs()
    shaft = (along > 0) & (along <= length) & (across < 0.06)
    return shaft | ((along > length) & (across < 0.8 * (length + 0.25 - along)))


def _paint(picture: Tensor, cell: int, shape: Tensor, colour: tuple[int, int, int]) -> None:
    row, column = divmod(cell, picture.shape[1] // CELL)
    tile = picture[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
    tile[shape] = torch.tensor(colour, dtype=torch.uint8)
