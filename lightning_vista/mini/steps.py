"""Steps, their descriptions, and reading them from an episode."""

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lightning_vista.vista.sequences import describe_sequence

_PART = "A video in which"


@dataclass(frozen=True)
class Step:
    """Step that a video shows.

    Attributes:
        verb: Template such as `"put the {thing} on the {place}"`; each world has its own.
        thing: Object of the verb.
        place: Place of the thing, for verbs that name one.

    Example:
        >>> Step("put the {thing} on the {place}", "red ball", "blue tray").text
        'put the red ball on the blue tray'
    """

    verb: str
    thing: str
    place: str = ""

    @property
    def text(self) -> str:
        """Words for the step, without a subject."""
        return self.verb.format(thing=self.thing, place=self.place)


def describe(steps: Sequence[Step]) -> str:
    """Describe steps in sequence, in the official wording, with commas between the steps.

    Args:
        steps: At least one step.

    Returns:
        One sentence.

    Raises:
        ValueError: If `steps` is empty.

    Example:
        >>> a, b, c = (Step("go to the {thing}", f"{color} door") for color in ("red", "blue", "grey"))
        >>> describe([a])
        'We go to the red door'
        >>> describe([a, b])
        'First, we go to the red door, and then we go to the blue door'
        >>> describe([a, b, c])
        'First, we go to the red door, then we go to the blue door, and finally we go to the grey door'
    """
    return describe_sequence([step.text for step in steps])


def describe_part(steps: Sequence[Step]) -> str:
    """Describe steps that a video may show among others.

    Args:
        steps: At least one step.

    Returns:
        One phrase.

    Example:
        >>> describe_part([Step("open the {thing}", "red door")])
        'A video in which we open the red door'
    """
    return f"{_PART} {describe(steps).replace('First, we', 'first we').replace('We', 'we')}"


def words(description: str) -> list[str]:
    """Split a description into words, in lower case and without punctuation.

    Example:
        >>> words("First, we open the red box")
        ['first', 'we', 'open', 'the', 'red', 'box']
    """
    return description.lower().translate(str.maketrans("", "", string.punctuation)).split()


def vocabulary(verbs: Iterable[str], things: Iterable[str], parts: bool = False) -> tuple[str, ...]:
    """List all words that descriptions of given verbs and things can contain.

    Args:
        verbs: Templates of verbs.
        things: Things for the templates.
        parts: Whether some descriptions describe parts of a video.

    Returns:
        The words, in lower case and alphabetical order.

    Example:
        >>> vocabulary(["open the {thing}"], ["red box"])
        ('and', 'box', 'finally', 'first', 'open', 'red', 'the', 'then', 'we')
    """
    frames = ("we first then and finally", _PART if parts else "")
    texts = (*frames, *(verb.format(thing="", place="") for verb in verbs), *things)
    return tuple(sorted({word for text in texts for word in words(text)}))


#: Number of frames without motion after each step, so that a frame sampler is less likely to miss it.
PAUSE = 2


def pauses(scenes: Sequence[object]) -> list[int]:
    """Find the frames before which nothing changed for `PAUSE` frames.

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
    """Read the steps that happened: every change, and every stop at the end of a walk.

    Args:
        scenes: Scene of each frame.
        changes: Step that changed something just before a frame.
        stops: Step that standing still at a frame shows.

    Returns:
        The steps, in order.
    """
    found: list[Step] = []
    walked = stands = False
    for frame, (before, after) in enumerate(pairwise(scenes), start=1):
        if frame in changes:
            if stands:  # waiting in front of a thing before changing it is not a stop
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
    """Check whether steps can be seen one after another, whatever else happens.

    Args:
        steps: Steps to find.
        num_frames: Number of frames.
        could_be: Function that tells whether a step could be seen at a frame.

    Returns:
        Whether each step has a frame, none before that of the previous step.
    """
    frame = 0
    for step in steps:
        match = next((at for at in range(frame, num_frames) if could_be(step, at)), None)
        if match is None:
            return False
        frame = match
    return True
