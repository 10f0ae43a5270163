"""Problem sets of the Minecraft-like world.

All descriptions of a set are played from one start scene, so that only the steps distinguish them. Every sampler
returns an empty list after a dead end, and the caller tries again.
"""

from collections.abc import Sequence
from functools import partial
from itertools import combinations, permutations

import numpy as np

from lightning_vista.mini.craft_env import IDLE, SIZE, CraftScene
from lightning_vista.mini.craft_episode import STEPS, VERBS, VISITS, CraftEpisode, act_out_craft, is_mixed
from lightning_vista.mini.draft import StagedWorld, Take, all_apart, first_apart
from lightning_vista.mini.pose import Pose
from lightning_vista.mini.steps import Step, vocabulary
from lightning_vista.vista.sequences import adjacent_swaps

_SHORE, _FIELD = 6, 3  # cells: the width of the shores, and of the 4 x 4 fields between them
_FIELDS = [(x, y) for x in range(_SHORE, SIZE - _SHORE, _FIELD) for y in range(_SHORE, SIZE - _SHORE, _FIELD)]
_SHORES = ("water", "tree", "stone")
#: Things of the world, in groups of neighbours of at most 2 x 2; each group gets a field of its own.
_GROUPS = (
    *(("tree",) * 3, ("tree",) * 2, ("stone",) * 3, ("stone",) * 2, ("water",) * 4, ("coal",) * 2),
    *(("iron",), ("diamond",), ("table", "furnace"), ("cow",), ("cow",), ("zombie",), ("ripe plant",)),
)
_TOOLS = tuple(f"{material}_{tool}" for tool in ("pickaxe", "sword") for material in ("wood", "stone", "iron"))

_REMIX_LABELS = 4
_PART_LABELS = 14
#: Number of steps in each video of a level-1 set: each of the 14 steps is in two of the 14 videos.
_PART_SIZES = (3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1)

Rng = np.random.Generator


def craft_takes(type: str, level: int, held_out: bool, rng: Rng) -> list[Take[str]]:
    """Sample the videos of a problem set.

    Args:
        type: Type folder.
        level: Number of steps of a description.
        held_out: Whether every video of several steps shows a held-out combination; otherwise none does.
        rng: Random generator.

    Returns:
        The takes; empty after a dead end.
    """
    if type == "foundation":
        return _parts(held_out, rng)
    if type == "remix":
        return _remix(level, held_out, rng)
    return _permutations(list((STEPS if type == "permutation" else VISITS).values()), level, held_out, rng)


def arrange_craft(rng: Rng) -> CraftScene:
    """Make a random start scene, with things in random fields, the player in another one, and shores around them."""
    left, right, top, bottom = (_SHORES[index] for index in rng.integers(len(_SHORES), size=4))
    rows = [top] * _SHORE + ["grass"] * (SIZE - 2 * _SHORE) + [bottom] * _SHORE
    columns = [[left] * SIZE] * _SHORE + [rows] * (SIZE - 2 * _SHORE) + [[right] * SIZE] * _SHORE
    things = {(x, y): name for x, column in enumerate(columns) for y, name in enumerate(column) if name != "grass"}
    fields = [_FIELDS[index] for index in rng.permutation(len(_FIELDS))]
    for (x, y), group in zip(fields, _GROUPS, strict=False):
        x, y = (int(start + shift) for start, shift in zip((x, y), rng.integers(2, size=2), strict=True))
        things.update(zip([(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)], group, strict=False))
    x, y = fields[-1]
    return CraftScene(Pose(x + 1, y + 1, int(rng.integers(4))), things, _pockets(rng))


def _pockets(rng: Rng) -> dict[str, int]:
    """Fill the inventory so that most steps are possible: about half of the tools, low food, drink and energy."""
    low = {"health": 9, "food": 2, "drink": 2, "energy": 4, "sapling": 1, "wood": 4, "stone": 5, "coal": 2, "iron": 2}
    some = {item: count + int(rng.integers(2)) for item, count in low.items()}
    return {**some, "health": 9, "diamond": 0, **{tool: int(rng.integers(2)) for tool in _TOOLS}}


def _take(start: CraftScene, steps: Sequence[Step], says: Sequence[tuple[Step, ...]]) -> Take[str] | None:
    """Make the take of steps; None if they are impossible."""
    parts = act_out_craft(start, steps)
    return None if parts is None else Take(tuple(says), partial(CraftEpisode, start), parts)


def _parts(held_out: bool, rng: Rng) -> list[Take[str]]:
    """Sample fourteen videos of one to three steps, each of which is a description of a part of them."""
    start = arrange_craft(rng)
    possible = [step for step in STEPS.values() if act_out_craft(start, [step])]
    labels = [possible[index] for index in rng.permutation(len(possible))[:_PART_LABELS]]
    groups = _grouped(labels, held_out, rng)
    takes: list[Take[str]] = []
    for group in groups:
        says = [(step,) for step in group]
        take = next(filter(None, (_take(start, order, says) for order in permutations(group))), None)
        if take is None:
            return []
        takes.append(take)
    return takes


def _grouped(labels: Sequence[Step], held_out: bool, rng: Rng) -> list[tuple[Step, ...]]:
    """Divide two of each label into random groups of different ones, all of them held-out combinations or none."""
    rest = [label for _ in range(2) for label in labels]
    rest = [rest[index] for index in rng.permutation(len(rest))]
    groups: list[tuple[Step, ...]] = []
    for size in _PART_SIZES:
        fitting = (
            group
            for group in combinations(rest, size)
            if len(set(group)) == size
            and (size == 1 or is_mixed(group) == held_out)
            and set(group) not in map(set, groups)
        )
        group = next(fitting, ())
        groups.append(group)
        for step in group:
            rest.remove(step)
    return groups if all(groups) else []


def _remix(level: int, held_out: bool, rng: Rng) -> list[Take[str]]:
    """Sample four different tasks from one start scene."""
    start = arrange_craft(rng)
    tasks = (_sample_steps(list(STEPS.values()), level, held_out, rng) for _ in range(20 * _REMIX_LABELS))
    return first_apart((_take(start, steps, [steps]) for steps in tasks), _REMIX_LABELS)


def _permutations(pool: Sequence[Step], level: int, held_out: bool, rng: Rng) -> list[Take[str]]:
    """Sample steps in two orders (from two start scenes) at level 2, else in three that differ by adjacent swaps."""
    steps = _sample_steps(pool, level, held_out, rng)
    orders = [steps, *adjacent_swaps(steps)]
    takes: list[Take[str]] = []
    for _ in range(2 if level == 2 else 1):
        start = arrange_craft(rng)
        staged = all_apart(_take(start, order, [order]) for order in orders)
        if not staged:
            return []
        takes += staged
    return takes


def _sample_steps(pool: Sequence[Step], length: int, held_out: bool, rng: Rng) -> tuple[Step, ...]:
    """Sample different steps in random order, which are a held-out combination or not."""
    while True:
        steps = tuple(pool[index] for index in rng.permutation(len(pool))[:length])
        if is_mixed(steps) == held_out:
            return steps


_LEVELS = (2, 3)
_COUNTS = {
    ("foundation", 1): 3,
    **{(type, level): 3 for level in _LEVELS for type in ("remix", "permutation", "permutation_go_only")},
}

_HINT = (
    "The frames come from a video of a player in a blocky world, seen from above; the player is always in the middle. "
    "Trees give wood. Grey blocks are stone; with black dots they are coal, with orange dots iron, with white gems "
    "diamond. Blue is water. A table is a brown block with tools on it, a furnace a grey one with a fire. There are "
    "spotted cows, green zombies, and plants, which are ripe when they bear red fruit. The two rows at the bottom show "
    "what the player has, with numbers: health, food, drink, energy, saplings, wood, stone, coal and iron, then "
    "diamonds, pickaxes and swords. What is collected disappears from its place, what is made appears at the bottom, "
    "and the picture is dark during sleep. The player stands still for a moment after each thing they do; they go to a "
    "thing by stopping right in front of it."
)
_EXAMPLE = (
    "Suppose the frames show the player beside a tree, then grass in the place of the tree and one wood more at the "
    "bottom, then the player at the shore and a higher number beside the drop. 'First, we collect wood, and then we "
    "drink water' fits every frame, so it gets the highest score. The same two steps in the other order, or stone in "
    "the place of wood, do not fit."
)

_things = [step.thing for step in (*STEPS.values(), *VISITS.values())]
#: The craft world.
CRAFT = StagedWorld("craft", _COUNTS, vocabulary(VERBS, _things, parts=True), (_HINT, _EXAMPLE), IDLE, craft_takes)
