"""CSV tables in which no text is a formula: a spreadsheet would run `=HYPERLINK(...)` in the name of a model."""

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: First characters that make a formula of a cell, in their full-width forms too.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001 # these forms are meant
_CONTROLS = ("\t", "\n")


def plain_cell(value: Any) -> Any:
    """Return the value of a cell, with an apostrophe before a text that a spreadsheet would take for a formula.

    Args:
        value: Value of the cell. Numbers, and texts that are numbers, stay as they are.

    Example:
        >>> plain_cell("=1+1"), plain_cell("-0.5"), plain_cell(-0.5), plain_cell("a = b")
        ("'=1+1", '-0.5', -0.5, 'a = b')
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # `csv` does not quote a lone carriage return
    if not text.lstrip().startswith(_FORMULA) and not text.startswith(_CONTROLS):
        return text
    return text if _is_number(text) else f"'{text}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def csv_text(rows: Iterable[Iterable[Any]], line_end: str = "\n") -> str:
    r"""Return rows as a CSV table without formulas.

    Args:
        rows: The rows, the first of them with the names of the columns.
        line_end: End of each line.

    Example:
        >>> csv_text([["model", "score"], ["=1+1", -0.5]])
        "model,score\n'=1+1,-0.5\n"
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=line_end).writerows([plain_cell(value) for value in row] for row in rows)
    return text.getvalue()


@contextmanager
def naming_table(path: Path) -> Iterator[None]:
    """Name a CSV table of numbers, which has no checksum, in errors of reading it.

    Args:
        path: The file.

    Raises:
        ValueError: If what is read is not such a table.

    Example:
        >>> with naming_table(Path("losses.csv")):
        ...     float("0.2x")
        Traceback (most recent call last):
            ...
        ValueError: losses.csv is damaged (ValueError: could not convert string to float: '0.2x'). Restore or remove it.
    """
    try:
        yield
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        shown = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged ({shown}). Restore or remove it.") from error
