"""The summary of a report for the terminal: scorers as rows, within 100 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from lightning_vista.reports.against import Change
from lightning_vista.reports.comparisons import ALL
from lightning_vista.reports.coverage import (
    count_notes,
    descriptions_note,
    left_out,
    left_out_note,
    partial_notes,
    single_videos_note,
)
from lightning_vista.reports.joining import BASELINES
from lightning_vista.reports.order_controls import ControlLine, control_kinds, control_lines, order_verdicts
from lightning_vista.reports.verdicts import ABOVE, AT, BELOW
from lightning_vista.vista.problem_sets import KINDS

_Results = Mapping[str, Mapping[str, Any]]
#: Signs of the verdicts; a plain figure has none.
_SIGNS = {ABOVE: "+", AT: "=", BELOW: "-"}
#: Longest name of a scorer that leaves room for all kinds.
_NAME = 32


def summary_table(results: _Results) -> Table:
    """Build a table of the mean macro F1 of every kind, over the problem sets that all scorers have scored.

    Args:
        results: Result of `build_results`.

    Returns:
        A table with a row for each scorer and baseline; a sign says whether a figure is above (+), at (=) or below (-)
        chance, where the kind has a verdict.
    """
    rescaling = next(iter(results.values()))["rescaling"]
    which = ", common sets" if left_out(results) else ""
    title = f"Mean macro F1{which}; rescaling: {rescaling}; + above, = at, - below chance"
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0), title_justify="left")
    table.add_column("scorer", overflow="fold", max_width=_NAME)
    cells = {model: _kind_rows(part) for model, part in results.items()}
    kinds = [kind for kind in (*KINDS, "all") if any(kind in rows for rows in cells.values())]
    if not kinds:
        return table
    for kind in kinds:
        sets = max(rows[kind]["problem_sets"] for rows in cells.values() if kind in rows)
        table.add_column(f"{_SHORT.get(kind, kind)}\nn={sets}", justify="right")
    for model, part in _ordered_by_order(results):
        marks = _kind_verdicts(part)
        table.add_row(escape(model), *(_figure(cells[model].get(kind)) + marks.get(kind, " ") for kind in kinds))
    return table


def level_table(results: _Results) -> Table:
    """Build a table of macro F1 by number of steps where only the order differs; empty without such sets.

    Args:
        results: Result of `build_results`.

    Returns:
        A table with a row for each scorer, and one of chance.
    """
    found = {model: _level_rows(part) for model, part in results.items() if model not in BASELINES}
    levels = sorted({level for rows in found.values() for level in rows})
    table = Table(
        title="Where only the order of steps differs, by number of steps",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        title_justify="left",
    )
    if not levels:
        return table
    table.add_column("scorer", overflow="fold", max_width=_NAME)
    for level in levels:
        sets = max(rows[level]["problem_sets"] for rows in found.values() if level in rows)
        table.add_column(f"{level}\nn={sets}", justify="right")
    table.add_column("change\nper step", justify="right")
    for model, part in _ordered_by_order(results):
        if rows := found.get(model):
            signs = {level: _figure(row) + _SIGNS.get(row["verdict"], " ") for level, row in rows.items()}
            table.add_row(escape(model), *(signs.get(level, "-") for level in levels), _slope(part))
    chance = {level: row["chance"] for rows in found.values() for level, row in rows.items()}
    table.add_row("chance", *(f"{chance[level]:.2f} " for level in levels), "")
    return table


def against_table(changes: Sequence[Change]) -> Table:
    """Build a table of old, new and the paired difference; empty without changes.

    Args:
        changes: Result of `compare_with_earlier`.
    """
    table = Table(
        title="Against the earlier report (same videos of the same problem sets)",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        title_justify="left",
    )
    table.add_column("scorer", overflow="fold", max_width=_NAME)
    table.add_column("kind")
    for name in ("sets", "old", "new", "new - old", "95% interval"):
        table.add_column(name, justify="right")
    for change in changes:
        ends = "-" if change.low is None else f"{change.low:+.3f} to {change.high:+.3f}"
        figures = (f"{change.old:.3f}", f"{change.new:.3f}", f"{change.difference:+.3f}", ends)
        other = f" (earlier: {change.earlier})" if change.earlier != change.model else ""
        name = escape(change.model + other) if change.kind == "all" else ""
        table.add_row(name, change.kind, str(change.problem_sets), *figures)
    return table


def order_table(results: _Results) -> Table:
    """Build a table of macro F1 with frames in other orders; empty without controls.

    Args:
        results: Result of `build_results`.

    Returns:
        A table with a row for each scorer, over its permutation sets, or over all its sets where none has any; brackets
        hold the share of predictions that an order changes. The page has the other kinds.
    """
    lines = control_lines(results)
    kind = "permutation" if "permutation" in control_kinds(lines) else ALL
    orders = list(dict.fromkeys(line.order for line in lines))
    sets = "permutation sets" if kind != ALL else "problem sets"
    title = f"Macro F1 on {sets}, frames in another order (predictions changed)"
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0), title_justify="left")
    table.add_column("scorer", overflow="fold", max_width=_NAME)
    for order in orders:
        table.add_column(order.replace("_", "+"), justify="right")
    found: dict[str, dict[str, str]] = {}
    for line in lines:
        found.setdefault(line.model, {})[line.order] = _ordered(line, kind)
    for model, cells in found.items():
        table.add_row(escape(model), *(cells.get(order, "-") for order in orders))
    return table


def summary_notes(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what a reader of the table must know, one line each.

    Args:
        results: Result of `build_results`.

    Returns:
        A line for each scorer whose run is partial, for each that has unscored videos or ties, and for the verdict on
        each that was run with controls of frame order; then one about problem sets that are not compared, one about
        those with a single video, and one about those with differing descriptions.

    Example:
        >>> summary_notes({"clip": {"rescaling": "both", "partial": True, "videos_scored": 8, "videos_planned": 13}})
        ['clip: 8 of 13 videos scored: figures of a part']
    """
    about = (*partial_notes(results).items(), *count_notes(results).items(), *order_verdicts(results).items())
    notes = [f"{model}: {note}" for model, note in about]
    notes += [left_out_note(results), single_videos_note(results), descriptions_note(results)]
    return [note for note in notes if note]


def _ordered(line: ControlLine, kind: str) -> str:
    """Return the cell of a kind: macro F1, and the share of changed predictions."""
    f1, changed = line.f1.get(kind), line.changed.get(kind)
    return "-" if f1 is None else f"{f1:.2f}" + ("" if changed is None else f" ({changed:.0%})")


def _figure(row: Mapping[str, Any] | None) -> str:
    """Return macro F1 with two digits; a dash without it."""
    return "-" if row is None or row["mean_macro_f1"] is None else f"{row['mean_macro_f1']:.2f}"


#: Short names of kinds, which fit above their figures.
_SHORT = {"properties": "proper-\nties", "interaction": "inter-\naction", "permutation": "permu-\ntation"}
_ASPECTS_OF_KINDS = {"objects": "objects", "actions": "actions", "general": "steps"}


def _kind_rows(part: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return a model's rows by kind, over all environments and levels."""
    rows = part.get("common", part)["aggregates"]
    return {row["kind"]: row for row in rows if (row["environment"], row["level"]) == ("all", "all")}


def _verdict_rows(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = part.get("common", part).get("verdicts", [])
    return [row for row in rows if row["environment"] == "all"]


def _kind_verdicts(part: Mapping[str, Any]) -> dict[str, str]:
    """Return the signs of the kinds that have a verdict of their own; `order` may be a part of the permutation sets."""
    of = {row["aspect"]: row for row in _verdict_rows(part) if row["level"] == "all"}
    return {kind: _SIGNS.get(of[aspect]["verdict"], " ") for kind, aspect in _ASPECTS_OF_KINDS.items() if aspect in of}


def _level_rows(part: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """Return a model's rows on order by level."""
    rows = (row for row in _verdict_rows(part) if row["aspect"] == "order" and row["level"] != "all")
    return {int(row["level"]): row for row in rows}


def _slope(part: Mapping[str, Any]) -> str:
    """Return the change of macro F1 above chance with each further step."""
    rows = part.get("common", part).get("slopes", [])
    found = [row["slope"] for row in rows if (row["environment"], row["aspect"]) == ("all", "order")]
    return f"{found[0]:+.2f}" if found else "-"


def _ordered_by_order(results: _Results) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the models with the best on order first, and the baselines last."""

    def key(item: tuple[str, Mapping[str, Any]]) -> tuple[bool, float]:
        model, part = item
        rows = [row for row in _verdict_rows(part) if (row["aspect"], row["level"]) == ("order", "all")]
        return model in BASELINES or bool(part.get("baseline")), -(rows[0]["mean_macro_f1"] if rows else 0.0)

    return sorted(results.items(), key=key)
