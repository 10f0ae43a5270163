"""Options that are words or counts, checked where they enter."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any


def check_word(option: str, value: Any, allowed: Collection[str]) -> None:
    """Refuse a word that an option does not know.

    Args:
        option: The name of the option.
        value: The value that was given.
        allowed: The words that it knows, such as `get_args` of a `Literal`.

    Raises:
        ValueError: If the value is not one of these words; names them, and the closest one.

    Example:
        >>> check_word("mode", "cut", ("zero", "mean", "slice"))
        Traceback (most recent call last):
        ValueError: `mode`: expected one of 'zero', 'mean', 'slice', got 'cut'.
    """
    if isinstance(value, str) and value in allowed:
        return
    close = get_close_matches(value, allowed, n=1) if isinstance(value, str) else []
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"`{option}`: expected one of {', '.join(map(repr, allowed))}, got {value!r}.{hint}")


def check_counts(**counts: int) -> None:
    """Refuse counts below 1.

    Args:
        counts: Option -> the value that was given.

    Raises:
        ValueError: If a value is below 1; names all of them.

    Example:
        >>> check_counts(steps=40, evaluate_every=0)
        Traceback (most recent call last):
        ValueError: `evaluate_every`: expected at least 1, got 0.
    """
    if faults := [f"`{name}`: expected at least 1, got {value}." for name, value in counts.items() if value < 1]:
        raise ValueError(" ".join(faults))
