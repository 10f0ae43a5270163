"""Two ways of reading an episode: what exactly happened, and what a lenient viewer could say of it."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from lightning_vista.vista.mini.steps import Step

#: Frames without motion after each step, so that a frame sampler is less likely to miss it.
PAUSE = 2


def pauses(scenes: Sequence[object]) -> list[int]:
    """The frames before which nothing has changed for `PAUSE` frames.

    Example:
        >>> pauses(["walks", "stands", "stands", "stands", "walks"])
        [3]
    """
    return [
        frame
        for frame in range(PAUSE, len(scenes))
        if all(a == b for a, b in pairwise(scenes[frame - PAUSE : frame + 1]))
    ]


def events(scenes: Sequence[object], changes: Mapping[int, Step], stops: Mapping[int, Step]) -> tuple[Step, ...]:
    """The steps that happened: every change, and every stop at the end of a walk.

    Args:
        scenes: The world at every frame.
        changes: Frame -> the step that changed something just before it.
        stops: Frame -> what the viewer sees somebody stand still for.

    Returns:
        The steps, in order.
    """
    found: list[Step] = []
    walked = stands = False
    for frame, (before, after) in enumerate(pairwise(scenes), start=1):
        if frame in changes:
            if stands:  # waiting in front of what one then changes is no stop
                found.pop()
            found.append(changes[frame])
            walked = stands = False
        elif after != before:
            walked, stands = True, False
        elif walked and frame in stops:
            found.append(stops[frame])
            walked, stands = False, True
    return tuple(found)


def in_order(steps: Sequence[Step], num_frames: int, could_be: Callable[[Step, int], bool]) -> bool:
    """Whether steps can be seen one after the other, whatever else happens.

    Args:
        steps: What to look for.
        num_frames: The number of frames.
        could_be: Whether a step could be seen at a frame.

    Returns:
        Whether there is a frame for each step, none before that of the step before.
    """
    frame = 0
    for step in steps:
        match = next((at for at in range(frame, num_frames) if could_be(step, at)), None)
        if match is None:
            return False
        frame = match
    return True
