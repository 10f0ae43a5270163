"""Where somebody stands in a grid and which way they look."""

from typing import NamedTuple

Cell = tuple[int, int]


class Pose(NamedTuple):
    """A cell and a direction: 0 right, 1 down, 2 left, 3 up, as in MiniGrid."""

    x: int
    y: int
    direction: int

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self.x, self.y

    @property
    def ahead(self) -> Cell:
        """The cell in front.

        Example:
            >>> Pose(3, 3, direction=1).ahead
            (3, 4)
        """
        return self.x + (1, 0, -1, 0)[self.direction], self.y + (0, 1, 0, -1)[self.direction]
