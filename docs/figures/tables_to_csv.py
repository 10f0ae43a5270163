"""Writes the numbers in the tables of a page of docs as a CSV file beside it.

    python docs/figures/tables_to_csv.py docs/results/partition_digits.md

For studies whose runs are gone: the file has what the page prints, no more, and says so in its last column. A cell is a
mean, with its 95 % interval if there is one, or values of single seeds between slashes. In the model card it is a mean
and a standard deviation over seeds, of seen combinations and after a slash of held-out ones. Studies that run now write
`results.csv` and `seeds.csv`, which belong beside the page instead.
"""

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

COLUMNS = ("table", "row", "column", "seed", "value", "ci_low", "ci_high", "source")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)"
_MEAN = re.compile(rf"({_NUMBER})(?: \(({_NUMBER}) to ({_NUMBER})\))?$")
_DEVIATION = re.compile(rf"({_NUMBER}) ± ({_NUMBER})$")


def tables(text: str) -> Iterator[list[list[str]]]:
    """Yield the tables of a Markdown text, as rows of cells."""
    lines: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            lines.append([cell.replace("**", "").strip() for cell in line.strip("|").split("|")])
        elif lines:
            yield [line for line in lines if not set("".join(line)) <= set("-: ")]
            lines = []


def numbers(cell: str) -> Iterator[Sequence[str]]:
    """Yield seed, value and the ends of the interval of the numbers in a cell; nothing for other text."""
    if found := _MEAN.match(cell):
        yield "", found[1], found[2] or "", found[3] or ""
    elif len(parts := re.split(r"\s*[/,]\s+", cell)) > 1 and all(re.fullmatch(_NUMBER, part) for part in parts):
        yield from ((str(seed), part, "", "") for seed, part in enumerate(parts))


def columns_of(head: str, cell: str) -> Iterator[Sequence[str]]:
    """Yield column and numbers of a cell; standard deviations and held-out combinations are columns of their own."""
    parts = cell.split(" / ")
    if not all(_DEVIATION.match(part) for part in parts):
        yield from ((head, *found) for found in numbers(cell))
        return
    if len(parts) > 2:
        raise ValueError(f"`{head}`: expected seen and held-out combinations, got {len(parts)} numbers in {cell!r}.")
    for part, suffix in zip(parts, ("", ", held out"), strict=False):
        value, deviation = part.split(" ± ")
        yield f"{head}{suffix}", "", value, "", ""
        yield f"{head}{suffix}, standard deviation", "", deviation, "", ""


def rows_of(text: str) -> list[list[str]]:
    """Return the rows of the CSV file for the text of a page."""
    return [
        [str(number), line[0], *found, "printed in the page"]
        for number, (heads, *lines) in enumerate(tables(text), 1)
        for line in lines
        for head, cell in zip(heads[1:], line[1:], strict=True)
        for found in columns_of(head, cell)
    ]


def main(pages: Sequence[str]) -> None:
    """Write the files."""
    for page in map(Path, pages):
        rows = rows_of(page.read_text(encoding="utf-8"))
        with page.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
        print(f"{page.with_suffix('.csv')}: {len(rows)} numbers")


if __name__ == "__main__":
    main(sys.argv[1:])
