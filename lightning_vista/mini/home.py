"""Problem sets of the home world.

Within a set, all descriptions are played from the same start scenes where possible, so that only the steps distinguish
them. Every sampler returns an empty list after a dead end, and the caller tries again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from lightning_vista.mini.draft import StagedWorld, Take, all_apart, first_apart
from lightning_vista.mini.home_episode import (
    ACTIONS,
    GO_TO,
    IDLE,
    LOOK_AT,
    PICK_UP,
    PUT_IN,
    PUT_ON,
    SEE,
    SEE_CLOSED,
    SEE_OFF,
    SEE_ON,
    SEE_OPEN,
    VERBS,
    HomeEpisode,
    House,
    act_out_home,
    are_possible,
    sample_steps,
    surround,
    switching,
)
from lightning_vista.mini.home_scene import (
    COLORS,
    FLOOR,
    HAND,
    INNER,
    KINDS,
    PORTABLE,
    SWITCHED,
    THINGS,
    WALLS,
    Placed,
    Scene,
    thing_kind,
)
from lightning_vista.mini.pose import Pose
from lightning_vista.mini.steps import Step, vocabulary
from lightning_vista.vista.sequences import adjacent_swaps

#: Things of held-out problem sets only: two of the six colours of each kind, every colour twice.
HELD_OUT = tuple(f"{COLORS[(number + gap) % 6]} {kind}" for number, kind in enumerate(KINDS) for gap in (0, 2))
SEEN = tuple(thing for thing in THINGS if thing not in HELD_OUT)

_REMIX_LABELS = 9
_LAYOUTS = 30  # layouts to try for one choice of steps

Rng = np.random.Generator


@dataclass(frozen=True)
class Option:
    """Description, with a house in which to play it.

    Attributes:
        steps: Steps of the description.
        house: Things and their states at the start.
        script: Steps of the robot, if they differ from those of the description.
    """

    steps: tuple[Step, ...]
    house: House
    script: tuple[Step, ...] = ()


def home_takes(type: str, level: int, pool: Sequence[str], rng: Rng) -> list[Take[int]]:
    """Sample the videos of a problem set.

    Args:
        type: Type folder.
        level: Number of steps.
        pool: Things that may occur, at least two of each kind.
        rng: Random generator.

    Returns:
        The takes; empty after a dead end.
    """
    if type == "remix":
        return _remix(pool, level, rng)
    rounds: Iterable[list[Option]]
    if level == 1:
        rounds = _LEVEL_1[type](pool, rng)
    else:
        rounds = _permutations(pool, level, ACTIONS if type == "permutation" else (GO_TO,), rng)
    takes: list[Take[int]] = []
    for options in rounds:
        staged = _stage(options, rng)
        if not staged:
            return []
        takes += staged
    return takes


def two_of_each(pool: Sequence[str], rng: Rng) -> list[str]:
    """Choose two things of each kind, in random order."""
    shuffled = [pool[index] for index in rng.permutation(len(pool))]
    return [thing for kind in KINDS for thing in [thing for thing in shuffled if thing_kind(thing) == kind][:2]]


def in_random_states(things: Sequence[str], rng: Rng) -> dict[str, Placed]:
    """Place things on the floor without cells, in random states."""
    states = rng.integers(2, size=len(things))
    return {
        thing: Placed(FLOOR, thing_kind(thing) in SWITCHED and bool(on))
        for thing, on in zip(things, states, strict=True)
    }


def arrange_home(house: House, rng: Rng) -> Scene:
    """Give every thing on the floor a random cell: doors in the walls, and nothing in front of the robot.

    Equal generators give houses the same cells if their doors and other things have the same order, whatever the
    things are and wherever they lie.
    """
    inner = [INNER[index] for index in rng.permutation(len(INNER))]
    walls = [WALLS[index] for index in rng.permutation(len(WALLS))]
    x, y = inner.pop()
    robot = Pose(x, y, int(rng.integers(4)))
    things: dict[str, Placed] = {}
    for thing, (where, on) in house.items():
        cells = walls if thing_kind(thing) == "door" else inner
        cell = cells.pop() if cells[-1] != robot.ahead else cells.pop(-2)
        things[thing] = Placed(cell if where == FLOOR else where, on)
    return Scene(robot, things)


def _stage(options: Sequence[Option], rng: Rng) -> list[Take[int]]:
    """Play every option from one layout, in which each is possible and none could be mistaken for another."""
    for _ in range(_LAYOUTS):
        seed = int(rng.integers(2**32))
        starts = (arrange_home(option.house, np.random.default_rng(seed)) for option in options)
        takes = all_apart(
            _take(start, option.steps, _plan(start, option, rng)) for start, option in zip(starts, options, strict=True)
        )
        if takes:
            return takes
    return []


def _plan(start: Scene, option: Option, rng: Rng) -> list[list[int]] | None:
    """Plan the actions of an option, in parts; None if it is impossible."""
    parts = act_out_home(start, option.script or option.steps)
    is_one_act = len(option.steps) == 1 and not option.script
    return surround(start, parts, rng) if parts and is_one_act else parts


def _take(start: Scene, steps: tuple[Step, ...], parts: list[list[int]] | None) -> Take[int] | None:
    """Make the take of steps; None if they are impossible."""
    return None if parts is None else Take((steps,), partial(HomeEpisode, start), parts)


def _remix(pool: Sequence[str], level: int, rng: Rng) -> list[Take[int]]:
    """Sample nine different tasks in the same room."""
    house = in_random_states(two_of_each(pool, rng), rng)
    start = arrange_home(house, rng)
    tasks = (sample_steps(house, level, ACTIONS, rng) for _ in range(20 * _REMIX_LABELS))
    return first_apart((_take(start, steps, act_out_home(start, steps)) for steps in tasks if steps), _REMIX_LABELS)


def _permutations(pool: Sequence[str], level: int, verbs: Sequence[str], rng: Rng) -> list[list[Option]]:
    """Sample steps in two orders (from two start scenes) at level 2, else in three that differ by adjacent swaps."""
    house = in_random_states(two_of_each(pool, rng), rng)
    steps = sample_steps(house, level, verbs, rng)
    leaves_no_trace = steps is not None and all(step.verb in (GO_TO, LOOK_AT) for step in steps)
    if steps is None or (leaves_no_trace and verbs != (GO_TO,)):
        return []
    swaps = [order for order in adjacent_swaps(steps) if are_possible(house, order)]
    wanted, rounds = (1, 2) if level == 2 else (2, 1)
    if len(swaps) < wanted:
        return []
    orders = [steps, *(swaps[index] for index in rng.permutation(len(swaps))[:wanted])]
    return [[Option(order, house) for order in orders] for _ in range(rounds)]


def _objects(pool: Sequence[str], rng: Rng) -> Iterator[list[Option]]:
    """Yield six things, each added to the same six others, three times."""
    chosen = [pool[index] for index in rng.permutation(len(pool))[:12]]
    for _ in range(3):
        placed = in_random_states(chosen, rng)
        others = {thing: placed[thing] for thing in chosen[6:]}
        yield [Option((_see(thing),), {**others, thing: placed[thing]}, (Step(GO_TO, thing),)) for thing in chosen[:6]]


def _properties(kinds: Sequence[str], pool: Sequence[str], rng: Rng) -> Iterator[list[Option]]:
    """Yield a thing in one state and in the other, with everything else equal, four times."""
    things = two_of_each(pool, rng)
    thing, _ = _pair(kinds, things, rng)
    for _ in range(4):
        house = in_random_states(things, rng)
        yield [
            Option((_see(thing, on),), _with(house, {thing: Placed(FLOOR, on)}), (Step(GO_TO, thing),))
            for on in (False, True)
        ]


def _switching(kinds: Sequence[str], pool: Sequence[str], rng: Rng) -> Iterator[list[Option]]:
    """Yield two things of a kind, each switched either way, twice.

    The state of the other thing makes every start scene fit two descriptions.
    """
    house = in_random_states(two_of_each(pool, rng), rng)
    pair = _pair(kinds, list(house), rng)
    for end_alike in (False, True):
        yield [
            Option(
                (Step(switching(thing, on), thing),),
                _with(house, {thing: Placed(FLOOR, not on), other: Placed(FLOOR, on == end_alike)}),
            )
            for thing, other in (pair, pair[::-1])
            for on in (True, False)
        ]


def _picking(pool: Sequence[str], rng: Rng) -> Iterator[list[Option]]:
    """Yield one thing taken, another taken, or the first put on a tray or in a box, twice.

    Every start scene fits two descriptions, and taking a thing from a place is putting it there in reverse.
    """
    house = in_random_states(two_of_each(pool, rng), rng)
    one, other = (
        str(thing) for thing in rng.permutation([thing for thing in house if thing_kind(thing) in PORTABLE])[:2]
    )
    (tray, _), (box, _) = (_pair([kind], list(house), rng) for kind in ("tray", "box"))
    house[box] = Placed(FLOOR, on=True)
    for place in (tray, box):
        lying, held = (_with(house, {one: Placed(where)}) for where in (place, HAND))
        yield [
            Option((Step(PICK_UP, one),), lying),
            Option((Step(PICK_UP, other),), lying),
            Option((Step(PUT_ON, one, tray),), held),
            Option((Step(PUT_IN, one, box),), held),
        ]


_LEVEL_1: dict[str, Callable[[Sequence[str], Rng], Iterator[list[Option]]]] = {
    "objects": _objects,
    "on_v_off": partial(_properties, ("lamp",)),
    "open_v_closed": partial(_properties, ("door", "box")),
    "pick_v_put": _picking,
    "toggle": partial(_switching, ("lamp",)),
    "opening_v_closing": partial(_switching, ("door", "box")),
}


def _see(thing: str, on: bool | None = None) -> Step:
    """Return the view of a thing, or of a thing in a state."""
    if on is None:
        return Step(SEE, thing)
    return Step((SEE_OFF, SEE_ON)[on] if thing_kind(thing) == "lamp" else (SEE_CLOSED, SEE_OPEN)[on], thing)


def _pair(kinds: Sequence[str], things: Sequence[str], rng: Rng) -> tuple[str, str]:
    """Choose two things of one of the kinds, in random order."""
    kind = kinds[int(rng.integers(len(kinds)))]
    one, other = rng.permutation([thing for thing in things if thing_kind(thing) == kind])
    return str(one), str(other)


def _with(house: House, changed: House) -> House:
    """Return a house with some things placed elsewhere, in the same order."""
    return {**house, **changed}


_LEVELS = range(2, 9)
_COUNTS = {
    ("objects", 1): 6,
    ("on_v_off", 1): 4,
    ("open_v_closed", 1): 5,
    ("pick_v_put", 1): 3,
    ("toggle", 1): 3,
    ("opening_v_closing", 1): 3,
    **{("remix", level): 6 for level in _LEVELS},
    **{("permutation", level): 8 for level in _LEVELS},
    **{("permutation_go_only", level): 8 for level in _LEVELS},
}

_HINT = (
    "The frames come from a video of a small room, seen from above, that a robot lives in. The robot is the white "
    "triangle, and its tip points to where it looks. The square in the top left corner shows what the robot has in "
    "its hand; it is black while the hand is empty. Doors are full squares in the outer wall and become empty frames "
    "when open. Lamps stand on a bright square when they are on. Boxes have a lid that is gone when they are open. "
    "Trays are flat, with a raised edge. Balls and keys can be carried, and can lie on trays and in open boxes. The "
    "robot stands still for a moment after each thing it does; it goes to a thing by stopping right in front of it, "
    "and looks at a thing by stopping in line with it, some way off."
)
_EXAMPLE = (
    "Suppose the frames show the robot in front of a closed green door, then the same door as an empty frame, then the "
    "robot in front of a yellow ball, then no ball there and a yellow ball in the top left square. 'First, we open the "
    "green door, and then we pick up the yellow ball' fits every frame, so it gets the highest score. The same two "
    "steps in the other order, or a ball of another colour, do not fit."
)


def _takes(type: str, level: int, held_out: bool, rng: np.random.Generator) -> list[Take[int]]:
    """Sample takes with things that are all held out, or all seen in training."""
    return home_takes(type, level, HELD_OUT if held_out else SEEN, rng)


#: The home world.
HOME = StagedWorld("home", _COUNTS, vocabulary(VERBS, THINGS), (_HINT, _EXAMPLE), IDLE, _takes)
