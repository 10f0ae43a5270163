"""The videos of a problem set while it is put together, and the worlds that are made of such takes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Generic

import numpy as np

from lightning_vista.vista.mini.draft import Action, Draft, Episode, draft_of, equal_lengths
from lightning_vista.vista.mini.steps import Step

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
