"""The matrix of paired differences: each scorer minus each other model, over the sets that both have scored."""

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_vista.reports.page.cast import Member
from lightning_vista.reports.style import interval
from lightning_vista.reports.view import View, number


@dataclass(frozen=True)
class Difference:
    """One cell.

    Attributes:
        text: Mean difference in macro F1, with its sign.
        note: Interval and number of problem sets.
        tone: `up` or `down` where the interval leaves 0 out, else `none`.
    """

    text: str
    note: str
    tone: str


@dataclass(frozen=True)
class DifferenceMatrix:
    """The matrix: rows are scorers, columns all models; a cell without a figure is None."""

    columns: Sequence[Member]
    rows: Sequence[tuple[Member, Sequence[Difference | None]]]


def difference_matrix(view: View, members: Sequence[Member], environment: str) -> DifferenceMatrix:
    """Build the matrix of an environment; without rows if there is nothing to compare."""
    places = {member.name: place for place, member in enumerate(members)}
    rows: list[tuple[Member, Sequence[Difference | None]]] = []
    for member in members:
        if member.name not in view.scorers:
            continue
        cells: list[Difference | None] = [None] * len(members)
        for row in view.models[member.name].get("differences", ()):
            if (row["environment"], row["level"], row["kind"]) != (environment, "all", "all"):
                continue
            if row["other"] not in places:  # a scorer without some of its modules
                continue
            mean, low, high = (number(row[key]) for key in ("mean_difference", "ci_low", "ci_high"))
            if mean is not None:
                tone = "none" if low is None or high is None or low <= 0 <= high else "up" if low > 0 else "down"
                note = f"{interval(row, '+.2f')}, n = {row['problem_sets']}"
                cells[places[row["other"]]] = Difference(f"{mean:+.2f}", note, tone)
        if any(cells):
            rows.append((member, cells))
    return DifferenceMatrix(members, rows)
