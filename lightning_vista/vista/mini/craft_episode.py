"""Plays steps in the craft world, and tells from Crafter's own state which steps were played."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
from crafter import constants
from numpy.typing import NDArray

from lightning_vista.envs.craft import IDLE, MOVES, play
from lightning_vista.envs.craft_scene import GROUND, CraftScene
from lightning_vista.envs.planner import shortest_path
from lightning_vista.envs.pose import Pose
from lightning_vista.vista.mini.craft_steps import (
    GO_TO,
    SLEEP,
    STEPS,
    VISITS,
    action_of,
    is_affordable,
    is_station,
)
from lightning_vista.vista.mini.reading import PAUSE, events, in_order, pauses
from lightning_vista.vista.mini.steps import Step

#: Moves on the way to a step; tasks with longer ways are not played, to keep videos short.
_LONGEST_WALK = 10


@dataclass(frozen=True)
class CraftEpisode:
    """One play in the craft world.

    Attributes:
        start: The first scene.
        actions: Crafter's actions, one a frame.
    """

    start: CraftScene
    actions: tuple[str, ...]

    @cached_property
    def scenes(self) -> list[CraftScene]:
        """The environment's own state at every frame."""
        return [env.scene() for env in play(self.start, self.actions)]

    def frames(self) -> NDArray[np.uint8]:
        """The video `(frames, 108, 108, 3)`."""
        frames: list[NDArray[np.uint8]] = []
        for number, env in enumerate(play(self.start, self.actions)):
            stands_still = number > 0 and self.scenes[number] == self.scenes[number - 1]
            frames.append(frames[-1] if stands_still else env.render())
        return np.stack(frames)

    @cached_property
    def changes(self) -> dict[int, Step]:
        """Frame -> the step that Crafter counted as an achievement just before it."""
        achieved = [scene.achieved for scene in self.scenes]
        return {
            frame: STEPS[after[-1]]
            for frame, (before, after) in enumerate(pairwise(achieved), start=1)
            if len(after) > len(before)
        }

    @cached_property
    def stops(self) -> dict[int, Step]:
        """Frame -> going to what lies ahead, where the player has stood still."""
        ahead = ((frame, self.scenes[frame].ahead) for frame in pauses(self.scenes))
        return {frame: VISITS[thing] for frame, thing in ahead if thing in VISITS}

    def shows(self, steps: Sequence[Step]) -> bool:
        """Whether exactly these steps happened in this order."""
        return events(self.scenes, self.changes, self.stops) == tuple(steps)

    def resembles(self, steps: Sequence[Step]) -> bool:
        """Whether these steps are found in this order, where facing a thing in passing counts as going to it."""
        return in_order(steps, len(self.scenes), self._could_be)

    def _could_be(self, step: Step, frame: int) -> bool:
        """Whether a lenient viewer could see a step at a frame."""
        if step.verb == GO_TO:
            return self.scenes[frame].ahead == step.thing
        return self.changes.get(frame) == step


def act_out(start: CraftScene, steps: Sequence[Step]) -> list[list[str]] | None:
    """Plan the actions of steps, by the shortest ways that do not face what another step goes to.

    Args:
        start: The first scene.
        steps: What to do, one after the other.

    Returns:
        The actions of each step, each list ending in a pause; None if the player lacks what some step takes, or it is
        too far away or, being a walk, over before it starts.
    """
    scene = start
    parts: list[list[str]] = []
    destinations = {step.thing for step in steps if step.verb == GO_TO}
    for step in steps:
        if not is_affordable(scene, step):
            return None
        shunned = destinations - {step.thing}
        is_goal = partial(_is_goal, scene, step)
        walk = shortest_path(scene.player, is_goal, partial(_moves, scene, shunned))
        if walk is None or len(walk) > _LONGEST_WALK or (not walk and step.verb == GO_TO):
            return None
        part = [*walk, *_handiwork(scene, step), *[IDLE] * PAUSE]
        *_, last = play(scene, part)
        scene = last.scene()
        parts.append(part)
    return parts


def _is_goal(scene: CraftScene, step: Step, pose: Pose) -> bool:
    """Whether a step can be done in a pose."""
    return is_station(scene, pose, step)


def _moves(scene: CraftScene, shunned: set[str], pose: Pose) -> list[tuple[str, Pose]]:
    """The moves that lead elsewhere and do not end facing what is shunned."""
    found = []
    for direction, move in enumerate(MOVES):
        after = Pose(pose.x, pose.y, direction)
        if scene.at(after.ahead) in GROUND:
            after = Pose(*after.ahead, direction)
        if after != pose and scene.at(after.ahead) not in shunned:
            found.append((move, after))
    return found


def _handiwork(scene: CraftScene, step: Step) -> list[str]:
    """What the player does at the end of a walk; sleep lasts until all energy is back."""
    action = action_of(step)
    if step.verb == SLEEP:
        return ["sleep"] + [IDLE] * (constants.items["energy"]["max"] - scene.inventory["energy"])
    return [action] if action else []
