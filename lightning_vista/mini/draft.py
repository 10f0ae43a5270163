"""Drafts of problem sets, and how they are put together from takes.

A new world is one file in `lightning_vista/envs` and one beside this that ends in an object with the attributes of
`World`, named in `lightning_vista.mini.slots.WORLDS`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightning_vista.mini.steps import Step, describe, describe_part
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


_TRIES = 1000


@dataclass(frozen=True)
class Take(Generic[Action]):
    """One video to be.

    Attributes:
        says: The steps of each description that is true of it.
        play: Makes an episode of actions.
        parts: The actions, in parts after which one may wait longer.
    """

    says: tuple[tuple[Step, ...], ...]
    play: Callable[[tuple[Action, ...]], Episode]
    parts: Sequence[Sequence[Action]]

    @cached_property
    def episode(self) -> Episode:
        """The video before pauses are made longer."""
        return self.play(tuple(chain.from_iterable(self.parts)))

    def is_apart(self, other: "Take[Action]") -> bool:
        """Whether neither take could be said to show what the other says."""
        return not any(
            one.episode.resembles(steps) for one, two in ((self, other), (other, self)) for steps in two.says
        )


def all_apart(takes: Iterable[Take[Action] | None]) -> list[Take[Action]]:
    """All takes, or none if one of them failed or could be taken for another."""
    found: list[Take[Action]] = []
    for take in takes:
        if take is None or not all(take.is_apart(other) for other in found):
            return []
        found.append(take)
    return found


def first_apart(takes: Iterable[Take[Action] | None], count: int) -> list[Take[Action]]:
    """The first `count` takes that succeeded and could not be taken for one another, or none if there are fewer."""
    found: list[Take[Action]] = []
    for take in takes:
        if take is not None and all(take.is_apart(other) for other in found):
            found.append(take)
        if len(found) == count:
            return found
    return []


@dataclass(frozen=True)
class StagedWorld(Generic[Action]):
    """A `World` whose problem sets are sampled take by take.

    Attributes:
        name: The environment that its problem sets belong to.
        counts: (type folder, level) -> the number of problem sets in the test split at scale 1.
        vocabulary: Every word of its descriptions.
        texts: The hint and the example for a chat judge.
        idle: The action that waits.
        sample_takes: (type, level, held out, generator) -> the takes of a problem set, none after a dead end.
    """

    name: str
    counts: Mapping[tuple[str, int], int]
    vocabulary: tuple[str, ...]
    texts: tuple[str, str]
    idle: Action
    sample_takes: Callable[[str, int, bool, np.random.Generator], list[Take[Action]]]

    def sample(self, type: str, level: int, held_out: bool, rng: np.random.Generator) -> Draft:
        """Make a problem set, its videos all equally long.

        Args:
            type: The type folder; with `level` a key of `counts`.
            level: The number of steps.
            held_out: Whether it is about what occurs in no training video.
            rng: All randomness comes from it.

        Returns:
            The problem set.

        Raises:
            ValueError: If the world has no such problem sets.
        """
        if (type, level) not in self.counts:
            known = ", ".join(f"{name} at level {number}" for name, number in self.counts)
            raise ValueError(f"The {self.name} world has no problem sets {type!r} at level {level}; it has {known}.")
        for _ in range(_TRIES):
            takes = self.sample_takes(type, level, held_out, rng)
            if takes:
                actions = equal_lengths([take.parts for take in takes], self.idle, rng)
                plays = [(take.says, take.play(played)) for take, played in zip(takes, actions, strict=True)]
                return draft_of(plays, self.texts, held_out, rng)
        raise RuntimeError(f"No {type!r} set at level {level} in {_TRIES} tries: the world is too full for it.")
