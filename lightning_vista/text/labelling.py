"""Which texts are to be forgotten, and which of them are labelled."""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from lightning_vista.options import check_word
from lightning_vista.text.corpus import Record
from lightning_vista.text.rows import Row


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


#: What is known of a text, as `PartialLabels` takes it.
FORGET, RETAIN, UNLABELLED = 1, 0, -1
#: What to leave out of training: nothing, all texts to forget ("pure" training), or those labelled so (data filtering).
Exclude = Literal["nothing", "forget", "labelled_forget"]


@dataclass(frozen=True)
class Labelling:
    """How many texts are labelled, and how many of the labels are wrong; all between 0 and 1.

    Attributes:
        forget: How many of the texts to forget are labelled.
        retain: How many of the others.
        forget_as_retain: How many of the labelled texts to forget are labelled as retain: undiscovered ones.
        retain_as_forget: How many of the labelled others are labelled as forget.

    Raises:
        ValueError: If a share is not between 0 and 1.
    """

    forget: float = 1.0
    retain: float = 1.0
    forget_as_retain: float = 0.0
    retain_as_forget: float = 0.0

    def __post_init__(self) -> None:
        if wrong := {f.name: getattr(self, f.name) for f in fields(self) if not 0 <= getattr(self, f.name) <= 1}:
            raise ValueError(f"Expected shares between 0 and 1, got {wrong}.")

    def known(self, is_forget: bool, number: int, seed: int) -> int:
        """The label of a text. With larger shares, texts that were labelled stay so.

        Args:
            is_forget: What is true of the text.
            number: The number of the text.
            seed: Another seed labels other texts.

        Returns:
            1 labelled forget, 0 labelled retain, -1 unlabelled.

        Example:
            >>> Labelling().known(True, 0, seed=0), Labelling(forget=0).known(True, 0, seed=0)
            (1, -1)
        """
        rng = random.Random(f"{seed} {number}")
        share, wrong = (self.forget, self.forget_as_retain) if is_forget else (self.retain, self.retain_as_forget)
        if rng.random() >= share:
            return UNLABELLED
        return FORGET if is_forget != (rng.random() < wrong) else RETAIN


def label_rows(rows: Iterable[Row], labelling: Labelling, exclude: Exclude = "nothing", seed: int = 0) -> Iterator[Row]:
    """Label rows, all rows of a text alike, and leave some out.

    Args:
        rows: The rows.
        labelling: How.
        exclude: What to leave out.
        seed: Another seed labels other texts.

    Yields:
        The rows that stay.

    Raises:
        ValueError: If `exclude` is an unknown word.
    """
    check_word("exclude", exclude, get_args(Exclude))
    for row in rows:
        known = labelling.known(row.is_forget, row.number, seed)
        is_out = row.is_forget if exclude == "forget" else exclude == "labelled_forget" and known == FORGET
        if not is_out:
            yield row._replace(known=known)
