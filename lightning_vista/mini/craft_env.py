"""Environment of the Minecraft-like world: its scenes, played by Crafter."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from crafter import constants, engine, objects
from numpy.typing import NDArray
from PIL import Image

from lightning_vista.mini.pose import Cell, Pose

#: Number of cells along each side of the world.
SIZE = 24
#: Materials for walking and building.
GROUND = ("grass", "sand", "path")
#: Creatures and plants, which stand on grass.
CREATURES = ("cow", "zombie", "sapling", "ripe plant")


@dataclass(frozen=True)
class CraftScene:
    """Moment of the craft world.

    Attributes:
        player: Pose of the player.
        things: Content of each cell except bare grass: one of Crafter's materials or one of `CREATURES`.
        inventory: Amount of each item, including health, food, drink and energy.
        achieved: Crafter's names of all achievements so far, in order and with repetitions.
        sleeping: Whether the player sleeps.
    """

    player: Pose
    things: Mapping[Cell, str]
    inventory: Mapping[str, int]
    achieved: tuple[str, ...] = ()
    sleeping: bool = False

    def at(self, cell: Cell) -> str:
        """Return the content of a cell."""
        return self.things.get(cell, "grass")

    @property
    def ahead(self) -> str:
        """Content of the cell in front of the player.

        Example:
            >>> CraftScene(Pose(3, 3, direction=0), {(4, 3): "tree"}, {}).ahead
            'tree'
        """
        return self.at(self.player.ahead)

    def nearby(self, pose: Pose) -> set[str]:
        """Return the contents of the nine cells around a pose, which must include the tools to use."""
        return {self.at((pose.x + dx, pose.y + dy)) for dx in (-1, 0, 1) for dy in (-1, 0, 1)}


#: Crafter's moves, in the order of the directions of a `Pose`. Without ground ahead they only turn the player.
MOVES = ("move_right", "move_down", "move_left", "move_up")
IDLE = "noop"

_FACING = ((1, 0), (0, 1), (-1, 0), (0, -1))
_VIEW = (9, 7)  # visible cells, with the player in the middle
_ITEMS = (9, 2)  # cells of the inventory below
_TILE = 12
_DETAIL = 3  # factor of drawing before averaging, which keeps digits readable
_RIPE = 301  # number of steps after which Crafter calls a plant ripe
#: Our name for each of Crafter's pictures of creatures.
_NAMES = {"cow": "cow", "zombie": "zombie", "plant": "sapling", "plant-ripe": "ripe plant"}


class _Surroundings(engine.LocalView):  # type: ignore[misc]  # Crafter has no types
    """Crafter's view of the world without night, which halves its time: Crafter computes the night by day, too."""

    def _light(self, canvas: NDArray[np.uint8], daylight: float) -> NDArray[np.uint8]:
        """Return the picture by daylight."""
        return canvas


class _Items(engine.ItemView):  # type: ignore[misc]  # Crafter has no types
    """Crafter's inventory, without a digit over single items, which it would hide."""

    def _amount(self, canvas: NDArray[np.uint8], index: int, amount: int, unit: NDArray[np.int64]) -> None:
        """Draw the amount of an item."""
        if amount > 1:
            super()._amount(canvas, index, amount, unit)


class CraftEnv:
    """Craft world that starts from a given scene.

    Crafter's own environment spawns creatures, makes them wander, and brings night, hunger and thirst. Here only the
    player acts. It is always day, sleep restores one unit of energy per step, and one blow defeats.

    Args:
        start: First scene, without achievements.
    """

    def __init__(self, start: CraftScene) -> None:
        self._world = engine.World((SIZE, SIZE), constants.materials, (SIZE, SIZE))
        self._world.reset(seed=0)
        self._player = objects.Player(self._world, start.player.cell)
        self._player.facing = _FACING[start.player.direction]
        self._player.inventory.update(start.inventory)
        self._player._last_health = self._player.health  # otherwise Crafter takes low health for a blow
        self._world.add(self._player)
        self._achieved: tuple[str, ...] = ()
        self._things: dict[Cell, str] | None = None
        for cell in product(range(SIZE), range(SIZE)):
            name = start.at(cell)
            self._world[cell] = "grass" if name in CREATURES else name
            if name in CREATURES:
                self._world.add(self._creature(name, cell))

    def _creature(self, name: str, cell: Cell) -> Any:  # Crafter has no types
        """Make a creature that one blow defeats."""
        if name == "cow":
            creature = objects.Cow(self._world, cell)
        elif name == "zombie":
            creature = objects.Zombie(self._world, cell, self._player)
        else:
            creature = objects.Plant(self._world, cell)
            creature.grown = _RIPE if name == "ripe plant" else 0
        creature.health = 1
        return creature

    def step(self, action: str) -> None:
        """Do one of Crafter's actions.

        Args:
            action: Name of the action, such as `"do"`, `"place_stone"` or one of `MOVES`.
        """
        player = self._player
        before = player.achievements.copy()
        player.action = action
        player.update()
        player._hunger = player._thirst = player._fatigue = player._recover = 0
        player.inventory["energy"] += player.sleeping
        for creature in self._world.objects:
            if creature.health <= 0:
                self._world.remove(creature)
        if action not in (*MOVES, IDLE):  # moves and waits leave all things in their places
            self._things = None
        self._achieved += tuple(name for name, count in player.achievements.items() if count > before[name])

    def scene(self) -> CraftScene:
        """Return the current scene."""
        player = self._player
        if self._things is None:
            self._things = self._locate()
        pose = Pose(int(player.pos[0]), int(player.pos[1]), _FACING.index(tuple(player.facing)))
        return CraftScene(pose, self._things, player.inventory.copy(), self._achieved, player.sleeping)

    def _locate(self) -> dict[Cell, str]:
        """Read the content of each cell except bare grass from Crafter's map and objects."""
        names = np.array([None, *constants.materials], dtype=object)[self._world._mat_map]
        things = {(int(x), int(y)): str(names[x, y]) for x, y in np.argwhere(names != "grass")}
        for creature in self._world.objects:
            if creature is not self._player:
                things[int(creature.pos[0]), int(creature.pos[1])] = _NAMES[creature.texture]
        return things

    def render(self) -> NDArray[np.uint8]:
        """Draw the player's surroundings above the inventory, an RGB image `(108, 108, 3)`, uint8."""
        unit = np.array([_TILE * _DETAIL] * 2)
        view = _Surroundings(self._world, _textures(), _VIEW)(self._player, unit)
        items = _Items(_textures(), _ITEMS)(self._player.inventory, unit)
        image = np.concatenate([view, items], axis=1).astype(np.uint8).transpose(1, 0, 2)
        return np.asarray(Image.fromarray(image).reduce(_DETAIL))


@cache
def _textures() -> Any:  # Crafter has no types
    """Read Crafter's pictures once, which takes longer than a video."""
    return engine.Textures(constants.root / "assets")


def play(start: CraftScene, actions: Iterable[str]) -> Iterator[CraftEnv]:
    """Play a craft world, and yield it at the start and after each action.

    Args:
        start: First scene.
        actions: Crafter's actions.

    Yields:
        The environment, always the same object: use it before requesting the next one.

    Example:
        >>> start = CraftScene(Pose(9, 9, 0), {(10, 9): "tree"}, {})
        >>> [env.scene().achieved for env in play(start, ["do"])]
        [(), ('collect_wood',)]
    """
    env = CraftEnv(start)
    yield env
    for action in actions:
        env.step(action)
        yield env
