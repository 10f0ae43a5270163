"""Plans of problem sets whose videos are sequences of single steps (ViSTa, section 3: general and permutation)."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import comb
from typing import Literal, TypeAlias

from lightning_vista.vista.sequences import adjacent_swaps
from lightning_vista.vista.step_clips import StepClip

SequenceKind: TypeAlias = Literal["general", "permutation"]
Steps: TypeAlias = tuple[str, ...]

#: Draws before a plan settles for fewer descriptions.
_TRIES = 400
#: Every third problem set of a split with held-out pairs has only them, as in the embedded dataset.
_HELD_OUT_EVERY = 3


@dataclass(frozen=True)
class PlannedVideo:
    """A video to compose.

    Attributes:
        steps: Its steps in order.
        clips: The clip of each step.
    """

    steps: Steps
    clips: tuple[StepClip, ...]


@dataclass(frozen=True)
class PlannedSet:
    """A problem set to compose.

    Attributes:
        name: Name, unique among those of its level and kind.
        level: Number of steps of each video.
        kind: `actions` for single steps, `general` or `permutation`.
        held_out: Whether every sequence has a pair of steps that occurs in no other set.
        tasks: The sequences to choose from, in random order.
        videos: Videos, in random order.
    """

    name: str
    level: int
    kind: str
    held_out: bool
    tasks: tuple[Steps, ...]
    videos: tuple[PlannedVideo, ...]


def held_out_pairs(steps: Sequence[str], longest: int, seed: int) -> set[frozenset[str]]:
    """Choose pairs of steps that no video of the training split shows together.

    The pairs have no step in common, and there are at most a third as many as steps, so that each ordinary sequence
    has to leave out at most one step of each.

    Args:
        steps: All steps.
        longest: Number of steps of the longest sequence; ordinary ones must still exist.
        seed: Random seed.

    Returns:
        The pairs, none if there are too few steps.

    Example:
        >>> len(held_out_pairs(["a", "b", "c", "d", "e", "f"], longest=4, seed=0))
        2
    """
    order = sorted(steps)
    random.Random(f"held out {seed}").shuffle(order)
    count = max(0, min(len(order) // 3, len(order) - longest))
    return {frozenset(order[2 * number : 2 * number + 2]) for number in range(count)}


def plan_sets(
    clips: Mapping[str, Sequence[StepClip]],
    levels: Sequence[int],
    kinds: Sequence[SequenceKind],
    *,
    num_sets: int,
    candidates: int,
    held_out: set[frozenset[str]],
    test: bool,
    seed: str,
) -> list[PlannedSet]:
    """Plan the problem sets of one split.

    Args:
        clips: Clips of each step.
        levels: Numbers of steps; 1 stands for one set of all steps with all clips.
        kinds: Kinds above level 1.
        num_sets: Number of problem sets of each level and kind.
        candidates: Number of descriptions of a general set, at most.
        held_out: Pairs of steps that ordinary sequences do not show together.
        test: Whether every third set consists of sequences with such pairs, as far as there are two such sequences.
        seed: Random seed, another one for each split.

    Returns:
        The plans, by level and kind.

    Raises:
        ValueError: If there are too few steps for a level.
    """
    found = [_single_steps(clips, seed)] if 1 in levels else []
    for level, kind in product(sorted(set(levels) - {1}), kinds):
        _check_level(level, len(clips), len(held_out))
        # With two steps and a single pair, the pair itself is the only choice of different steps.
        has_held_out = test and len(held_out) > (kind == "general" and level == 2)
        for number in range(num_sets):
            generator = random.Random(f"{seed} {level} {kind} {number}")
            is_held_out = has_held_out and number % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
            pool = _Pool(sorted(clips), level, held_out, is_held_out, generator)
            tasks = pool.general(candidates) if kind == "general" else pool.permutation()
            videos = _videos(tasks, kind, clips, generator)
            name = f"{kind}_{number:02d}{'_held_out' if is_held_out else ''}"
            found.append(PlannedSet(name, level, kind, is_held_out, tuple(tasks), tuple(videos)))
    return found


class _Pool:
    """Draws sequences of different steps for one problem set."""

    def __init__(
        self, steps: Sequence[str], level: int, pairs: set[frozenset[str]], held_out: bool, generator: random.Random
    ) -> None:
        self.steps, self.level, self.pairs, self.held_out, self.generator = steps, level, pairs, held_out, generator

    def fits(self, task: Sequence[str]) -> bool:
        """Tell whether a sequence has a held-out pair exactly where the set wants it."""
        return any(frozenset(pair) in self.pairs for pair in combinations(task, 2)) == self.held_out

    def draw(self) -> Steps:
        """Draw a sequence; half of the steps of a held-out one are free."""
        while True:
            order = list(self.steps)
            self.generator.shuffle(order)
            if self.held_out:
                pair = self.generator.choice(sorted(map(sorted, self.pairs)))
                task = [*pair, *(step for step in order if step not in pair)][: self.level]
            else:
                task = []
                for step in order:
                    if len(task) < self.level and self.fits([*task, step]):
                        task.append(step)
            self.generator.shuffle(task)
            if len(task) == self.level and self.fits(task):
                return tuple(task)

    def general(self, candidates: int) -> list[Steps]:
        """Draw sequences of different steps: distractors differ in one inner step from the first, or in many."""
        tasks = [self.draw()]
        for number in range(_TRIES):
            if len(tasks) == min(candidates, comb(len(self.steps), self.level)):
                break
            task = self._replaced(tasks[0]) if number % 2 == 0 else self.draw()
            # Sets of steps differ, so that no pair of descriptions differs in the order alone.
            if self.fits(task) and all(set(task) != set(other) for other in tasks):
                tasks.append(task)
        self.generator.shuffle(tasks)
        if len(tasks) < 2:
            raise ValueError(
                f"level {self.level}: expected steps for at least two sequences, got {len(self.steps)} steps. Add "
                "clips of other steps, or lower --levels."
            )
        return tasks

    def _replaced(self, task: Steps) -> Steps:
        """Replace one step, an inner one where there is one: the ends of the video say nothing then."""
        others = [step for step in self.steps if step not in task]
        place = self.generator.randrange(1, self.level - 1) if self.level > 2 else self.generator.randrange(self.level)
        return (*task[:place], self.generator.choice(others), *task[place + 1 :]) if others else task

    def permutation(self) -> list[Steps]:
        """Draw one sequence and orders that differ by one swap of neighbours: two, inner ones where there are any."""
        task = self.draw()
        swaps = adjacent_swaps(task)
        chosen = swaps[1:-1] or swaps  # with inner swaps alone, the ends of all orders are the same
        orders = [task, *self.generator.sample(chosen, min(2, len(chosen)))]
        self.generator.shuffle(orders)
        return orders


def _check_level(level: int, num_steps: int, num_pairs: int) -> None:
    if level < 1 or level > num_steps - num_pairs:
        raise ValueError(
            f"`levels`: expected 1 to {num_steps - num_pairs} with {num_steps} different steps, got {level}. Add clips "
            "of other steps."
        )


def _single_steps(clips: Mapping[str, Sequence[StepClip]], seed: str) -> PlannedSet:
    """Plan the set of level 1: every step is a description, every clip a video."""
    videos = [PlannedVideo((step,), (clip,)) for step, members in clips.items() for clip in members]
    tasks: list[Steps] = [(step,) for step in clips]
    generator = random.Random(f"{seed} 1")
    generator.shuffle(videos)
    generator.shuffle(tasks)
    return PlannedSet("steps", 1, "actions", False, tuple(tasks), tuple(videos))


def _videos(
    tasks: Sequence[Steps], kind: str, clips: Mapping[str, Sequence[StepClip]], generator: random.Random
) -> Iterator[PlannedVideo]:
    """Yield the videos of a set: one for each sequence, two where a permutation has two orders; shuffled.

    All orders of a permutation are made of the same clips, so that only the order differs.
    """
    rounds = 2 if kind == "permutation" and len(tasks) == 2 else 1
    videos: list[PlannedVideo] = []
    for _ in range(rounds):
        drawn = {step: generator.choice(clips[step]) for step in tasks[0]}
        for task in tasks:
            chosen = drawn if kind == "permutation" else {step: generator.choice(clips[step]) for step in task}
            video = PlannedVideo(task, tuple(chosen[step] for step in task))
            if video not in videos:
                videos.append(video)
    generator.shuffle(videos)
    yield from videos
