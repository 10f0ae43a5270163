"""Drafts of problem sets, and their assembly from takes.

A new world is a file with its environment and a file that ends in an object with the attributes of `World`. Name it in
`lightning_vista.mini.slots.WORLDS`.
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
    """Episode in a world, from a start scene and actions."""

    def frames(self) -> NDArray[np.uint8]:
        """Return the video, RGB `(frames, height, width, 3)`, uint8, with even height and width."""
        ...

    def shows(self, steps: Sequence[Step]) -> bool:
        """Check whether exactly these steps happened, in this order: the strict reading."""
        ...

    def resembles(self, steps: Sequence[Step]) -> bool:
        """Check whether a lenient viewer could see these steps, in this order, among other things."""
        ...


@dataclass(frozen=True)
class Draft:
    """Problem set with episodes in place of videos.

    Attributes:
        steps: Steps of the description of each label.
        episodes: Episodes, each with its true labels.
        hint: Text that a chat scorer gets before the frames.
        example: Worked example for a chat scorer.
        held_out: Whether its content is in no training video.
        wording: Function that describes steps.
    """

    steps: Mapping[str, tuple[Step, ...]]
    episodes: tuple[tuple[tuple[str, ...], Episode], ...]
    hint: str
    example: str
    held_out: bool = False
    wording: Callable[[Sequence[Step]], str] = describe

    @property
    def descriptions(self) -> dict[str, str]:
        """Description of each label."""
        return {label: self.wording(steps) for label, steps in self.steps.items()}

    def problem_set(self, id: str) -> ProblemSet:
        """Return the problem set with this id, whose video `n` is `<id without its environment>/<n>.mp4`."""
        folder = id.partition("/")[2]
        videos = [LabelledVideo(f"{folder}/{n}.mp4", labels) for n, (labels, _) in enumerate(self.episodes)]
        extra = {"metadata": {"held_out": self.held_out}}
        return ProblemSet(id, self.descriptions, tuple(videos), self.hint, self.example, extra)


class World(Protocol):
    """World that makes problem sets."""

    @property
    def name(self) -> str:
        """Environment of its problem sets."""
        ...

    @property
    def counts(self) -> Mapping[tuple[str, int], int]:
        """Number of problem sets in the test split at scale 1, for each type folder and level."""
        ...

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All words of its descriptions, in lower case."""
        ...

    def sample(self, type: str, level: int, held_out: bool, rng: np.random.Generator) -> Draft:
        """Make a problem set, which is equal for equal arguments and an equally seeded generator."""
        ...


def draft_of(
    plays: Sequence[tuple[Sequence[tuple[Step, ...]], Episode]],
    texts: tuple[str, str],
    held_out: bool,
    rng: np.random.Generator,
) -> Draft:
    """Put a problem set together, with labels and videos in random order, so that no order is informative.

    Args:
        plays: Episodes, each with the steps of its true descriptions.
        texts: Hint and example for a chat scorer.
        held_out: Whether its content is in no training video.
        rng: Random generator of the orders.

    Returns:
        The problem set, with labels `a`, `b`, ... If an episode has several, descriptions describe a part of a video.
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
    """Make plays equally long by longer waits after random steps, so that the length does not reveal a description.

    Args:
        plays: Actions of each step of each play.
        idle: Action that waits.
        rng: Random generator of the step after which to wait, drawn for each missing action.

    Returns:
        Actions of each play, all equally many.

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
    """Candidate for a video.

    Attributes:
        says: Steps of each true description.
        play: Function that makes an episode of actions.
        parts: Actions, in parts that may be followed by a longer wait.
    """

    says: tuple[tuple[Step, ...], ...]
    play: Callable[[tuple[Action, ...]], Episode]
    parts: Sequence[Sequence[Action]]

    @cached_property
    def episode(self) -> Episode:
        """Episode before pauses are made longer."""
        return self.play(tuple(chain.from_iterable(self.parts)))

    def is_apart(self, other: "Take[Action]") -> bool:
        """Check whether neither take could be seen to show a description of the other."""
        return not any(
            one.episode.resembles(steps) for one, two in ((self, other), (other, self)) for steps in two.says
        )


def all_apart(takes: Iterable[Take[Action] | None]) -> list[Take[Action]]:
    """Return all takes, or none if one of them failed or could be mistaken for another."""
    found: list[Take[Action]] = []
    for take in takes:
        if take is None or not all(take.is_apart(other) for other in found):
            return []
        found.append(take)
    return found


def first_apart(takes: Iterable[Take[Action] | None], count: int) -> list[Take[Action]]:
    """Return the first `count` takes that succeeded and are not mistakable for each other, or none if too few."""
    found: list[Take[Action]] = []
    for take in takes:
        if take is not None and all(take.is_apart(other) for other in found):
            found.append(take)
        if len(found) == count:
            return found
    return []


@dataclass(frozen=True)
class StagedWorld(Generic[Action]):
    """`World` whose problem sets are sampled take by take.

    Attributes:
        name: Environment of its problem sets.
        counts: Number of problem sets in the test split at scale 1, for each type folder and level.
        vocabulary: All words of its descriptions.
        texts: Hint and example for a chat scorer.
        idle: Action that waits.
        sample_takes: Function from (type, level, held out, generator) to the takes of a problem set, which are empty
            after a dead end.
    """

    name: str
    counts: Mapping[tuple[str, int], int]
    vocabulary: tuple[str, ...]
    texts: tuple[str, str]
    idle: Action
    sample_takes: Callable[[str, int, bool, np.random.Generator], list[Take[Action]]]

    def sample(self, type: str, level: int, held_out: bool, rng: np.random.Generator) -> Draft:
        """Make a problem set of equally long videos.

        Args:
            type: Type folder, which is with `level` a key of `counts`.
            level: Number of steps.
            held_out: Whether its content must be in no training video.
            rng: Random generator.

        Returns:
            The problem set.

        Raises:
            ValueError: If the world does not have such problem sets.
        """
        if (type, level) not in self.counts:
            known = ", ".join(f"{name} at level {number}" for name, number in self.counts)
            raise ValueError(
                f"`type`, `level`: expected problem sets of the {self.name} world ({known}), got {type!r} at "
                f"level {level}."
            )
        for _ in range(_TRIES):
            takes = self.sample_takes(type, level, held_out, rng)
            if takes:
                actions = equal_lengths([take.parts for take in takes], self.idle, rng)
                plays = [(take.says, take.play(played)) for take, played in zip(takes, actions, strict=True)]
                return draft_of(plays, self.texts, held_out, rng)
        raise RuntimeError(
            f"`{type}`: expected a problem set at level {level} in {_TRIES} tries, got none. The world is too full."
        )
