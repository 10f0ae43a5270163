"""Tables by kind and by official type, the latter with seen and held-out combinations as pairs of dots."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lightning_vista.reports.page.cast import Member
from lightning_vista.reports.page.track import Dot, draw_track
from lightning_vista.reports.page.verdict_table import aspect_rows
from lightning_vista.reports.style import interval
from lightning_vista.reports.view import Row, View, number
from lightning_vista.vista import KINDS

KIND_TITLES = {"all": "Overall"} | {kind: kind.capitalize() for kind in KINDS}


@dataclass(frozen=True)
class Figure:
    """A number of the overview.

    Attributes:
        text: Mean macro F1.
        corrected: (F1 - chance) / (1 - chance): 0 is chance and 1 is perfect.
        note: Interval in words.
        key: Value to sort by; None sorts last.
        corrected_key: Corrected value to sort by.
    """

    text: str
    corrected: str
    note: str
    key: float | None
    corrected_key: float | None


@dataclass(frozen=True)
class Overview:
    """Mean macro F1 by kind.

    Attributes:
        columns: Heads, with the numbers of problem sets.
        rows: Model, figures, and its numbers of unscored videos and ties.
        has_unscored: Whether a video is unscored.
        has_ties: Whether there is a tie.
    """

    columns: Sequence[tuple[str, int]]
    rows: Sequence[tuple[Member, Sequence[Figure | None], int, int]]
    has_unscored: bool
    has_ties: bool


@dataclass(frozen=True)
class TypeRow:
    """One official type.

    Attributes:
        name: Name of its folder.
        sets: Number of problem sets.
        split: Numbers of seen and held-out sets in words; empty without a split.
        cells: For each scorer its picture and its numbers; None without figures.
    """

    name: str
    sets: int
    split: str
    cells: Sequence[tuple[Markup, str] | None]


def overview(view: View, members: Sequence[Member], environment: str) -> Overview:
    """Build the overview: `order` where it has its own column, all kinds together, and every kind."""
    kinds = ["all", *view.kinds_at(environment)]
    order = {member.name: aspect_rows(view, member.name, environment).get("order") for member in members}
    # The trace-free sets are a part of the permutation sets, so they have their own column.
    has_order = view.has_common and any(
        row is not None and row["problem_sets"] != view.num_sets(environment, kind="permutation")
        for row in order.values()
    )
    columns = [(KIND_TITLES[kind], view.num_sets(environment, kind=kind)) for kind in kinds]
    if has_order:
        columns.insert(0, ("Trace-free order", max(row["problem_sets"] for row in order.values() if row)))
    rows = []
    for member in members:
        figures = [_figure(view, member.name, environment, kind) for kind in kinds]
        if has_order:
            figures.insert(0, _order_figure(order[member.name], view, environment, member))
        counts = view.counts(member.name, environment)
        own = (0, 0) if member.is_baseline else (counts.unscored, counts.ties)
        if any(figures):
            rows.append((member, figures, *own))
    return Overview(columns, rows, any(row[2] for row in rows), any(row[3] for row in rows))


def type_rows(view: View, judges: Sequence[Member], environment: str) -> list[TypeRow]:
    """Return a row for each official type that the environment has, in the order of the levels."""
    found: dict[str, dict[str, dict[str, Row]]] = {}
    for member in judges:
        for row in view.chance_rows(member.name, "types"):
            if row["environment"] == environment:
                found.setdefault(row["type"], {}).setdefault(member.name, {})[row["split"]] = row
    rows = []
    for name, by_model in found.items():
        sizes = {
            split: max(own[split]["problem_sets"] for own in by_model.values() if split in own)
            for split in _SPLITS
            if any(split in own for own in by_model.values())
        }
        split = f"{sizes['seen']} seen, {sizes['held_out']} held out" if {"seen", "held_out"} <= set(sizes) else ""
        cells = [_type_cell(member, by_model.get(member.name)) for member in judges]
        rows.append(TypeRow(name, sizes["all"], split, cells))
    return rows


_SPLITS = ("all", "seen", "held_out")


def _type_cell(member: Member, found: dict[str, Row] | None) -> tuple[Markup, str] | None:
    """Return the picture and the numbers of a scorer on a type."""
    if not found:
        return None
    pair = [found[split] for split in ("seen", "held_out") if split in found]
    chance = float(found["all"]["chance"])
    colour, symbol = member.look.colour, member.look.symbol
    if len(pair) == 2:
        seen, held_out = (number(row["mean_macro_f1"]) for row in pair)
        text = f"{_two(seen)} / {_two(held_out)}"
        dots = [Dot(seen), Dot(held_out, is_hollow=True)]
        return draw_track(
            f"{member.name}: seen / held out {text}, chance {chance:.2f}", dots, colour, symbol, chance
        ), text
    row = found["all"]
    mean = number(row["mean_macro_f1"])
    dot = Dot(mean, number(row["ci_low"]), number(row["ci_high"]))
    return draw_track(f"{member.name}: {_two(mean)}, chance {chance:.2f}", [dot], colour, symbol, chance), _two(mean)


def _figure(view: View, model: str, environment: str, kind: str) -> Figure | None:
    row, chance = view.row(model, environment, kind=kind), view.row("random", environment, kind=kind)
    if row is None or (mean := number(row["mean_macro_f1"])) is None:
        return None
    return _corrected(mean, number(chance["mean_macro_f1"]) if chance else None, row)


def _order_figure(row: Row | None, view: View, environment: str, member: Member) -> Figure | None:
    """Return the figure on trace-free orders; of the baselines from `order_leak`, since they have no verdicts."""
    if row is not None:
        return _corrected(float(row["mean_macro_f1"]), float(row["chance"]), row)
    leaks = {
        name: next(
            (
                leak
                for leak in view.compared(name).get("order_leak", ())
                if (leak["environment"], leak["split"], leak["level"]) == (environment, "go_only", "all")
            ),
            None,
        )
        for name in (member.name, "random")
    }
    own, chance = leaks[member.name], leaks["random"]
    return _corrected(own["mean_macro_f1"], chance["mean_macro_f1"] if chance else None, own) if own else None


def _corrected(mean: float, chance: float | None, row: Row) -> Figure:
    fixed = None if chance is None or chance >= 1 else (mean - chance) / (1 - chance)
    return Figure(
        f"{mean:.2f}", _two(fixed), interval(row, ".2f"), round(mean, 4), None if fixed is None else round(fixed, 4)
    )


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"  # noqa: RUF001  no value
