"""What can be in the craft world, and one moment of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from lightning_vista.envs.pose import Cell, Pose

#: Cells along each side of the world.
SIZE = 24
#: What can be walked on and built on.
GROUND = ("grass", "sand", "path")
#: What stands on grass.
CREATURES = ("cow", "zombie", "sapling", "ripe plant")


@dataclass(frozen=True)
class CraftScene:
    """One moment of the craft world.

    Attributes:
        player: The player's pose.
        things: What is in each cell that is not bare grass: one of Crafter's materials or one of `CREATURES`.
        inventory: How much the player has of what, health and the like included.
        achieved: Crafter's names of everything the player has achieved so far, in order, repetitions included.
        sleeping: Whether the player sleeps.
    """

    player: Pose
    things: Mapping[Cell, str]
    inventory: Mapping[str, int]
    achieved: tuple[str, ...] = ()
    sleeping: bool = False

    def at(self, cell: Cell) -> str:
        """What is in a cell."""
        return self.things.get(cell, "grass")

    @property
    def ahead(self) -> str:
        """What is in front of the player.

        Example:
            >>> CraftScene(Pose(3, 3, direction=0), {(4, 3): "tree"}, {}).ahead
            'tree'
        """
        return self.at(self.player.ahead)

    def nearby(self, pose: Pose) -> set[str]:
        """What is in the nine cells around a pose, which tools must be near to be used."""
        return {self.at((pose.x + dx, pose.y + dy)) for dx in (-1, 0, 1) for dy in (-1, 0, 1)}
