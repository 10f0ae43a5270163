"""Things and tiles of the home: their places, and their drawing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_vista.mini.pose import Cell, Pose

COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
KINDS = ("door", "lamp", "box", "tray", "ball", "key")
#: All possible things, named by colour and kind; a home contains at most one of each.
THINGS = tuple(f"{color} {kind}" for kind in KINDS for color in COLORS)
#: Kinds with two states: doors and boxes are open or closed, lamps on or off.
SWITCHED = ("door", "box", "lamp")
CONTAINERS = ("box", "tray")
PORTABLE = ("ball", "key")

#: Number of cells along each side of the room, including walls.
SIZE = 8
INNER = tuple((x, y) for y in range(1, SIZE - 1) for x in range(1, SIZE - 1))
#: Cells for doors: the four walls without their corners.
WALLS = tuple((x, y) for y in range(SIZE) for x in range(SIZE) if (x % (SIZE - 1) == 0) != (y % (SIZE - 1) == 0))

HAND = "hand"
FLOOR = "floor"


def thing_kind(thing: str) -> str:
    """Return the kind of a thing.

    Example:
        >>> thing_kind("red ball")
        'ball'
    """
    return thing.split()[1]


class Placed(NamedTuple):
    """Place and state of a thing.

    Attributes:
        where: Cell of the thing, the tray or box that contains it, `HAND`, or `FLOOR` as long as it has no cell yet.
        on: Whether a lamp is on, or a door or box is open.
    """

    where: Cell | str
    on: bool = False


@dataclass(frozen=True)
class Scene:
    """Moment of a home.

    Attributes:
        robot: Pose of the robot.
        things: All things in the home.
    """

    robot: Pose
    things: Mapping[str, Placed]

    @cached_property
    def at(self) -> dict[Cell, str]:
        """Thing in each cell that is not empty."""
        return {placed.where: thing for thing, placed in self.things.items() if not isinstance(placed.where, str)}

    @property
    def held(self) -> str | None:
        """Thing in the robot's hand."""
        return self.content_of(HAND)

    def content_of(self, container: str) -> str | None:
        """Return the thing in a tray or box, or in the hand; None if it is empty."""
        return next((thing for thing, placed in self.things.items() if placed.where == container), None)

    def cell_of(self, thing: str) -> Cell | None:
        """Return the cell of a thing or of its container; None if it is absent or in the hand."""
        placed = self.things.get(thing)
        if placed is None or placed.where == HAND:
            return None
        return self.cell_of(placed.where) if isinstance(placed.where, str) else placed.where

    def is_free(self, cell: Cell) -> bool:
        """Check whether the robot could stand in a cell."""
        return cell in INNER and cell not in self.at

    def neighbours(self, cell: Cell) -> list[str]:
        """Return the things in the four cells around a cell."""
        around = (Pose(*cell, direction).ahead for direction in range(4))
        return [self.at[near] for near in around if near in self.at]

    def gaze(self) -> Iterator[Cell]:
        """Yield the cells in front of the robot, up to and including the first thing."""
        pose = self.robot
        while pose.cell in INNER:
            pose = Pose(*pose.ahead, pose.direction)
            yield pose.cell
            if pose.cell in self.at:
                return


TILE = 12
_DETAIL = 4  # factor of drawing before averaging, which smooths edges

_RGB = {
    "red": (235, 50, 45),
    "green": (45, 200, 70),
    "blue": (50, 105, 255),
    "purple": (185, 70, 235),
    "yellow": (250, 220, 40),
    "grey": (165, 165, 165),
}
_FLOOR, _WALL, _WHITE, _LIGHT = (22, 22, 26), (78, 74, 70), (255, 255, 255), (222, 226, 240)

Mask = NDArray[np.bool_]
Axis = NDArray[np.float64]

_PORTABLE = tuple(thing for thing in THINGS if thing_kind(thing) in PORTABLE)
#: All tiles of a cell, in the order of their codes: bare cells, the robot, each thing in each state, the hand.
TILES: tuple[tuple[str, ...], ...] = (
    ("floor",),
    ("wall",),
    *(("robot", direction) for direction in ("right", "down", "left", "up")),
    *((thing,) for thing in THINGS),
    *((thing, "on") for thing in THINGS if thing_kind(thing) in SWITCHED),
    *((tray, content) for tray in THINGS if thing_kind(tray) == "tray" for content in _PORTABLE),
    *((box, "on", content) for box in THINGS if thing_kind(box) == "box" for content in _PORTABLE),
    ("hand",),
    *(("hand", thing) for thing in _PORTABLE),
)
_CODES = {tile: code for code, tile in enumerate(TILES)}
_HAND_CELL = (0, 0)
_BARE = np.full((SIZE, SIZE), _CODES["floor",], np.uint8)
for _x, _y in (*WALLS, (0, 0), (0, SIZE - 1), (SIZE - 1, 0), (SIZE - 1, SIZE - 1)):
    _BARE[_y, _x] = _CODES["wall",]


def tile_codes(scene: Scene) -> NDArray[np.uint8]:
    """Return the tile of each cell, as indices into `TILES`: everything that is visible of a scene.

    Args:
        scene: Moment of a home.

    Returns:
        Codes `(8, 8)`, uint8, with rows from top to bottom; the top left code shows the hand.
    """
    codes = _BARE.copy()
    contents = {placed.where: thing for thing, placed in scene.things.items() if isinstance(placed.where, str)}
    for (x, y), thing in scene.at.items():
        on = scene.things[thing].on
        tile: tuple[str, ...] = (thing, "on") if on else (thing,)
        if thing in contents and (on or thing_kind(thing) == "tray"):
            tile += (contents[thing],)
        codes[y, x] = _CODES[tile]
    codes[scene.robot.y, scene.robot.x] = _CODES["robot", "right"] + scene.robot.direction
    codes[_HAND_CELL] = _CODES[("hand", scene.held) if scene.held else ("hand",)]
    return codes


def draw_codes(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw tile codes.

    Args:
        codes: Codes `(..., rows, columns)`, uint8.

    Returns:
        RGB images `(..., 12 * rows, 12 * columns, 3)`, uint8.

    Example:
        >>> draw_codes(np.zeros((5, 8, 8), np.uint8)).shape
        (5, 96, 96, 3)
    """
    *leading, rows, columns = codes.shape
    tiles: NDArray[np.uint8] = np.moveaxis(tile_images()[codes], -3, -4)  # (..., rows, TILE, columns, TILE, 3)
    return tiles.reshape(*leading, rows * TILE, columns * TILE, 3)


def draw_scene(scene: Scene) -> NDArray[np.uint8]:
    """Draw a moment of a home as an RGB image `(96, 96, 3)`, uint8."""
    return draw_codes(tile_codes(scene))


@cache
def tile_images() -> NDArray[np.uint8]:
    """Draw all tiles `(tiles, 12, 12, 3)`, uint8, in the order of `TILES`."""
    return np.stack([_draw(tile) for tile in TILES])


def _draw(tile: tuple[str, ...]) -> NDArray[np.uint8]:
    """Draw one tile `(12, 12, 3)`."""
    side = TILE * _DETAIL
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    canvas = np.empty((side, side, 3))
    name, *details = tile
    in_wall = name == "wall" or (name in THINGS and thing_kind(name) == "door")
    canvas[:] = _WALL if in_wall else _FLOOR
    if name == "robot":
        for _ in range(("right", "down", "left", "up").index(details[0])):
            x, y = y, 1 - x
        canvas[(x > 0.1) & (np.abs(y - 0.5) < 0.5 * (0.95 - x))] = _WHITE
    elif name == "hand":
        canvas[~_within(x, y, 0.08, 0.92, 0.08, 0.92)] = _WHITE
        if details:
            _draw_thing(canvas, (x - 0.1) / 0.8, (y - 0.1) / 0.8, details[0])
    elif name in THINGS:
        _draw_thing(canvas, x, y, name, on="on" in details)
        if details and details[-1] in THINGS:
            _draw_thing(canvas, (x - 0.2) / 0.6, (y - (0.18 if "on" in details else 0)) / 0.6, details[-1])
    pixels: NDArray[np.float64] = canvas.reshape(TILE, _DETAIL, TILE, _DETAIL, 3).mean((1, 3))
    return pixels.round().astype(np.uint8)


def _within(x: Axis, y: Axis, left: float, right: float, top: float, bottom: float) -> Mask:
    """Return the mask of a rectangle, in coordinates from 0 to 1."""
    return (left < x) & (x < right) & (top < y) & (y < bottom)


def _draw_thing(canvas: NDArray[np.float64], x: Axis, y: Axis, thing: str, on: bool = False) -> None:
    """Draw a thing onto a tile whose pixels have the coordinates `x`, `y`, 0 to 1 over the thing's own square."""
    color, kind = thing.split()
    if kind == "lamp" and on:
        canvas[:] = _LIGHT
    if kind == "door" and on:
        canvas[:] = _FLOOR
    canvas[_shape(kind, on, x, y)] = _RGB[color]
    if kind == "door" and not on:
        canvas[np.hypot(x - 0.74, y - 0.5) < 0.1] = _FLOOR


def _shape(kind: str, on: bool, x: Axis, y: Axis) -> Mask:
    """Return the mask of the pixels that have the thing's colour."""
    if kind == "door":
        frame = ~_within(x, y, 0.1, 0.9, 0.1, 0.9)
        return frame | (x < 0.3) if on else _within(x, y, 0.05, 0.95, 0.05, 0.95)
    if kind == "lamp":
        shade = (y > 0.1) & (y < 0.62) & (np.abs(x - 0.5) < 0.14 + 0.5 * (y - 0.1))
        return shade | _within(x, y, 0.44, 0.56, 0.6, 0.9) | _within(x, y, 0.26, 0.74, 0.82, 0.92)
    if kind == "box":
        if on:
            flaps = _within(x, y, 0.0, 1.0, 0.08, 0.2) & ~_within(x, y, 0.22, 0.78, 0.0, 1.0)
            return flaps | (_within(x, y, 0.1, 0.9, 0.08, 0.94) & ~_within(x, y, 0.22, 0.78, 0.0, 0.82))
        return _within(x, y, 0.1, 0.9, 0.16, 0.94) & ~_within(x, y, 0.0, 1.0, 0.36, 0.46)
    if kind == "tray":
        return _within(x, y, 0.04, 0.96, 0.72, 0.9) | (
            _within(x, y, 0.04, 0.96, 0.58, 0.9) & ~_within(x, y, 0.16, 0.84, 0.0, 1.0)
        )
    if kind == "ball":
        return np.hypot(x - 0.5, y - 0.5) < 0.37
    ring = (np.hypot(x - 0.5, y - 0.3) < 0.25) & (np.hypot(x - 0.5, y - 0.3) > 0.1)
    teeth = _within(x, y, 0.5, 0.8, 0.6, 0.7) | _within(x, y, 0.5, 0.8, 0.8, 0.92)
    return ring | _within(x, y, 0.41, 0.57, 0.5, 0.95) | teeth
