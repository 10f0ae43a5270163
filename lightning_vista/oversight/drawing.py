"""Pictures of the grid of scalable oversight, and of what a policy does in it."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_vista.drawing.pictures import DPI, render_figure
from lightning_vista.optional import require

if TYPE_CHECKING:  # matplotlib is optional
    from matplotlib.axes import Axes

#: The edge of a cell in pixels.
CELL = 40
#: Row and column that each action adds: up, down, left, right.
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
#: Moves that are less probable get no arrow.
_RARE = 0.05
_PAPER, _LINE, _FRAME = "#fafaf7", "#cdcdc8", "#f0b932"
_AGENT, _DIAMOND, _GHOST, _ARROW = "#3c3c42", "#2896e1", "#cd465a", "#78787e"

# Coordinates are in cells: `x` from the left, `y` from the top.
Point = tuple[float, float]


def draw_grid(
    size: int,
    agent: int | None,
    diamond: int,
    ghost: int,
    overseen: Iterable[int] = (),
    moves: Tensor | None = None,
    trail: Sequence[int] = (),
) -> Tensor:
    """Draw a grid: a blue diamond, a red ghost, the agent as a disc, and a yellow frame where there is oversight.

    Args:
        size: Rows and columns.
        agent: The agent's cell, numbered row by row; None to leave it out.
        diamond: The diamond's cell.
        ghost: The ghost's cell.
        overseen: The cells under oversight.
        moves: The probability of each move of `MOVES` in each cell, `(cells, 4)`, drawn as the length of an arrow; the
            cells of diamond and ghost get none.
        trail: The cells that the agent visited, drawn as dots.

    Returns:
        uint8 `(height, width, 3)`, `CELL` pixels for each row and column.

    Raises:
        ModuleNotFoundError: If matplotlib is missing; the message names the extra.

    Example:
        >>> draw_grid(5, 0, 1, 2).shape
        torch.Size([200, 200, 3])
    """
    patches = require("matplotlib.patches", "plots")
    figure = require("matplotlib.figure", "plots").Figure((size * CELL / DPI,) * 2, dpi=DPI, facecolor=_PAPER)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, size), ylim=(size, 0))
    axes.axis("off")
    axes.hlines(range(size + 1), 0, size, _LINE, linewidth=_points(2 / CELL))
    axes.vlines(range(size + 1), 0, size, _LINE, linewidth=_points(2 / CELL))
    for cell in overseen:
        (x, y), inset = _middle(cell, size), 0.375
        corner = (x - inset, y - inset)
        axes.add_patch(patches.Rectangle(corner, 2 * inset, 2 * inset, fill=False, ec=_FRAME, lw=_points(0.15)))
    axes.add_patch(patches.Polygon(_diamond(_middle(diamond, size)), color=_DIAMOND, linewidth=0))
    axes.add_patch(patches.Polygon(_ghost(_middle(ghost, size)), color=_GHOST, linewidth=0))
    for side in (-0.11, 0.11):
        x, y = _middle(ghost, size)
        axes.add_patch(patches.Circle((x + side, y - 0.05), 0.06, color=_PAPER, linewidth=0))
    if agent is not None:
        axes.add_patch(patches.Circle(_middle(agent, size), 0.25, color=_AGENT, linewidth=0))
    for cell in trail:
        axes.add_patch(patches.Circle(_middle(cell, size), 0.09, color=_AGENT, linewidth=0))
    if moves is not None:
        for cell in {*range(size**2)} - {diamond, ghost}:
            _draw_arrows(axes, _middle(cell, size), moves[cell].tolist())
    return render_figure(figure)


def _draw_arrows(axes: "Axes", middle: Point, probabilities: Sequence[float]) -> None:
    for (down, right), probability in zip(MOVES, probabilities, strict=True):
        if probability >= _RARE:
            shape = {"width": 0.06, "head_width": 0.2, "head_length": 0.125, "linewidth": 0}
            axes.arrow(*middle, 0.3 * probability * right, 0.3 * probability * down, color=_ARROW, **shape)


def _middle(cell: int, size: int) -> Point:
    return cell % size + 0.5, cell // size + 0.5


def _points(width: float) -> float:
    """Convert a width in cells to matplotlib's points, 72 to an inch."""
    return width * CELL / DPI * 72


def _diamond(middle: Point) -> list[Point]:
    x, y = middle
    return [(x - 0.375, y), (x, y - 0.31), (x + 0.375, y), (x, y + 0.31)]


def _ghost(middle: Point) -> list[Point]:
    """Return the outline of a ghost: a half disc on a sheet whose lower edge is a wave."""
    x, y = middle
    head = [(x - 0.275 * math.cos(angle), y - 0.275 * math.sin(angle)) for angle in _steps(0, math.pi)]
    return head + [(x + side, y + 0.25 + 0.04 * math.cos(3 * math.tau * side / 0.55)) for side in _steps(0.275, -0.275)]


def _steps(start: float, end: float, number: int = 40) -> list[float]:
    return [start + (end - start) * step / number for step in range(number + 1)]
