"""The table of scorers as rewards: how often a right video gets the higher score."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lightning_vista.reports.page.cast import Member
from lightning_vista.reports.page.track import Dot, draw_track
from lightning_vista.reports.page.type_table import KIND_TITLES
from lightning_vista.reports.style import interval
from lightning_vista.reports.view import Row, View, number
from lightning_vista.vista import KINDS


@dataclass(frozen=True)
class RewardTable:
    """AUC by kind, and a table of all figures.

    Attributes:
        kinds: Titles of the kinds, with their numbers of problem sets.
        rows: Scorer, and for each kind its picture and number.
        columns: Heads of the table of all figures.
        cells: Rows of that table.
        successes: Rows of the table of success by a threshold, with the columns `SUCCESS_COLUMNS`.
    """

    kinds: Sequence[tuple[str, int]]
    rows: Sequence[tuple[Member, Sequence[tuple[Markup, str] | None]]]
    columns: Sequence[str]
    cells: Sequence[Sequence[str]]
    successes: Sequence[Sequence[str]]


SUCCESS_COLUMNS = (
    *("Scorer", "Kind", "Threshold", "Balanced accuracy", "Accuracy", "F1"),
    *("True positives", "False positives", "True negatives", "False negatives", "Unscored", "Problem sets"),
)


def reward_table(view: View, judges: Sequence[Member], environment: str) -> RewardTable:
    """Build the table of an environment; without rows if it lacks figures."""
    found = {
        member.name: [
            row for row in view.compared(member.name).get("reward_quality", ()) if row["environment"] == environment
        ]
        for member in judges
    }
    auc = {
        name: {row["kind"]: row for row in rows if row["figure"] == "auc" and row["level"] == "all"}
        for name, rows in found.items()
    }
    kinds = [kind for kind in KINDS if any(kind in rows for rows in auc.values())]
    sizes = [max(int(rows[kind]["problem_sets"]) for rows in auc.values() if kind in rows) for kind in kinds]
    rows = [
        (member, [_auc(member, auc[member.name].get(kind)) for kind in kinds]) for member in judges if auc[member.name]
    ]
    columns = ("Scorer", "Kind", "Level", "AUC", "95% interval", "Rank accuracy", "Margin", "Problem sets")
    cells = [row for member in judges for row in _figures(member.label, found[member.name])]
    titles = [(KIND_TITLES[kind], size) for kind, size in zip(kinds, sizes, strict=True)]
    successes = [row for member in judges for row in _success(member, view, environment)]
    return RewardTable(titles, rows, columns, cells, successes)


def _success(member: Member, view: View, environment: str) -> list[tuple[str, ...]]:
    """Return the rows of success by a threshold, over all levels, with all of the scorer's problem sets."""
    rows = []
    for row in view.models[member.name].get("success_threshold", ()):
        if (row["environment"], row["level"]) == (environment, "all"):
            (true_negatives, false_positives), (false_negatives, true_positives) = row["confusion"]
            counts = (true_positives, false_positives, true_negatives, false_negatives)
            shares = (row["balanced_accuracy"], row["accuracy"], row["f1"])
            figures = (f"{value:.3f}" for value in (row["threshold"], *shares))
            numbers = (str(count) for count in (*counts, row["unscored"], row["problem_sets"]))
            rows.append((member.label, KIND_TITLES[row["kind"]], *figures, *numbers))
    return rows


def _auc(member: Member, row: Row | None) -> tuple[Markup, str] | None:
    """Return the picture and the number of one kind; the tick at 0.5 is the level of chance."""
    if row is None or (mean := number(row["mean"])) is None:
        return None
    said = f"{member.name}: AUC {mean:.2f} ({interval(row, '.2f')})"
    dot = Dot(mean, number(row["ci_low"]), number(row["ci_high"]))
    return draw_track(said, [dot], member.look.colour, member.look.symbol, chance=0.5), f"{mean:.2f}"


def _figures(name: str, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return one row for each kind and level, in the order of the results."""
    by_cell: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        by_cell.setdefault((row["kind"], str(row["level"])), {})[row["figure"]] = row
    return [
        (
            name,
            KIND_TITLES[kind],
            level,
            _three(own.get("auc")),
            interval(own["auc"]) if "auc" in own else "–",  # noqa: RUF001  no value
            _three(own.get("rank_accuracy")),
            _three(own.get("margin")),
            str(max(int(row["problem_sets"]) for row in own.values())),
        )
        for (kind, level), own in by_cell.items()
    ]


def _three(row: Row | None) -> str:
    mean = number(row["mean"]) if row else None
    return "–" if mean is None else f"{mean:.3f}"  # noqa: RUF001  no value
