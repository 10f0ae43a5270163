"""Charts of numbers over seeds, as data; `lightning_vista.drawing.chart_drawing` draws them.

Every seed is a dot and their mean a tick or a line: with three to five seeds an interval says less than the dots, and
cannot end where no value can be.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import fmean

#: Eight colours and seven markers: 56 series differ.
COLOURS = ("#0072b2", "#d55e00", "#008a63", "#b3508a", "#9a7000", "#5b4fb5", "#2b8ea8", "#8f2f3c")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")


@dataclass(frozen=True)
class Point:
    """The values of all seeds at one place.

    Attributes:
        place: A number or a name; for a plot of one value against another, the seeds' values along the other axis.
        values: One value per seed; NaN and infinite values are not drawn.
        interval: Ends of an interval, for means whose seeds are not known.
    """

    place: float | str | tuple[float, ...]
    values: tuple[float, ...]
    interval: tuple[float, float] | None = None

    @property
    def x(self) -> float | str:
        """The place, or the mean of the seeds' places."""
        return fmean(self.place) if isinstance(self.place, tuple) else self.place

    @property
    def mean(self) -> float:
        """The mean of the values; NaN without a value, infinite if a value is: a seed that did not get there."""
        known = [value for value in self.values if not math.isnan(value)]
        return fmean(known) if known else math.nan


@dataclass(frozen=True)
class Chart:
    """A chart, as data.

    Attributes:
        title: First line; empty where the page has a heading of its own.
        series: Name -> points.
        x_title: Title of the axis of places.
        y_title: Title of the axis of values, written above it.
        rows: Whether places are names that have a row each, with values to the right.
        lines: Whether to connect the means of a series.
        dots: Whether to draw seeds; otherwise means alone.
        log_x: Whether the axis of places is logarithmic.
        log_y: Whether the axis of values is logarithmic.
        references: Name -> value of a dashed line.
        reach: Lowest and highest value of the axis of values; by default what the values need.
        bounds: Lowest and highest value that is possible, such as 0 and 1 for shares; intervals are cut there.
    """

    title: str
    series: Mapping[str, Sequence[Point]]
    x_title: str = ""
    y_title: str = ""
    rows: bool = False
    lines: bool = False
    dots: bool = True
    log_x: bool = False
    log_y: bool = False
    references: Mapping[str, float] = field(default_factory=dict)
    reach: tuple[float, float] | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @property
    def places(self) -> list[float | str]:
        """All places, in the order in which they first come."""
        return list(dict.fromkeys(point.x for points in self.series.values() for point in points))

    @property
    def values(self) -> list[float]:
        """All values that can be drawn, with the ends of intervals."""
        points = [point for points in self.series.values() for point in points]
        found = chain.from_iterable((*point.values, *self.cut(point)) for point in points)
        return [value for value in found if math.isfinite(value)]

    def cut(self, point: Point) -> tuple[float, ...]:
        """Return the ends of a point's interval, cut at what is possible; nothing without one.

        Args:
            point: The point.
        """
        low, high = self.bounds
        return tuple(min(max(end, low), high) for end in point.interval or ())


def series_look(number: int) -> tuple[str, str]:
    """Return the colour and the marker of a series, different for the first 56.

    Args:
        number: Number of the series, from 0.

    Example:
        >>> len({series_look(number) for number in range(56)})
        56
    """
    return COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places apart as little as needed, so that labels do not overlap.

    Args:
        places: The places, in any order.
        gap: Least distance of two of them.

    Returns:
        The new places, in the order of the old ones.

    Example:
        >>> spread([1.0, -1.0, 1.0], gap=1.0)
        [0.5, -1.0, 1.5]
    """
    # Blocks of labels that touch; each lies around the mean of what its labels want.
    blocks: list[list[int]] = []
    order = sorted(range(len(places)), key=places.__getitem__)

    def start(block: Sequence[int]) -> float:
        return fmean(places[item] - gap * rank for rank, item in enumerate(block))

    for item in order:
        blocks.append([item])
        while len(blocks) > 1 and start(blocks[-2]) + gap * len(blocks[-2]) > start(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    moved = {item: start(block) + gap * rank for block in blocks for rank, item in enumerate(block)}
    return [moved[item] for item in range(len(places))]
