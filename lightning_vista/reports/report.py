"""Reports from run folders or bare score tables: `results.json`, `results.csv` and the page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_vista.metrics import RESCALINGS, Rescaling
from lightning_vista.options import check_word
from lightning_vista.reports.coverage import count_notes, left_out, left_out_note, partial_notes, single_videos_note
from lightning_vista.reports.order_controls import ControlLine, control_kinds, control_lines, order_verdicts
from lightning_vista.reports.page import write_page
from lightning_vista.reports.results import build_results, write_results
from lightning_vista.reports.style import interval
from lightning_vista.vista.frame_order import FORWARD
from lightning_vista.vista.problem_sets import KINDS
from lightning_vista.vista.tables import read_scores


def write_report(
    runs: Sequence[str | Path], out_dir: str | Path, rescaling: Rescaling = "both", strict: bool = True
) -> Path:
    """Write `results.json`, `results.csv` and `report.html`, and print the main figures.

    Args:
        runs: Run folders, or bare score tables; with the latter the page says that it lacks example videos.
        out_dir: Folder for the three files.
        rescaling: `none`, `video`, `label` or `both` (the paper's), see `rescale_scores`; the page also shows `none`.
        strict: Whether unscored videos count as wrong; otherwise they are left out.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: If one of the paths does not hold a score table.
        ScoreTableError: If a table is broken.
        ValueError: If two tables belong to one model, a model has the name of a baseline, or `rescaling` is unknown.

    Example:
        >>> page = write_report(["runs/clip", "runs/gpt-4o"], "report")  # doctest: +SKIP
    """
    check_word("rescaling", rescaling, RESCALINGS)
    out = Path(out_dir)
    tables = [read_scores(run) for run in runs]
    results = build_results(tables, rescaling, strict)
    write_results(results, out)
    page = write_page(results, tables, out / "report.html", runs=[run for run in runs if Path(run).is_dir()])
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # rich would wrap files and pipes at 80 columns
    for table in (summary_table(results), order_table(results)):
        if table.row_count:
            console.print(table)
    for note in summary_notes(results):
        console.print(note, soft_wrap=True, markup=False, highlight=False)
    console.print(f"Page: {page}", soft_wrap=True)
    return page


def summary_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Build a table of the mean macro F1 of every kind and level, over the problem sets that all scorers have scored.

    Args:
        results: Result of `build_results`.

    Returns:
        A table for the terminal; the page holds the intervals as well.
    """
    rescaling = next(iter(results.values()))["rescaling"]
    which = "the problem sets of all scorers" if left_out(results) else "problem sets"
    table = Table(title=f"Mean macro F1 over {which} (rescaling: {rescaling})", box=box.SIMPLE)
    table.add_column("kind")
    table.add_column("level", justify="right")
    table.add_column("sets", justify="right")
    for model in results:
        table.add_column(model, justify="right", overflow="fold")
    cells: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    for model, part in results.items():
        for row in part.get("common", part)["aggregates"]:
            if row["environment"] == "all" and row["level"] != "all" and row["kind"] != "all":
                cells.setdefault((row["kind"], row["level"]), {})[model] = row
    for kind, level in sorted(cells, key=lambda cell: (KINDS.index(cell[0]), cell[1])):
        rows = cells[kind, level]
        sets = max(row["problem_sets"] for row in rows.values())
        table.add_row(kind, str(level), str(sets), *(_figure(rows.get(model)) for model in results))
    return table


def order_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Build a table of the mean macro F1 of every kind with frames in other orders; empty without controls.

    Args:
        results: Result of `build_results`.

    Returns:
        A table for the terminal, with the share of predictions that each control changes in brackets.
    """
    rescaling = next(iter(results.values()))["rescaling"]
    lines = control_lines(results)
    kinds = control_kinds(lines)
    title = f"Mean macro F1 by order of frames (share of changed predictions; rescaling: {rescaling})"
    table = Table(title=title, box=box.SIMPLE)
    table.add_column("scorer", overflow="fold")
    table.add_column("frames")
    for name in (*kinds, "permutation: loss"):
        table.add_column(name, justify="right")
    for line in lines:
        model = escape(line.model) if line.order == FORWARD else ""
        row = line.difference
        loss = "" if row is None else f"{row['mean_difference']:.2f} ({interval(row, '.2f')})"
        table.add_row(model, line.order, *(_ordered(line, kind) for kind in kinds), loss)
    return table


def summary_notes(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what a reader of the table must know, one line each.

    Args:
        results: Result of `build_results`.

    Returns:
        A line for each scorer whose run is partial, for each that has unscored videos or ties, and for the verdict on
        each that was run with controls of frame order; then one about problem sets that are not compared, and one about
        those with a single video.

    Example:
        >>> summary_notes({"clip": {"rescaling": "both", "partial": True, "videos_scored": 8, "videos_planned": 13}})
        ['clip: 8 of 13 videos scored: figures of a part']
    """
    about = (*partial_notes(results).items(), *count_notes(results).items(), *order_verdicts(results).items())
    notes = [f"{model}: {note}" for model, note in about]
    return [note for note in (*notes, left_out_note(results), single_videos_note(results)) if note]


def _ordered(line: ControlLine, kind: str) -> str:
    """Return the cell of a kind: macro F1, and the share of changed predictions."""
    f1, changed = line.f1.get(kind), line.changed.get(kind)
    return "-" if f1 is None else f"{f1:.2f}" + ("" if changed is None else f" ({changed:.0%})")


def _figure(row: Mapping[str, Any] | None) -> str:
    return "-" if row is None or row["mean_macro_f1"] is None else f"{row['mean_macro_f1']:.2f}"
