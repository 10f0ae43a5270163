"""Which texts are to be forgotten."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning_vista.text.corpus import Record


def by_words(words: Sequence[str] | str, text_field: str = "text") -> Callable[[Record], bool]:
    """Forget texts in which one of some words occurs, whole and in upper or lower case.

    Args:
        words: The words or phrases, or the path of a file with one a line.
        text_field: The field of the text.

    Returns:
        Whether a record is to be forgotten.

    Raises:
        ValueError: If there are no words.

    Example:
        >>> is_forget = by_words(["tree", "trees"])
        >>> is_forget({"text": "Trees!"}), is_forget({"text": "A street."})
        (True, False)
    """
    if isinstance(words, str):
        words = Path(words).read_text(encoding="utf-8").splitlines()
    chosen = [re.escape(word.strip()) for word in words if word.strip()]
    if not chosen:
        raise ValueError("forget_words: expected at least one word, got none.")
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(chosen)})(?!\w)", re.IGNORECASE)
    return lambda record: pattern.search(_field(record, text_field)) is not None


def by_field(field: str, values: Sequence[Any]) -> Callable[[Record], bool]:
    """Forget texts that have one of some values in a field.

    Args:
        field: The field.
        values: The values.

    Returns:
        Whether a record is to be forgotten.
    """
    return lambda record: _field(record, field) in values


def _field(record: Record, field: str) -> Any:
    if field not in record:
        raise ValueError(f"Expected a field {field!r} in every text, got one with {sorted(record)}.")
    return record[field]
