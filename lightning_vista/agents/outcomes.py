"""From the order in which an agent did the steps of a task to what came of it."""

from collections.abc import Sequence

#: Numbers of steps, in the order in which they happened.
Happened = tuple[int, ...]


def right_share(arrivals: Happened, level: int) -> float:
    """The true reward: the share of the steps that were done before the first one out of order.

    Args:
        arrivals: The steps in the order of their first times.
        level: How many steps the task has.

    Returns:
        0 to 1.

    Example:
        >>> [right_share(arrivals, 2) for arrivals in ((), (0,), (0, 1), (1, 0))]
        [0.0, 0.5, 1.0, 0.0]
    """
    return next((place for place, step in enumerate(arrivals) if step != place), len(arrivals)) / level


def outcome_shares(arrivals: Sequence[Happened], faced: Sequence[Happened], level: int) -> dict[str, float]:
    """How often an agent did what.

    Args:
        arrivals: For each episode the steps in the order of their first times; at least one episode.
        faced: For each episode the steps whose things it faced, if only in passing, with repetitions.
        level: How many steps the task has.

    Returns:
        Shares of the episodes. `success`, `wrong_order` (all steps, not in order), `some_steps` and `no_step` add up to
        1. `wrong_start` did another step first than the task's first one, whatever came of it; `in_passing` is no
        success, but a lenient viewer, who takes facing a thing in passing for going to it, would see the right order.

    Example:
        >>> shares = outcome_shares([(0, 1), (1, 0), (1,), ()], [(0, 1), (1, 0), (0, 1), ()], level=2)
        >>> shares["success"], shares["wrong_order"], shares["wrong_start"], shares["in_passing"]
        (0.25, 0.25, 0.5, 0.25)
    """
    right = tuple(range(level))
    found = {
        "success": [happened == right for happened in arrivals],
        "wrong_order": [len(happened) == level and happened != right for happened in arrivals],
        "some_steps": [0 < len(happened) < level for happened in arrivals],
        "no_step": [not happened for happened in arrivals],
        "wrong_start": [happened[:1] not in ((), (0,)) for happened in arrivals],
        "in_passing": [
            happened != right and _contains(seen, right) for happened, seen in zip(arrivals, faced, strict=True)
        ],
    }
    return {name: sum(episodes) / len(episodes) for name, episodes in found.items()}


def _contains(happened: Happened, steps: Happened) -> bool:
    """Whether steps happened one after the other, whatever else did."""
    rest = iter(happened)
    return all(step in rest for step in steps)
