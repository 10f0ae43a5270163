"""Shortcuts in problem sets of sequences: what a viewer could answer from a part of each video."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lightning_vista.vista.sequence_plans import PlannedSet, Steps

#: Cues: what a viewer sees of a sequence.
CUES: Mapping[str, Callable[[Steps], Hashable]] = {
    "first": lambda steps: steps[0],
    "last": lambda steps: steps[-1],
    "first_and_last": lambda steps: (steps[0], steps[-1]),
    "unordered": lambda steps: frozenset(steps),
}


@dataclass(frozen=True)
class Leak:
    """Accuracy of viewers who see a part of each video of a problem set.

    Attributes:
        problem_set: Id of the problem set.
        level: Its level.
        kind: Its kind.
        held_out: Whether it is a held-out one.
        chance: Accuracy of guessing.
        accuracies: Accuracy for each cue of `CUES`.
    """

    problem_set: str
    level: int
    kind: str
    held_out: bool
    chance: float
    accuracies: Mapping[str, float]


def find_leaks(id: str, plan: PlannedSet) -> Leak:
    """Compute the accuracy of perfect viewers of a part of each video.

    A viewer recognises the steps that it sees, drops the descriptions that contradict them, and guesses among the
    others. Real scorers recognise less, so these are upper bounds for what the first or last frames alone give away.

    Args:
        id: Id of the problem set.
        plan: Its plan.

    Returns:
        The accuracies, between chance and 1.

    Example:
        >>> from lightning_vista.vista.sequence_plans import PlannedVideo
        >>> tasks = (("a", "b"), ("b", "a"))
        >>> videos = tuple(PlannedVideo(task, ()) for task in tasks)
        >>> leak = find_leaks("x", PlannedSet("x", 2, "permutation", False, tasks, videos))
        >>> leak.chance, leak.accuracies["first"], leak.accuracies["unordered"]
        (0.5, 1.0, 0.5)
    """
    accuracies = {
        name: fmean(1 / sum(cue(task) == cue(video.steps) for task in plan.tasks) for video in plan.videos)
        for name, cue in CUES.items()
    }
    return Leak(id, plan.level, plan.kind, plan.held_out, 1 / len(plan.tasks), accuracies)


def leak_lines(leaks: Iterable[Leak]) -> list[str]:
    """Return a table of mean accuracies by level and kind, with a sentence on each that is solvable.

    Args:
        leaks: Leaks of all problem sets.
    """
    groups: dict[tuple[int, str], list[Leak]] = defaultdict(list)
    for leak in leaks:
        groups[leak.level, leak.kind].append(leak)
    lines = [f"{'level':>5}  {'kind':12}{'sets':>4}  {'chance':>7}" + "".join(f"{name:>16}" for name in CUES)]
    for (level, kind), members in sorted(groups.items()):
        means = {name: fmean(leak.accuracies[name] for leak in members) for name in CUES}
        chance = fmean(leak.chance for leak in members)
        cells = "".join(f"{mean:>16.2f}" for mean in means.values())
        lines.append(f"{level:>5}  {kind:12}{len(members):>4}  {chance:>7.2f}{cells}{_verdict(level, means)}")
    return lines


def _verdict(level: int, means: Mapping[str, float]) -> str:
    """Name the cues that give away every answer."""
    solving = [name for name, mean in means.items() if mean > 0.99] if level > 1 else []
    return f"  solvable by: {', '.join(solving)}" if solving else ""


def leak_rows(leaks: Sequence[Leak]) -> list[list[str | int | float | bool]]:
    """Return the rows of a table with a header, one for each problem set."""
    header: list[str | int | float | bool] = ["problem_set", "level", "kind", "held_out", "chance", *CUES]
    rows: list[list[str | int | float | bool]] = [
        [leak.problem_set, leak.level, leak.kind, leak.held_out, leak.chance, *leak.accuracies.values()]
        for leak in leaks
    ]
    return [header, *rows]
