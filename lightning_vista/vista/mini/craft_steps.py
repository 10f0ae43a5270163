"""The steps of the craft world: Crafter's achievements in words, and what each needs."""

from collections.abc import Iterable

from crafter import constants

from lightning_vista.envs.craft_scene import GROUND, CraftScene
from lightning_vista.envs.pose import Pose
from lightning_vista.vista.mini.steps import Step

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
#: Crafter's achievement -> the step it confirms.
STEPS = {**_FIRST_HALF, **_SECOND_HALF}
ACHIEVEMENTS = {step: name for name, step in STEPS.items()}
#: What can be gone to; that leaves no trace.
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
    """Whether steps are a held-out combination: some of one half of all steps, some of the other.

    Example:
        >>> is_mixed([STEPS["collect_wood"], STEPS["place_table"]]), is_mixed([STEPS["collect_wood"], STEPS["wake_up"]])
        (False, True)
    """
    return all(not half.isdisjoint(steps) for half in _HALVES)


def is_affordable(scene: CraftScene, step: Step) -> bool:
    """Whether the player has what a step takes; nobody makes a tool that they have already, or sleeps when rested."""
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
    """Whether a step can be done in a pose."""
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
    """What the player does at the end of a walk; None if nothing."""
    if step.verb == GO_TO:
        return None
    if step.verb == SLEEP:
        return "sleep"
    name = ACHIEVEMENTS[step]
    return "do" if name in _TARGETS else name
