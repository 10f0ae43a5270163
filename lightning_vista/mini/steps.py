"""Steps, the words that describe them, and how they are read off an episode."""

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_PART = "A video in which"


@dataclass(frozen=True)
class Step:
    """One thing that a video shows.

    Attributes:
        verb: A template such as `"put the {thing} on the {place}"`; each world has its own.
        thing: What it is done to.
        place: Where it is put, for verbs that name a place.

    Example:
        >>> Step("put the {thing} on the {place}", "red ball", "blue tray").text
        'put the red ball on the blue tray'
    """

    verb: str
    thing: str
    place: str = ""

    @property
    def text(self) -> str:
        """The step in words, without a subject."""
        return self.verb.format(thing=self.thing, place=self.place)


def describe(steps: Sequence[Step]) -> str:
    """The description of steps in sequence, in the official wording; commas separate the steps.

    Args:
        steps: At least one step.

    Returns:
        One sentence.

    Raises:
        ValueError: If there is no step.

    Example:
        >>> a, b, c = (Step("go to the {thing}", f"{color} door") for color in ("red", "blue", "grey"))
        >>> describe([a])
        'We go to the red door'
        >>> describe([a, b])
        'First, we go to the red door, and then we go to the blue door'
        >>> describe([a, b, c])
        'First, we go to the red door, then we go to the blue door, and finally we go to the grey door'
    """
    if not steps:
        raise ValueError("A description needs at least one step, got none.")
    first, *others = (step.text for step in steps)
    if not others:
        return f"We {first}"
    *middle, last = others
    end = f"and finally we {last}" if middle else f"and then we {last}"
    return ", ".join([f"First, we {first}", *(f"then we {text}" for text in middle), end])


def describe_part(steps: Sequence[Step]) -> str:
    """The description of steps that a video may show among others.

    Args:
        steps: At least one step.

    Returns:
        One phrase.

    Example:
        >>> describe_part([Step("open the {thing}", "red door")])
        'A video in which we open the red door'
    """
    return f"{_PART} {describe(steps).replace('First, we', 'first we').replace('We', 'we')}"


def adjacent_swaps(steps: Sequence[Step]) -> list[tuple[Step, ...]]:
    """The orders that differ from a sequence by one swap of neighbours.

    Example:
        >>> a, b, c = (Step("wait for {thing}", thing) for thing in ("Ann", "Bob", "Cid"))
        >>> adjacent_swaps([a, b, c]) == [(b, a, c), (a, c, b)]
        True
    """
    return [(*steps[:i], steps[i + 1], steps[i], *steps[i + 2 :]) for i in range(len(steps) - 1)]


def words(description: str) -> list[str]:
    """The words of a description, in lower case, without punctuation.

    Example:
        >>> words("First, we open the red box")
        ['first', 'we', 'open', 'the', 'red', 'box']
    """
    return description.lower().translate(str.maketrans("", "", string.punctuation)).split()


def vocabulary(verbs: Iterable[str], things: Iterable[str], parts: bool = False) -> tuple[str, ...]:
    """Every word that descriptions of some verbs and things can have.

    Args:
        verbs: Verb templates.
        things: What they can be filled with.
        parts: Whether some descriptions are of parts of a video.

    Returns:
        The words, in lower case and alphabetical order.

    Example:
        >>> vocabulary(["open the {thing}"], ["red box"])
        ('and', 'box', 'finally', 'first', 'open', 'red', 'the', 'then', 'we')
    """
    frames = ("we first then and finally", _PART if parts else "")
    texts = (*frames, *(verb.format(thing="", place="") for verb in verbs), *things)
    return tuple(sorted({word for text in texts for word in words(text)}))


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
