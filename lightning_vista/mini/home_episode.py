"""Steps in the home, and episodes that carry them out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, pairwise

import numpy as np
from minigrid.core.actions import Actions
from numpy.typing import NDArray

from lightning_vista.mini.home_env import replay
from lightning_vista.mini.home_scene import (
    FLOOR,
    HAND,
    PORTABLE,
    SWITCHED,
    Placed,
    Scene,
    draw_codes,
    thing_kind,
    tile_codes,
)
from lightning_vista.mini.pose import Cell, Pose, shortest_path
from lightning_vista.mini.steps import PAUSE, Step, events, in_order, pauses

PICK_UP = "pick up the {thing}"
PUT_ON = "put the {thing} on the {place}"
PUT_IN = "put the {thing} in the {place}"
PUT_NEXT_TO = "put the {thing} next to the {place}"
OPEN = "open the {thing}"
CLOSE = "close the {thing}"
TURN_ON = "turn on the {thing}"
TURN_OFF = "turn off the {thing}"
GO_TO = "go to the {thing}"
LOOK_AT = "look at the {thing}"
#: Verbs of views, which hold from the first frame to the last.
SEE = "see a {thing}"
SEE_OPEN = "see a {thing} that is open"
SEE_CLOSED = "see a {thing} that is closed"
SEE_ON = "see a {thing} that is turned on"
SEE_OFF = "see a {thing} that is turned off"

ACTIONS = (PICK_UP, PUT_ON, PUT_IN, PUT_NEXT_TO, OPEN, CLOSE, TURN_ON, TURN_OFF, GO_TO, LOOK_AT)
VIEWS = (SEE, SEE_OPEN, SEE_CLOSED, SEE_ON, SEE_OFF)
VERBS = ACTIONS + VIEWS

House = Mapping[str, Placed]


def switching(thing: str, on: bool) -> str:
    """Return the verb that brings a thing into a state.

    Example:
        >>> switching("red lamp", on=True)
        'turn on the {thing}'
    """
    if thing_kind(thing) == "lamp":
        return TURN_ON if on else TURN_OFF
    return OPEN if on else CLOSE


def target_of(step: Step) -> str:
    """Return the thing to which the robot goes for a step."""
    return step.place or step.thing


def possible_steps(house: House) -> list[Step]:
    """List all possible next steps.

    Args:
        house: Things, with or without their cells.

    Returns:
        The steps at things on the floor.
    """
    held = next((thing for thing, placed in house.items() if placed.where == HAND), None)
    full = {placed.where for placed in house.values()}
    steps: list[Step] = []
    for thing, (where, on) in house.items():
        kind = thing_kind(thing)
        if where == HAND or where in house:
            continue
        steps += [Step(GO_TO, thing), Step(LOOK_AT, thing)]
        if kind in SWITCHED:
            steps.append(Step(switching(thing, not on), thing))
        if kind in PORTABLE and held is None:
            steps.append(Step(PICK_UP, thing))
        if held is not None and kind != "door":
            steps.append(Step(PUT_NEXT_TO, held, thing))
            if thing not in full and (kind == "tray" or (kind == "box" and on)):
                steps.append(Step(PUT_ON if kind == "tray" else PUT_IN, held, thing))
    return steps


def after(house: House, step: Step) -> House:
    """Return the things after a step."""
    where, on = house[step.thing]
    if step.verb == PICK_UP:
        where = HAND
    elif step.verb in (PUT_ON, PUT_IN):
        where = step.place
    elif step.verb == PUT_NEXT_TO:
        where = FLOOR
    elif step.verb in (OPEN, CLOSE, TURN_ON, TURN_OFF):
        on = not on
    return {**house, step.thing: Placed(where, on)}


def are_possible(house: House, steps: Sequence[Step]) -> bool:
    """Check whether steps are possible one after another."""
    for step in steps:
        if step not in possible_steps(house):
            return False
        house = after(house, step)
    return True


def sample_steps(house: House, length: int, verbs: Sequence[str], rng: np.random.Generator) -> tuple[Step, ...] | None:
    """Sample a sequence of possible steps, each at another thing.

    Args:
        house: Things at the start.
        length: Number of steps.
        verbs: Verbs that may occur. Possible verbs are equally likely, but trace-free ones half as likely.
        rng: Random generator.

    Returns:
        The steps, or None after a dead end.
    """
    steps: list[Step] = []
    used: set[str] = set()
    for _ in range(length):
        choices = [step for step in possible_steps(house) if step.verb in verbs and target_of(step) not in used]
        if not choices:
            return None
        kinds = sorted({step.verb for step in choices})
        weights = np.array([0.5 if verb in (GO_TO, LOOK_AT) else 1.0 for verb in kinds])
        verb = rng.choice(kinds, p=weights / weights.sum())
        of_kind = [step for step in choices if step.verb == verb]
        step = of_kind[rng.integers(len(of_kind))]
        steps.append(step)
        used |= {step.thing, step.place}
        house = after(house, step)
    return tuple(steps)


IDLE: int = Actions.done
#: Highest number of moves on the way to a step, which keeps videos short.
_LONGEST_WALK = 12
#: Highest random number of frames that the robot waits before a video's only act.
_SPARE = 8


@dataclass(frozen=True)
class HomeEpisode:
    """Episode in a home.

    Attributes:
        start: First scene.
        actions: MiniGrid's actions, one per frame.
    """

    start: Scene
    actions: tuple[int, ...]

    @cached_property
    def scenes(self) -> list[Scene]:
        """State of the environment at every frame."""
        return replay(self.start, self.actions)

    def codes(self) -> NDArray[np.uint8]:
        """Return the tile of each cell at every frame `(frames, 8, 8)`, as indices into `home_scene.TILES`."""
        return np.stack([tile_codes(scene) for scene in self.scenes])

    def frames(self) -> NDArray[np.uint8]:
        """Draw the video `(frames, 96, 96, 3)`."""
        return draw_codes(self.codes())

    @cached_property
    def changes(self) -> dict[int, Step]:
        """Step that changed something just before a frame."""
        pairs = enumerate(pairwise(self.scenes), start=1)
        found = {frame: _change(before, after) for frame, (before, after) in pairs if after.things != before.things}
        return found

    @cached_property
    def stops(self) -> dict[int, Step]:
        """Step of going to or looking at the thing ahead, for frames after the robot stood still for `PAUSE` frames."""
        stops: dict[int, Step] = {}
        for frame in pauses(self.scenes):
            scene = self.scenes[frame]
            *between, end = scene.gaze()
            if end in scene.at:
                stops[frame] = Step(LOOK_AT if between else GO_TO, scene.at[end])
        return stops

    def shows(self, steps: Sequence[Step]) -> bool:
        """Check whether exactly these steps happened in this order, or whether every frame shows these views."""
        if steps[0].verb in VIEWS:
            return all(_is_seen(scene, step) for scene in self.scenes for step in steps)
        return events(self.scenes, self.changes, self.stops) == tuple(steps)

    def resembles(self, steps: Sequence[Step]) -> bool:
        """Check whether these steps are found in this order, if facing a thing in passing counts as going to it."""
        if steps[0].verb in VIEWS:
            return any(all(_is_seen(scene, step) for step in steps) for scene in self.scenes)
        return in_order(steps, len(self.scenes), self._could_be)

    def _could_be(self, step: Step, frame: int) -> bool:
        """Check whether a lenient viewer could see a step at a frame."""
        scene = self.scenes[frame]
        if step.verb == GO_TO:
            return scene.cell_of(step.thing) == scene.robot.ahead
        if step.verb == LOOK_AT:
            return frame in self.stops and self.stops[frame].thing == step.thing
        return self.changes.get(frame) == step


def act_out_home(start: Scene, steps: Sequence[Step]) -> list[list[int]] | None:
    """Plan the actions of steps, by the shortest ways that do not face a thing to which another step goes.

    The robot stands equally long before and after it acts on a thing. So the time that it faces the thing in either
    state does not distinguish an act from its opposite.

    Args:
        start: First scene.
        steps: Steps, in order.

    Returns:
        The actions, in parts that end in a pause, which may be made longer. None if the place of a step is too far away
        or cannot be reached, or if the robot already stands there.
    """
    scene = start
    parts: list[list[int]] = []
    destinations = {step.thing for step in steps if step.verb == GO_TO}
    for step in steps:
        shunned = {scene.cell_of(thing) for thing in destinations - {target_of(step)}}
        goals = _stations(scene, step)
        walk = shortest_path(scene.robot, goals.__contains__, partial(_moves, scene, shunned))
        if not walk or len(walk) > _LONGEST_WALK:
            return None
        if step.verb in (GO_TO, LOOK_AT):
            played = [[*walk, *[IDLE] * PAUSE]]
        else:
            played = [[*walk, IDLE], [_manipulation(step), IDLE]]
        scene = replay(scene, list(chain.from_iterable(played)))[-1]
        parts += played
    return parts


def surround(start: Scene, parts: Sequence[Sequence[int]], rng: np.random.Generator) -> list[list[int]] | None:
    """Put a video's only act into its middle, so that its thing is visible about equally long in either state.

    The robot waits for a random time before its walk, turns away after the act, and waits for the remaining time.

    Args:
        start: First scene.
        parts: Walk and act, as planned by `act_out_home`.
        rng: Random generator of the first wait.

    Returns:
        These parts with one before and one after them; None if the robot cannot turn away.
    """
    walk, act = parts
    scene = replay(start, [*walk, *act])[-1]
    away = shortest_path(scene.robot, partial(_sees_nothing, scene), partial(_moves, scene, set()))
    if away is None:
        return None
    first = int(rng.integers(_SPARE + 1))
    return [[IDLE] * first, [*walk], [*act], [*away, *[IDLE] * (len(walk) - len(away) + _SPARE - first)]]


def _moves(scene: Scene, shunned: set[Cell | None], pose: Pose) -> list[tuple[int, Pose]]:
    """List the moves that are possible in a pose and do not end facing a shunned cell."""
    x, y, direction = pose
    turns = [(Actions.left, Pose(x, y, (direction - 1) % 4)), (Actions.right, Pose(x, y, (direction + 1) % 4))]
    steps = [(Actions.forward, Pose(*pose.ahead, direction))] if scene.is_free(pose.ahead) else []
    return [(action, after) for action, after in [*steps, *turns] if after.ahead not in shunned]


def _stations(scene: Scene, step: Step) -> set[Pose]:
    """Return the poses from which a step can be done."""
    cell = scene.cell_of(target_of(step))
    if cell is None:
        return set()
    cells = [cell]
    if step.verb == PUT_NEXT_TO:
        around = (Pose(*cell, direction).ahead for direction in range(4))
        cells = [near for near in around if scene.is_free(near) and scene.neighbours(near) == [step.place]]
    poses: set[Pose] = set()
    for near in cells:
        for direction in range(4):
            line = [Pose(*free, direction) for free in _free_behind(scene, near, direction)]
            poses.update(line[1:] if step.verb == LOOK_AT else line[:1])
    return poses


def _sees_nothing(scene: Scene, pose: Pose) -> bool:
    """Check whether only wall is visible ahead from a pose."""
    *_, end = replace(scene, robot=pose).gaze()
    return end not in scene.at


def _free_behind(scene: Scene, cell: Cell, direction: int) -> Iterator[Cell]:
    """Yield the cells from which a cell is visible in a direction, the nearest first, up to the first obstacle."""
    while scene.is_free(cell := Pose(*cell, (direction + 2) % 4).ahead):
        yield cell


def _manipulation(step: Step) -> int:
    """Return the action of the hand at the end of a walk."""
    if step.verb == PICK_UP:
        return Actions.pickup
    return Actions.drop if step.place else Actions.toggle


def _change(before: Scene, after: Scene) -> Step:
    """Return the step that leads from one scene to the next."""
    thing = next(thing for thing in before.things if before.things[thing] != after.things[thing])
    where, on = after.things[thing]
    if on != before.things[thing].on:
        return Step(switching(thing, on), thing)
    if where == HAND:
        return Step(PICK_UP, thing)
    if isinstance(where, str):
        return Step(PUT_ON if thing_kind(where) == "tray" else PUT_IN, thing, where)
    neighbours = after.neighbours(where)
    return Step(PUT_NEXT_TO, thing, neighbours[0] if len(neighbours) == 1 else "")


def _is_seen(scene: Scene, step: Step) -> bool:
    """Check whether a view holds in a scene."""
    if step.thing not in scene.things or (cell := scene.cell_of(step.thing)) is None:
        return False
    if step.verb == SEE:
        return cell in scene.at
    return scene.things[step.thing].on == (step.verb in (SEE_ON, SEE_OPEN))
