"""Selection of the texts to forget, and their labels."""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_vista.options import check_word
from lightning_vista.text.corpus import Record
from lightning_vista.text.naive_bayes import naive_bayes
from lightning_vista.text.rows import Row


def by_words(words: Sequence[str] | str, text_field: str = "text") -> Callable[[Record], bool]:
    """Select texts to forget by words, which occur as a whole and in upper or lower case.

    Args:
        words: Words or phrases, or the path of a file with one per line.
        text_field: Field of the text.

    Returns:
        A function that tells whether to forget a record.

    Raises:
        ValueError: If the words are empty.

    Example:
        >>> is_forget = by_words(["tree", "trees"])
        >>> is_forget({"text": "Trees!"}), is_forget({"text": "A street."})
        (True, False)
    """
    chosen = "|".join(map(re.escape, read_words(words)))
    pattern = re.compile(rf"(?<!\w)(?:{chosen})(?!\w)", re.IGNORECASE)
    return lambda record: pattern.search(_field(record, text_field)) is not None


def read_words(words: Sequence[str] | str) -> list[str]:
    """Return the words of a list or file.

    Args:
        words: Words or phrases, or the path of a file with one per line.

    Raises:
        ValueError: If there are none.
    """
    if isinstance(words, str):
        # Without the mark that some editors put first, and not splitlines, which divides at more than line ends.
        words = Path(words).read_text(encoding="utf-8-sig").split("\n")
    chosen = [word.strip() for word in words if word.strip()]
    if not chosen:
        raise ValueError("`forget_words`: expected at least one word, got none. Omit the option to select by field.")
    return chosen


def by_field(field: str, values: Sequence[Any]) -> Callable[[Record], bool]:
    """Select texts to forget by the values of a field.

    Args:
        field: The field. A text without a value is an error, unless null is one of the values.
        values: Values whose texts are to be forgotten.

    Returns:
        A function that tells whether to forget a record.
    """

    def is_forget(record: Record) -> bool:
        value = _field(record, field)
        # A table has null where a line of JSON has no such field: neither says that the text is to be retained.
        if value is None and None not in values:
            raise ValueError(
                f"`{field}`: expected a value in every text, got null in {str(dict(record))[:200]}. Add it."
            )
        return value in values

    return is_forget


def _field(record: Record, field: str) -> Any:
    if field not in record:
        raise ValueError(
            f"`{field}`: expected this field in every text, got one with {sorted(record)}. Name another field."
        )
    return record[field]


def draw_texts(records: Iterable[Record], is_forget: Callable[[Record], bool], count: int, seed: int) -> list[Record]:
    """Draw as many texts to forget as texts to retain.

    Args:
        records: The texts.
        is_forget: Function that tells whether to forget a record.
        count: Number of texts of each kind; larger draws include smaller ones.
        seed: Random seed of the draw.

    Returns:
        The texts, `2 * count`.

    Raises:
        ValueError: If there are fewer of one kind.
    """
    kinds: dict[bool, list[Record]] = {True: [], False: []}
    for record in records:
        kinds[is_forget(record)].append(record)
    if (fewest := min(map(len, kinds.values()))) < count:
        raise ValueError(
            f"`num_texts`: expected at most {fewest}, since there are {len(kinds[True])} texts to forget and "
            f"{len(kinds[False])} to retain, got {count}."
        )
    for texts in kinds.values():
        random.Random(seed).shuffle(texts)
    return [*kinds[True][:count], *kinds[False][:count]]


#: Labels of texts, as `PartialLabels` takes them.
FORGET, RETAIN, UNLABELLED = 1, 0, -1
#: Texts to exclude from training: none, all texts to forget ("pure" training), or those labelled so (data filtering).
Exclude = Literal["nothing", "forget", "labelled_forget"]


@dataclass(frozen=True)
class Labelling:
    """Shares of labelled texts and of wrong labels, all between 0 and 1, and the extension of labels.

    Attributes:
        forget: Share of the texts to forget that are labelled.
        retain: Share of the texts to retain that are labelled.
        forget_as_retain: Share of the labelled texts to forget that are undiscovered, and so labelled as retain.
        retain_as_forget: Share of the labelled texts to retain that are labelled as forget.
        extend: Whether unlabelled texts that naive Bayes takes for texts to forget are labelled so, too. It learns from
            the labelled ones: what anybody can do who has these labels.

    Raises:
        ValueError: If a share is not between 0 and 1.
    """

    forget: float = 1.0
    retain: float = 1.0
    forget_as_retain: float = 0.0
    retain_as_forget: float = 0.0
    extend: bool = False

    def __post_init__(self) -> None:
        if wrong := {f.name: getattr(self, f.name) for f in fields(self) if not 0 <= getattr(self, f.name) <= 1}:
            raise ValueError(f"`labelling`: expected shares between 0 and 1, got {wrong}.")

    def known(self, is_forget: bool, number: int, seed: int) -> int:
        """Return the label of a text. With larger shares, labelled texts stay labelled.

        Args:
            is_forget: Whether the text is truly to be forgotten.
            number: Number of the text.
            seed: Random seed of the labels.

        Returns:
            1 for labelled forget, 0 for labelled retain, -1 for unlabelled.

        Example:
            >>> Labelling().known(True, 0, seed=0), Labelling(forget=0).known(True, 0, seed=0)
            (1, -1)
        """
        rng = random.Random(f"{seed} {number}")
        share, wrong = (self.forget, self.forget_as_retain) if is_forget else (self.retain, self.retain_as_forget)
        # The same number is compared with every share, so that larger shares include the texts of smaller ones.
        if rng.random() >= share:
            return UNLABELLED
        return FORGET if is_forget != (rng.random() < wrong) else RETAIN


def label_rows(rows: Iterable[Row], labelling: Labelling, exclude: Exclude = "nothing", seed: int = 0) -> Iterator[Row]:
    """Label rows, all rows of a text alike, and exclude some.

    Args:
        rows: The rows.
        labelling: Shares of labels and of wrong labels.
        exclude: Rows to exclude.
        seed: Random seed of the labels.

    Yields:
        The remaining rows, with their labels.

    Raises:
        ValueError: If `exclude` is an unknown word.
    """
    check_word("exclude", exclude, get_args(Exclude))
    labelled: Iterable[Row] = (row._replace(known=labelling.known(row.is_forget, row.number, seed)) for row in rows)
    for row in _extend_labels(list(labelled)) if labelling.extend else labelled:
        is_out = row.is_forget if exclude == "forget" else exclude == "labelled_forget" and row.known == FORGET
        if not is_out:
            yield row


def _extend_labels(rows: Sequence[Row]) -> list[Row]:
    """Label unlabelled texts as texts to forget where they look like the labelled ones, each with all its rows.

    Texts that look like those to retain stay unlabelled: they keep their place in the order of training.
    """
    parts: dict[int, list[Tensor]] = {}
    for row in rows:
        parts.setdefault(row.number, []).append(row.tokens)
    texts = {number: torch.cat(tokens) for number, tokens in parts.items()}
    labels = {row.number: row.known == FORGET for row in rows if row.known != UNLABELLED}
    others = [number for number in texts if number not in labels]
    guesses = naive_bayes(
        [texts[number] for number in labels], [*labels.values()], [texts[number] for number in others]
    )
    found = {number for number, is_forget in zip(others, guesses, strict=True) if is_forget}
    return [row._replace(known=FORGET) if row.number in found else row for row in rows]
