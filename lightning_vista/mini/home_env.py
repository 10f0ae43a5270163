"""Environment of the home world: a MiniGrid room from above, with things to open, switch, carry and put down."""

from collections.abc import Iterable
from typing import Any, SupportsFloat

import numpy as np
from minigrid.core.actions import Actions
from minigrid.core.constants import IDX_TO_OBJECT, OBJECT_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import WorldObj
from minigrid.minigrid_env import MiniGridEnv
from numpy.typing import NDArray

from lightning_vista.mini.home_scene import (
    CONTAINERS,
    FLOOR,
    HAND,
    PORTABLE,
    SIZE,
    SWITCHED,
    THINGS,
    Placed,
    Scene,
    draw_scene,
)
from lightning_vista.mini.pose import Cell, Pose

# MiniGrid refuses objects of types that are not in its tables.
for _number, _kind in enumerate(("lamp", "tray"), start=11):
    OBJECT_TO_IDX[_kind] = _number
    IDX_TO_OBJECT[_number] = _kind

# MiniGrid's class uses type variables without being generic, so observation and action can only be Any.
Result = tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]

_MOVES = (Actions.left, Actions.right, Actions.forward, Actions.done)


class HomeObject(WorldObj):
    """Thing of a home. Unlike MiniGrid's own box, a box stays when it opens.

    Args:
        thing: Colour and kind, one of `THINGS`.
        on: Whether a lamp is on, or a door or box is open.
    """

    contains: Any  # MiniGrid starts with None, from which a type checker would infer the type

    def __init__(self, thing: str, on: bool = False) -> None:
        color, kind = thing.split()
        super().__init__(kind, color)
        self.thing = thing
        self.on = on

    def can_pickup(self) -> bool:
        """Return whether the thing can be carried, as balls and keys can."""
        return self.type in PORTABLE

    def is_accessible(self) -> bool:
        """Return whether things can be put in or taken out: of trays always, of boxes when open."""
        return self.type in CONTAINERS and (self.on or self.type == "tray")

    def toggle(self, env: MiniGridEnv, pos: Cell) -> bool:
        """Open, close or switch the thing; return False if it does not have states."""
        if self.type not in SWITCHED:
            return False
        self.on = not self.on
        return True

    def encode(self) -> tuple[int, int, int]:
        """Return MiniGrid's code of the object, unique for each colour, state and content."""
        content = 0 if self.contains is None else 1 + THINGS.index(self.contains.thing)
        return (*super().encode()[:2], 2 * content + self.on)


class HomeEnv(MiniGridEnv):
    """Home that starts from a given scene.

    `pickup` also takes things out of a tray or an open box in front of the robot, `drop` also puts them in, and `done`
    waits. The environment does not have a task or a reward, and its observation is empty: use `scene()`.

    Args:
        start: Scene to which every `reset` returns.

    Raises:
        ValueError: If a thing of the scene is neither in a cell, nor in another thing, nor in the hand.
    """

    carrying: Any  # as above

    def __init__(self, start: Scene) -> None:
        unplaced = [thing for thing, (where, _) in start.things.items() if where == FLOOR]
        if unplaced:
            raise ValueError(
                f"`start`: expected a cell for every thing, got none for {', '.join(unplaced)}. Place them."
            )
        self._start = start
        self._last: Scene | None = None
        mission = MissionSpace(mission_func=lambda: "live here")
        super().__init__(mission, grid_size=SIZE, max_steps=2**31, render_mode="rgb_array")

    def _gen_grid(self, width: int, height: int) -> None:
        """Build the room of the start scene."""
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        self._objects = {thing: HomeObject(thing, placed.on) for thing, placed in self._start.things.items()}
        for thing, (where, _) in self._start.things.items():
            if not isinstance(where, str):
                self.grid.set(where[0], where[1], self._objects[thing])
            elif where != HAND:
                self._objects[where].contains = self._objects[thing]
        self.agent_pos, self.agent_dir = self._start.robot.cell, self._start.robot.direction

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Return to the start scene."""
        self._last = None
        observation, info = super().reset(seed=seed, options=options)
        held = self._start.held
        self.carrying = self._objects[held] if held else None
        return observation, info

    def step(self, action: Any) -> Result:  # as above
        """Do one action."""
        ahead: object = self.grid.get(*self.front_pos)
        if isinstance(ahead, HomeObject) and ahead.is_accessible():
            if action == Actions.pickup and self.carrying is None:
                self.carrying, ahead.contains = ahead.contains, None
            elif action == Actions.drop and ahead.contains is None:
                self.carrying, ahead.contains = None, self.carrying
        result = super().step(action)
        if action not in _MOVES:  # turns, steps and waits leave all things in their places
            self._last = None
        return result

    def scene(self) -> Scene:
        """Return the current scene."""
        x, y = map(int, self.agent_pos)
        things = self._locate() if self._last is None else self._last.things
        self._last = Scene(Pose(x, y, int(self.agent_dir)), things)
        return self._last

    def _locate(self) -> dict[str, Placed]:
        """Read the place of every thing from the grid, the containers and the hand."""
        where: dict[str, Cell | str] = {}
        cells: Iterable[object] = self.grid.grid
        for index, thing in enumerate(cells):
            if isinstance(thing, HomeObject):
                where[thing.thing] = (index % SIZE, index // SIZE)
                if thing.contains is not None:
                    where[thing.contains.thing] = thing.thing
        if self.carrying is not None:
            where[self.carrying.thing] = HAND
        return {thing: Placed(where[thing], placed.on) for thing, placed in self._objects.items()}

    def gen_obs(self) -> dict[str, Any]:
        """Return an empty observation: MiniGrid's partial view takes nine times as long as the rest of a step."""
        return {}

    def get_frame(self, highlight: bool = True, tile_size: int = 12, agent_pov: bool = False) -> NDArray[np.uint8]:
        """Draw the whole room `(96, 96, 3)`, with the carried thing, which MiniGrid does not show."""
        return draw_scene(self.scene())


def replay(start: Scene, actions: Iterable[int]) -> list[Scene]:
    """Replay actions in a home, and return its scenes.

    Args:
        start: First scene.
        actions: MiniGrid's actions.

    Returns:
        The first scene and the one after each action.

    Example:
        >>> start = Scene(Pose(3, 3, 0), {"red ball": Placed((4, 3))})
        >>> replay(start, [Actions.pickup])[-1].held
        'red ball'
    """
    env = HomeEnv(start)
    env.reset()
    scenes = [env.scene()]
    for action in actions:
        env.step(Actions(action))
        scenes.append(env.scene())
    return scenes
