"""Steps in the Minecraft-like world, and episodes that carry them out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
from crafter import constants
from numpy.typing import NDArray

from lightning_vista.mini.craft_env import GROUND, IDLE, MOVES, CraftScene, play
from lightning_vista.mini.pose import Pose, shortest_path
from lightning_vista.mini.steps import PAUSE, Step, events, in_order, pauses

COLLECT = "collect {thing}"
PLACE = "place {thing}"
MAKE = "make {thing}"
EAT = "eat {thing}"
DRINK = "drink {thing}"
DEFEAT = "defeat {thing}"
SLEEP = "sleep{thing}"
GO_TO = "go to the {thing}"
VERBS = (COLLECT, PLACE, MAKE, EAT, DRINK, DEFEAT, SLEEP, GO_TO)

_FIRST_HALF = {
    "collect_wood": Step(COLLECT, "wood"),
    "collect_iron": Step(COLLECT, "iron"),
    "collect_diamond": Step(COLLECT, "a diamond"),
    "place_table": Step(PLACE, "a table"),
    "place_plant": Step(PLACE, "a sapling"),
    "make_stone_pickaxe": Step(MAKE, "a stone pickaxe"),
    "make_iron_pickaxe": Step(MAKE, "an iron pickaxe"),
    "make_wood_sword": Step(MAKE, "a wooden sword"),
    "collect_drink": Step(DRINK, "water"),
    "eat_cow": Step(EAT, "a cow"),
}
_SECOND_HALF = {
    "collect_stone": Step(COLLECT, "stone"),
    "collect_coal": Step(COLLECT, "coal"),
    "place_stone": Step(PLACE, "a stone"),
    "place_furnace": Step(PLACE, "a furnace"),
    "make_wood_pickaxe": Step(MAKE, "a wooden pickaxe"),
    "make_stone_sword": Step(MAKE, "a stone sword"),
    "make_iron_sword": Step(MAKE, "an iron sword"),
    "eat_plant": Step(EAT, "a ripe plant"),
    "wake_up": Step(SLEEP, ""),
    "defeat_zombie": Step(DEFEAT, "a zombie"),
}
#: Step that each of Crafter's achievements confirms.
STEPS = {**_FIRST_HALF, **_SECOND_HALF}
ACHIEVEMENTS = {step: name for name, step in STEPS.items()}
#: Things to go to, which is trace-free.
VISITS = {thing: Step(GO_TO, thing) for thing in ("tree", "cow", "iron", "table", "water", "zombie", "coal", "furnace")}
_HALVES = (
    frozenset({*_FIRST_HALF.values(), *list(VISITS.values())[::2]}),
    frozenset({*_SECOND_HALF.values(), *list(VISITS.values())[1::2]}),
)

_TARGETS = {
    **{f"collect_{item}": item for item in ("iron", "diamond", "stone", "coal")},
    "collect_wood": "tree",
    "collect_drink": "water",
    "eat_cow": "cow",
    "eat_plant": "ripe plant",
    "defeat_zombie": "zombie",
}


def is_mixed(steps: Iterable[Step]) -> bool:
    """Check whether steps are a held-out combination, with some of either half of all steps.

    Example:
        >>> is_mixed([STEPS["collect_wood"], STEPS["place_table"]]), is_mixed([STEPS["collect_wood"], STEPS["wake_up"]])
        (False, True)
    """
    return all(not half.isdisjoint(steps) for half in _HALVES)


def is_affordable(scene: CraftScene, step: Step) -> bool:
    """Check whether the player has the items for a step, and does not make an owned tool or sleep when rested."""
    if step.verb == GO_TO:
        return True
    name = ACHIEVEMENTS[step]
    if step.verb == SLEEP:
        return bool(scene.inventory["energy"] < constants.items["energy"]["max"])
    kind, item = name.split("_", 1)
    if kind == "make" and scene.inventory[item]:
        return False
    if kind == "collect":
        needs = constants.collect[_TARGETS[name]]["require"]
    else:
        needs = {"place": constants.place, "make": constants.make}.get(kind, {}).get(item, {}).get("uses", {})
    return all(scene.inventory[need] >= amount for need, amount in needs.items())


def is_station(scene: CraftScene, pose: Pose, step: Step) -> bool:
    """Check whether a step can be done in a pose."""
    ahead = scene.at(pose.ahead)
    if step.verb == GO_TO:
        return ahead == step.thing
    if step.verb == SLEEP:
        return True
    name = ACHIEVEMENTS[step]
    if name in _TARGETS:
        return ahead == _TARGETS[name]
    kind, item = name.split("_", 1)
    if kind == "make":
        return ahead == "table" and scene.nearby(pose).issuperset(constants.make[item]["nearby"])
    return ahead in set(GROUND).intersection(constants.place[item]["where"])


def action_of(step: Step) -> str | None:
    """Return the player's action at the end of a walk; None if there is none."""
    if step.verb == GO_TO:
        return None
    if step.verb == SLEEP:
        return "sleep"
    name = ACHIEVEMENTS[step]
    return "do" if name in _TARGETS else name


#: Highest number of moves on the way to a step, which keeps videos short.
_LONGEST_WALK = 10


@dataclass(frozen=True)
class CraftEpisode:
    """Episode in the craft world.

    Attributes:
        start: First scene.
        actions: Crafter's actions, one per frame.
    """

    start: CraftScene
    actions: tuple[str, ...]

    @cached_property
    def scenes(self) -> list[CraftScene]:
        """State of the environment at every frame."""
        return [env.scene() for env in play(self.start, self.actions)]

    def frames(self) -> NDArray[np.uint8]:
        """Draw the video `(frames, 108, 108, 3)`."""
        return self.frames_at(range(len(self.actions) + 1))

    def frames_at(self, numbers: Sequence[int]) -> NDArray[np.uint8]:
        """Draw frames of rising numbers `(frames, 108, 108, 3)`, which may repeat."""
        frames: dict[int, NDArray[np.uint8]] = {}
        last = -1
        for number, env in enumerate(play(self.start, self.actions)):
            if number in numbers:
                stands_still = last >= 0 and self.scenes[number] == self.scenes[last]
                frames[number] = frames[last] if stands_still else env.render()
                last = number
        return np.stack([frames[number] for number in numbers])

    @cached_property
    def changes(self) -> dict[int, Step]:
        """Step that Crafter counted as an achievement just before a frame."""
        achieved = [scene.achieved for scene in self.scenes]
        return {
            frame: STEPS[after[-1]]
            for frame, (before, after) in enumerate(pairwise(achieved), start=1)
            if len(after) > len(before)
        }

    @cached_property
    def stops(self) -> dict[int, Step]:
        """Step of going to the thing ahead, for frames at which the player has stood still."""
        ahead = ((frame, self.scenes[frame].ahead) for frame in pauses(self.scenes))
        return {frame: VISITS[thing] for frame, thing in ahead if thing in VISITS}

    def shows(self, steps: Sequence[Step]) -> bool:
        """Check whether exactly these steps happened in this order."""
        return events(self.scenes, self.changes, self.stops) == tuple(steps)

    def resembles(self, steps: Sequence[Step]) -> bool:
        """Check whether these steps are found in this order, if facing a thing in passing counts as going to it."""
        return in_order(steps, len(self.scenes), self._could_be)

    def _could_be(self, step: Step, frame: int) -> bool:
        """Check whether a lenient viewer could see a step at a frame."""
        if step.verb == GO_TO:
            return self.scenes[frame].ahead == step.thing
        return self.changes.get(frame) == step


def act_out_craft(start: CraftScene, steps: Sequence[Step]) -> list[list[str]] | None:
    """Plan the actions of steps, by the shortest ways that do not face a thing to which another step goes.

    Args:
        start: First scene.
        steps: Steps, in order.

    Returns:
        The actions of each step, which end in a pause. None if the player lacks items for a step, if its place is too
        far away, or if a walk would end where it starts.
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
    """Check whether a step can be done in a pose."""
    return is_station(scene, pose, step)


def _moves(scene: CraftScene, shunned: set[str], pose: Pose) -> list[tuple[str, Pose]]:
    """List the moves that change the pose and do not end facing a shunned thing."""
    found = []
    for direction, move in enumerate(MOVES):
        after = Pose(pose.x, pose.y, direction)
        if scene.at(after.ahead) in GROUND:
            after = Pose(*after.ahead, direction)
        if after != pose and scene.at(after.ahead) not in shunned:
            found.append((move, after))
    return found


def _handiwork(scene: CraftScene, step: Step) -> list[str]:
    """Return the player's actions at the end of a walk; sleep lasts until all energy is restored."""
    action = action_of(step)
    if step.verb == SLEEP:
        return ["sleep"] + [IDLE] * (constants.items["energy"]["max"] - scene.inventory["energy"])
    return [action] if action else []
