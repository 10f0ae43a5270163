"""Small plots over the number of steps, one for each scorer, each with a table of its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lightning_vista.reports.page.cast import Member
from lightning_vista.reports.page.level_plot import LevelPoint, Line, draw_levels
from lightning_vista.reports.page.verdict_table import level_rows
from lightning_vista.reports.style import interval
from lightning_vista.reports.view import Row, View, number

_STEPS, _ORDER = "var(--accent)", "var(--wrong)"


@dataclass(frozen=True)
class SmallPlot:
    """One plot of a row of plots.

    Attributes:
        member: The scorer.
        plot: SVG.
        notes: Sentences below it.
        columns: Heads of its table.
        rows: Cells of its table.
    """

    member: Member
    plot: Markup
    notes: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def length_plots(view: View, judges: Sequence[Member], environment: str) -> list[SmallPlot]:
    """Plot steps against order over the number of steps, for each scorer that has levels."""
    plots = []
    for member in judges:
        found = {aspect: level_rows(view, member.name, environment, aspect) for aspect in ("steps", "order")}
        lines = [
            _line(aspect, colour, symbol, found[aspect], with_chance=True)
            for aspect, colour, symbol in (("steps", _STEPS, "square"), ("order", _ORDER, "circle"))
            if found[aspect]
        ]
        if lines:
            said = f"{member.name}: macro F1 by number of steps, where the steps differ and where only their order does"
            cells = [_cells(aspect, row) for aspect, rows in found.items() for row in rows]
            columns = ("What differs", "Steps", "Macro F1", "95% interval", "Chance", "Verdict", "Problem sets")
            notes = _slopes(view, member.name, environment)
            plots.append(SmallPlot(member, draw_levels(said, lines), notes, columns, cells))
    return plots


def trace_plots(view: View, judges: Sequence[Member], environment: str) -> list[SmallPlot]:
    """Plot trace-free against mixed orders over the number of steps; empty without trace-free sets."""
    plots = []
    for member in judges:
        rows = [
            row
            for row in view.compared(member.name).get("order_leak", ())
            if row["environment"] == environment and row["level"] != "all"
        ]
        lines = [
            _line(name, colour, symbol, own, is_dashed=split == "mixed")
            for split, name, colour, symbol in (
                ("mixed", "mixed", "var(--muted)", "square"),
                ("go_only", "trace-free", _ORDER, "circle"),
            )
            if (own := [row for row in rows if row["split"] == split])
        ]
        if lines:
            said = f"{member.name}: macro F1 on permutation sets by number of steps, trace-free and mixed"
            cells = [(_SPLITS[row["split"]], str(row["level"]), *_figures(row)) for row in rows]
            columns = ("Orders", "Steps", "Macro F1", "95% interval", "Problem sets")
            plots.append(SmallPlot(member, draw_levels(said, lines), (), columns, cells))
    return plots


def wrong_order_plots(view: View, judges: Sequence[Member], environment: str) -> list[SmallPlot]:
    """Plot the share of permutation sets in which a wrong order earns as much as the right one."""
    plots = []
    for member in judges:
        rows = [
            row
            for row in view.compared(member.name).get("reward_quality", ())
            if (row["figure"], row["environment"], row["kind"]) == ("exploitable", environment, "permutation")
            and row["level"] != "all"
            and number(row["mean"]) is not None
        ]
        if rows:
            line = _line("", member.look.colour, member.look.symbol, rows, value="mean")
            said = f"{member.name}: share of permutation sets in which a wrong order earns as much, by number of steps"
            cells = [(str(row["level"]), f"{row['mean']:.2f}", interval(row), str(row["problem_sets"])) for row in rows]
            columns = ("Steps", "Share", "95% interval", "Problem sets")
            drawn = draw_levels(said, [line], "share of sets")
            plots.append(SmallPlot(member, drawn, (), columns, cells))
    return plots


_SPLITS = {"go_only": "trace-free", "mixed": "mixed"}


def _line(
    name: str,
    colour: str,
    symbol: str,
    rows: Sequence[Row],
    with_chance: bool = False,
    is_dashed: bool = False,
    value: str = "mean_macro_f1",
) -> Line:
    points = [
        LevelPoint(int(row["level"]), mean, number(row["ci_low"]), number(row["ci_high"]), int(row["problem_sets"]))
        for row in rows
        if (mean := number(row[value])) is not None
    ]
    chance = {int(row["level"]): float(row["chance"]) for row in rows} if with_chance else {}
    return Line(name, colour, symbol, points, chance, is_dashed)


def _slopes(view: View, model: str, environment: str) -> list[str]:
    """Describe the change with each further step, above chance."""
    return [
        f"{row['aspect']} {row['slope']:+.3f} per step ({interval(row, '+.3f')})"
        for row in view.chance_rows(model, "slopes")
        if row["environment"] == environment
    ]


def _cells(aspect: str, row: Row) -> tuple[str, ...]:
    mean, bounds, sets = _figures(row)
    return aspect, str(row["level"]), mean, bounds, f"{row['chance']:.3f}", str(row["verdict"]), sets


def _figures(row: Row) -> tuple[str, str, str]:
    return f"{row['mean_macro_f1']:.3f}", interval(row), str(row["problem_sets"])
