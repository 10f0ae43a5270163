"""A problem set before its videos are written, and what a world must offer to make one.

A new world is one file in `lightning_vista/envs` and one beside this that ends in an object with the attributes of
`World`, named in `lightning_vista.vista.mini.slots.WORLDS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightning_vista.vista.mini.steps import Step, describe, describe_part
from lightning_vista.vista.problem_sets import LabelledVideo, ProblemSet

Action = TypeVar("Action")


class Episode(Protocol):
    """One play of a world, from a start scene and actions."""

    def frames(self) -> NDArray[np.uint8]:
        """What a camera sees: RGB `(frames, height, width, 3)`, uint8, even height and width."""
        ...

    def shows(self, steps: Sequence[Step]) -> bool:
        """Whether exactly these steps happened, in this order: the strict reading."""
        ...

    def resembles(self, steps: Sequence[Step]) -> bool:
        """Whether a lenient viewer could say that these steps happened, in this order, among other things."""
        ...


@dataclass(frozen=True)
class Draft:
    """A problem set whose videos are still episodes.

    Attributes:
        steps: Label id -> the steps that its description names.
        episodes: Each episode with the labels that are true of it.
        hint: What a chat judge is told before it sees the frames.
        example: A worked example for a chat judge.
        held_out: Whether it is about what occurs in no training video.
        wording: Makes a description of steps.
    """

    steps: Mapping[str, tuple[Step, ...]]
    episodes: tuple[tuple[tuple[str, ...], Episode], ...]
    hint: str
    example: str
    held_out: bool = False
    wording: Callable[[Sequence[Step]], str] = describe

    @property
    def descriptions(self) -> dict[str, str]:
        """Label id -> description."""
        return {label: self.wording(steps) for label, steps in self.steps.items()}

    def problem_set(self, id: str) -> ProblemSet:
        """The problem set that it becomes: video `n` of it lies at `<id without its environment>/<n>.mp4`."""
        folder = id.partition("/")[2]
        videos = [LabelledVideo(f"{folder}/{n}.mp4", labels) for n, (labels, _) in enumerate(self.episodes)]
        extra = {"metadata": {"held_out": self.held_out}}
        return ProblemSet(id, self.descriptions, tuple(videos), self.hint, self.example, extra)


class World(Protocol):
    """A place to make problem sets in."""

    @property
    def name(self) -> str:
        """The environment that its problem sets belong to."""
        ...

    @property
    def counts(self) -> Mapping[tuple[str, int], int]:
        """(type folder, level) -> the number of problem sets in the test split at scale 1."""
        ...

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word of its descriptions, in lower case."""
        ...

    def sample(self, type: str, level: int, held_out: bool, rng: np.random.Generator) -> Draft:
        """Make a problem set; equal arguments and an equally seeded generator give an equal one."""
        ...


def draft_of(
    plays: Sequence[tuple[Sequence[tuple[Step, ...]], Episode]],
    texts: tuple[str, str],
    held_out: bool,
    rng: np.random.Generator,
) -> Draft:
    """Put a problem set together, labels and videos in random order, so that neither order says anything.

    Args:
        plays: Each episode with the steps of each description that is true of it.
        texts: The hint and the example for a chat judge.
        held_out: Whether it is about what occurs in no training video.
        rng: Shuffles.

    Returns:
        The problem set; labels are `a`, `b`, ... If an episode has several, descriptions speak of a part of a video.
    """
    options = list(dict.fromkeys(steps for says, _ in plays for steps in says))
    order = [options[index] for index in rng.permutation(len(options))]
    labels = {steps: chr(ord("a") + rank) for rank, steps in enumerate(order)}
    episodes = [(tuple(sorted(labels[steps] for steps in says)), episode) for says, episode in plays]
    shuffled = tuple(episodes[index] for index in rng.permutation(len(episodes)))
    wording = describe if all(len(says) == 1 for says, _ in plays) else describe_part
    return Draft({labels[steps]: steps for steps in order}, shuffled, *texts, held_out, wording)


def equal_lengths(
    plays: Sequence[Sequence[Sequence[Action]]], idle: Action, rng: np.random.Generator
) -> list[tuple[Action, ...]]:
    """Make plays equally long by waiting longer after random steps, so that no length gives a description away.

    Args:
        plays: For each play the actions of each of its steps.
        idle: The action that waits.
        rng: Chooses after which step to wait, for each missing action anew.

    Returns:
        The actions of each play, all equally many.

    Example:
        >>> equal_lengths([[["go", "stop"]], [["go", "go", "turn", "stop"]]], "wait", np.random.default_rng(0))
        [('go', 'stop', 'wait', 'wait'), ('go', 'go', 'turn', 'stop')]
    """
    lengths = [sum(map(len, parts)) for parts in plays]
    padded = []
    for parts, length in zip(plays, lengths, strict=True):
        waits = rng.multinomial(max(lengths) - length, [1 / len(parts)] * len(parts))
        padded.append(tuple(a for part, wait in zip(parts, waits, strict=True) for a in [*part, *[idle] * int(wait)]))
    return padded
