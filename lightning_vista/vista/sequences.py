"""Descriptions of several steps in sequence, and of their beginnings; orders of steps."""

import re
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TypeVar

T = TypeVar("T")

#: Words between two steps, in the official wordings ("and finally, we" occurs in one of the environments).
_JOINT = re.compile(r",? (?P<words>(?:and )?(?:then|finally)),? ")
_WORDS = r",? (?:and )?(?:then|finally),? "
_SEQUENCE = re.compile(r"(?P<opening>.*?)\bfirst,? (?P<steps>.+)", re.IGNORECASE | re.DOTALL)


def describe_sequence(phrases: Sequence[str]) -> str:
    """Describe steps in sequence, in the official wording, with commas between the steps.

    Args:
        phrases: Words for each step, without a subject; at least one.

    Returns:
        One sentence.

    Raises:
        ValueError: If `phrases` is empty.

    Example:
        >>> describe_sequence(["open the box"])
        'We open the box'
        >>> describe_sequence(["open the box", "take the key", "leave"])
        'First, we open the box, then we take the key, and finally we leave'
    """
    if not phrases:
        raise ValueError("`phrases`: expected at least one step to describe, got none.")
    first, *others = phrases
    if not others:
        return f"We {first}"
    *middle, last = others
    end = f"and finally we {last}" if middle else f"and then we {last}"
    return ", ".join([f"First, we {first}", *(f"then we {phrase}" for phrase in middle), end])


def adjacent_swaps(steps: Sequence[T]) -> list[tuple[T, ...]]:
    """List the orders that differ from a sequence by one swap of neighbours.

    Example:
        >>> adjacent_swaps("abc") == [("b", "a", "c"), ("a", "c", "b")]
        True
    """
    return [(*steps[:i], steps[i + 1], steps[i], *steps[i + 2 :]) for i in range(len(steps) - 1)]


def beginnings(description: str) -> tuple[str, ...]:
    """Describe the first step of a sequence, its first two steps, and so on up to all of them.

    Args:
        description: Description in the official wording: "First, we ..., then we ..., and finally we ...", or "A video
            in which first we ..., and then we ...".

    Returns:
        One description for each step; the last is the given one. A description of a single step has only itself.

    Example:
        >>> beginnings("First, we open the box, then we take the key, and finally we close the box")[:2]
        ('We open the box', 'First, we open the box, and then we take the key')
        >>> beginnings("We open the box")
        ('We open the box',)
    """
    sequence = _SEQUENCE.fullmatch(description)
    steps = _JOINT.split(sequence["steps"])[::2] if sequence else []
    if sequence is None or len(steps) < 2:
        return (description,)
    opening, first = sequence["opening"], description[sequence.end("opening") : sequence.start("steps")]
    alone = steps[0] if opening else steps[0][:1].upper() + steps[0][1:]
    last = _JOINT.findall(sequence["steps"])[-1]
    several = [
        f"{opening}{first}{', then '.join(steps[: count - 1])}, {'and then' if count == 2 else last} {steps[count - 1]}"
        for count in range(2, len(steps))
    ]
    return (opening + alone, *several, description)


def marked_steps(description: str, reference: str) -> list[tuple[str, bool]]:
    """Split a description into pieces, and mark the steps that the reference lacks in their place.

    Args:
        description: Description in the official wording, see `beginnings`.
        reference: Description to compare with, step by step.

    Returns:
        Pieces of the description, in order, each with whether its steps differ from the reference's. Steps that differ
        one after another are one piece, with the words between them. Nothing is marked in descriptions of a single
        step, which differ as a whole.

    Example:
        >>> first = "First, we open the box, and then we take the key"
        >>> marked_steps("First, we open the box, and then we take the ball", first)
        [('First, we open the box, and then ', False), ('we take the ball', True)]
    """
    pieces, others = (re.split(rf"({_WORDS})", text) for text in (description, reference))
    if len(pieces) < 3:
        return [(description, False)]
    own, other = (
        [re.sub(r"^(.*\b)?first,? ", "", text, flags=re.IGNORECASE) for text in all] for all in (pieces, others)
    )
    differs = [place >= len(other) or own[place] != other[place] for place in range(len(pieces))]
    differs[1::2] = [before and after for before, after in zip(differs[:-2:2], differs[2::2], strict=True)]
    runs = groupby(zip(pieces, differs, strict=True), key=itemgetter(1))
    return [("".join(piece for piece, _ in run), is_marked) for is_marked, run in runs]
