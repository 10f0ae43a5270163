"""Pictures of what a model computes, for people to look at."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_vista.optional import require

if TYPE_CHECKING:  # matplotlib is optional
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: In pixels: the least height of enlarged images, and the white between images.
_HEIGHT, _GAP = 32, 2
#: In inches: the cells of a heat map, the width of a letter above them, and the gap between two maps.
_CELL_WIDTH, _CELL_HEIGHT, _LETTER, _PANEL_GAP = 0.92, 0.48, 0.1, 0.5
#: In inches: a panel of a figure of curves.
_PANEL_WIDTH, _PANEL_HEIGHT = 2.6, 2.6
_INK, _GREY, _PALE, _FULL = "#19191e", "#6e6e76", "#f5f5f5", "#174e86"
#: Pixels per inch of figures.
DPI = 100


def tile_pictures(rows: Sequence[Tensor]) -> Tensor:
    """Arrange images in a grid; small ones are enlarged by a whole number, pixel by pixel.

    Args:
        rows: Images of each row, `(images, channels, height, width)` in [-1, 1], with 1 or 3 channels.

    Returns:
        One picture, uint8 `(height, width, 3)` on the CPU.

    Raises:
        ModuleNotFoundError: If torchvision is missing; the message names the extra.

    Example:
        >>> tile_pictures([torch.zeros(10, 1, 8, 8), torch.zeros(10, 1, 8, 8)]).shape
        torch.Size([70, 342, 3])
    """
    images = torch.cat(list(rows)).float().cpu()
    large = torch.nn.functional.interpolate(images, scale_factor=-(-_HEIGHT // images.shape[2]))
    # The range is fixed, so that pictures of different runs have the same colours; values beyond it are clamped.
    options = {"normalize": True, "value_range": (-1, 1), "pad_value": 1.0}
    grid: Tensor = require("torchvision.utils", "plots").make_grid(large, len(rows[0]), _GAP, **options)
    return (grid * 255).round().byte().permute(1, 2, 0).contiguous()


def draw_heat_map(
    title: str,
    subtitle: str,
    rows: Sequence[str],
    columns: Sequence[str],
    shares: Sequence[Sequence[float]],
    texts: Sequence[Sequence[str]] | None = None,
) -> Tensor:
    """Draw a matrix of numbers, in darker colours for larger ones.

    Args:
        title: The first line.
        subtitle: The second line.
        rows: Names of the rows.
        columns: Names of the columns.
        shares: Numbers from 0 to 1, one sequence for each row.
        texts: What cells say; by default their number, in rows that add up to 1: a row of zeros is marked.

    Returns:
        The picture, uint8 `(height, width, 3)`.

    Raises:
        ModuleNotFoundError: If matplotlib is missing; the message names the extra.

    Example:
        >>> shares = [[1.0, 0.0], [0.2, 0.8]]
        >>> draw_heat_map("encoder", "share of gradient", ["low", "high"], ["low", "high"], shares).shape[-1]
        3
    """
    return draw_heat_maps(title, rows, columns, {subtitle: shares}, {subtitle: texts} if texts else None)


def draw_heat_maps(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    panels: Mapping[str, Sequence[Sequence[float]]],
    texts: Mapping[str, Sequence[Sequence[str]]] | None = None,
    axes_names: tuple[str, str] = ("", ""),
) -> Tensor:
    """Draw several matrices of the same rows and columns beside each other.

    Args:
        title: The first line.
        rows: Names of the rows.
        columns: Names of the columns.
        panels: The line above each matrix -> numbers from 0 to 1, one sequence for each row.
        texts: What the cells of each matrix say; by default their number, as in `draw_heat_map`.
        axes_names: What the rows are, and what the columns are.

    Returns:
        The picture, uint8 `(height, width, 3)`.

    Raises:
        ModuleNotFoundError: If matplotlib is missing; the message names the extra.

    Example:
        >>> panels = {"before": [[0.5, 0.5]], "behind": [[1.0, 0.0]]}
        >>> draw_heat_maps("encoder", ["low"], ["low", "high"], panels, axes_names=("data", "units")).shape[-1]
        3
    """
    longest = max(len(line) for line in panels)
    cell_width = max(_CELL_WIDTH, *(_LETTER * len(column) for column in columns), 0.085 * longest / len(columns))
    width, height = cell_width * len(columns), _CELL_HEIGHT * len(rows)
    size = (width * len(panels) + _PANEL_GAP * (len(panels) - 1), height)
    figure: Figure = require("matplotlib.figure", "plots").Figure(size, dpi=DPI)
    for number, (line, shares) in enumerate(panels.items()):
        axes = figure.add_axes(((width + _PANEL_GAP) * number / size[0], 0, width / size[0], 1))
        _draw_cells(axes, shares, texts[line] if texts else None)
        axes.set_xticks([x + 0.5 for x in range(len(columns))], columns, color=_INK)
        axes.set_yticks([y + 0.5 for y in range(len(rows))], rows if number == 0 else [], color=_INK)
        axes.set_xlabel(axes_names[1], color=_GREY)
        axes.set_ylabel(axes_names[0] if number == 0 else "", color=_GREY)
        for text, colour, points in ((title if number == 0 else "", _INK, 42), (line, _GREY, 26)):
            axes.annotate(text, (0, 1), (0, points), "axes fraction", "offset points", color=colour)
    return render_figure(figure, tight=True)


def _draw_cells(axes: "Axes", shares: Sequence[Sequence[float]], texts: Sequence[Sequence[str]] | None) -> None:
    """Draw the cells of a matrix, each with its text."""
    colours = require("matplotlib.colors", "plots").LinearSegmentedColormap.from_list("shares", [_PALE, _FULL])
    axes.pcolormesh(shares, cmap=colours, vmin=0, vmax=1, edgecolors="white", linewidth=2)
    axes.invert_yaxis()  # the first row at the top
    for y, row in enumerate(shares):
        for x, share in enumerate(row):
            text = texts[y][x] if texts else f"{share:.2f}" if any(row) else "no gradient"
            axes.text(x + 0.5, y + 0.5, text, color="white" if share > 0.5 else _INK, ha="center", va="center")
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def shades(table: Sequence[Sequence[float]]) -> list[list[float]]:
    """Bring each column of a table to the range from 0 to 1, for a heat map of figures with different scales.

    Args:
        table: One sequence of figures for each row; NaN is shaded as 0.

    Returns:
        The shades; 0 throughout for columns without a range.

    Example:
        >>> shades([[1.0, 5.0], [3.0, 5.0], [2.0, float("nan")]])
        [[0.0, 0.0], [1.0, 0.0], [0.5, 0.0]]
    """
    columns = []
    for column in zip(*table, strict=True):
        finite = [value for value in column if math.isfinite(value)]
        low, high = min(finite, default=0.0), max(finite, default=0.0)
        width = (high - low) or 1.0
        columns.append([(value - low) / width if math.isfinite(value) else 0.0 for value in column])
    return [list(row) for row in zip(*columns, strict=True)]


def draw_curves(title: str, axis: str, places: Sequence[float], curves: Mapping[str, Sequence[float]]) -> Tensor:
    """Draw curves in panels of their own, since they may have different units.

    Args:
        title: The first line.
        axis: The name of the horizontal axis.
        places: The places on that axis, in ascending order.
        curves: Name -> values, one for each place.

    Returns:
        The picture, uint8 `(height, width, 3)`.

    Raises:
        ModuleNotFoundError: If matplotlib is missing; the message names the extra.

    Example:
        >>> draw_curves("titration", "scale", [0, 0.5, 1], {"loss": [3.0, 2.5, 2.0]}).shape[-1]
        3
    """
    size = (_PANEL_WIDTH * len(curves), _PANEL_HEIGHT)
    figure: Figure = require("matplotlib.figure", "plots").Figure(size, dpi=DPI, layout="constrained")
    figure.suptitle(title, color=_INK)
    for axes, (name, values) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        axes.plot(places, values, color=_FULL, marker="o")
        axes.set_title(name, color=_GREY, fontsize="medium")
        axes.set_xlabel(axis, color=_GREY)
        axes.spines[["top", "right"]].set_visible(False)
    return render_figure(figure)


def render_figure(figure: "Figure", tight: bool = False) -> Tensor:
    """Render a figure of matplotlib without a window and without pyplot's global state.

    Args:
        figure: The figure.
        tight: Whether to fit the picture to what the figure contains, instead of to the figure's size.

    Returns:
        The picture, uint8 `(height, width, 3)`.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight" if tight else None)
    buffer.seek(0)
    pixels = torch.from_numpy(require("matplotlib.image", "plots").imread(buffer, format="png"))
    return (pixels[..., :3] * 255).round().byte()
