"""What can be in a home, and one moment of it: where the robot and every thing are, and in what state."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from lightning_vista.envs.pose import Cell, Pose

COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
KINDS = ("door", "lamp", "box", "tray", "ball", "key")
#: Every thing there can be, named by colour and kind; a home holds at most one of each.
THINGS = tuple(f"{color} {kind}" for kind in KINDS for color in COLORS)
#: Kinds with two states: doors and boxes are open or closed, lamps on or off.
SWITCHED = ("door", "box", "lamp")
CONTAINERS = ("box", "tray")
PORTABLE = ("ball", "key")

#: Cells along each side of the room, walls included.
SIZE = 8
INNER = tuple((x, y) for y in range(1, SIZE - 1) for x in range(1, SIZE - 1))
#: Where doors go: the four walls without their corners.
WALLS = tuple((x, y) for y in range(SIZE) for x in range(SIZE) if (x % (SIZE - 1) == 0) != (y % (SIZE - 1) == 0))

HAND = "hand"
FLOOR = "floor"


def kind_of(thing: str) -> str:
    """The kind of a thing.

    Example:
        >>> kind_of("red ball")
        'ball'
    """
    return thing.split()[1]


class Placed(NamedTuple):
    """Where a thing is and in what state.

    Attributes:
        where: Its cell, the tray or box it lies in, `HAND`, or `FLOOR` while it has not been given a cell yet.
        on: Whether a lamp is on, a door or box open.
    """

    where: Cell | str
    on: bool = False


@dataclass(frozen=True)
class Scene:
    """One moment of a home.

    Attributes:
        robot: The robot's pose.
        things: Every thing that is there.
    """

    robot: Pose
    things: Mapping[str, Placed]

    @cached_property
    def at(self) -> dict[Cell, str]:
        """What occupies each cell that is not empty."""
        return {placed.where: thing for thing, placed in self.things.items() if not isinstance(placed.where, str)}

    @property
    def held(self) -> str | None:
        """What the robot has in its hand."""
        return self.content_of(HAND)

    def content_of(self, container: str) -> str | None:
        """What lies in a tray or box, or in the hand; None if nothing."""
        return next((thing for thing, placed in self.things.items() if placed.where == container), None)

    def cell_of(self, thing: str) -> Cell | None:
        """The cell of a thing or of what it lies in; None if it is absent or in the hand."""
        placed = self.things.get(thing)
        if placed is None or placed.where == HAND:
            return None
        return self.cell_of(placed.where) if isinstance(placed.where, str) else placed.where

    def is_free(self, cell: Cell) -> bool:
        """Whether the robot could stand in a cell."""
        return cell in INNER and cell not in self.at

    def neighbours(self, cell: Cell) -> list[str]:
        """The things in the four cells around a cell."""
        around = (Pose(*cell, direction).ahead for direction in range(4))
        return [self.at[near] for near in around if near in self.at]

    def gaze(self) -> Iterator[Cell]:
        """The cells in front of the robot, up to and including the first thing."""
        pose = self.robot
        while pose.cell in INNER:
            pose = Pose(*pose.ahead, pose.direction)
            yield pose.cell
            if pose.cell in self.at:
                return
