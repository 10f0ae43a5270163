"""CSV tables in which no text is a formula: a spreadsheet would run `=HYPERLINK(...)` in the name of a model."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

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


class TableWriter:
    """A writer of rows, like `csv.writer`, with lines that end in a line feed.

    Args:
        file: Text file, opened with `newline=""`.
    """

    def __init__(self, file: IO[str]) -> None:
        self._writer = csv.writer(file, lineterminator="\n")

    def writerow(self, row: Iterable[Any]) -> None:
        """Write a row."""
        self._writer.writerow([plain_cell(value) for value in row])

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write rows."""
        for row in rows:
            self.writerow(row)


class RecordWriter:
    """A writer of mappings, like `csv.DictWriter`: the value of every column, empty where there is none.

    Args:
        file: Text file, opened with `newline=""`.
        columns: The columns.
        ignore_others: Whether to leave other keys out; else they are refused.
    """

    def __init__(self, file: IO[str], columns: Iterable[str], ignore_others: bool = False) -> None:
        self._columns: Sequence[str] = list(columns)
        self._ignore_others = ignore_others
        self._table = TableWriter(file)

    def writeheader(self) -> None:
        """Write the names of the columns."""
        self._table.writerow(self._columns)

    def writerows(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write records.

        Raises:
            ValueError: If a record has a key without a column.
        """
        for record in records:
            if not self._ignore_others and (others := record.keys() - set(self._columns)):
                raise ValueError(f"`records`: expected the columns {self._columns}, got also {sorted(others)}.")
            self._table.writerow(record.get(column, "") for column in self._columns)
