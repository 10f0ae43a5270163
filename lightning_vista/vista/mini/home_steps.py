"""The steps of the home world: when they are possible, what they change, and random sequences of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_vista.envs.home_scene import FLOOR, HAND, PORTABLE, SWITCHED, Placed, kind_of
from lightning_vista.vista.mini.steps import Step

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
#: What is seen from the first frame to the last.
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
    """The verb that brings a thing into a state.

    Example:
        >>> switching("red lamp", on=True)
        'turn on the {thing}'
    """
    if kind_of(thing) == "lamp":
        return TURN_ON if on else TURN_OFF
    return OPEN if on else CLOSE


def target_of(step: Step) -> str:
    """The thing that the robot goes to for a step."""
    return step.place or step.thing


def possible_steps(house: House) -> list[Step]:
    """Everything that can be done next.

    Args:
        house: The things, with or without their cells.

    Returns:
        The steps, things on the floor only.
    """
    held = next((thing for thing, placed in house.items() if placed.where == HAND), None)
    full = {placed.where for placed in house.values()}
    steps: list[Step] = []
    for thing, (where, on) in house.items():
        kind = kind_of(thing)
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
    """The things once a step is done."""
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
    """Whether steps can be done one after the other."""
    for step in steps:
        if step not in possible_steps(house):
            return False
        house = after(house, step)
    return True


def sample_steps(house: House, length: int, verbs: Sequence[str], rng: np.random.Generator) -> tuple[Step, ...] | None:
    """A random sequence of possible steps, each at another thing.

    Args:
        house: The things at the start.
        length: How many steps.
        verbs: What may occur; verbs that are possible are equally likely, but those without a trace half as likely.
        rng: Chooses.

    Returns:
        The steps, or None if the choice ran into a dead end.
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
