"""Reports from run folders or bare score tables: `results.json`, `results.csv` and the page."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lightning_vista.metrics import RESCALINGS, Rescaling
from lightning_vista.options import check_word
from lightning_vista.reports.against import compare_with_earlier, notes_on_earlier, read_earlier
from lightning_vista.reports.page import write_page
from lightning_vista.reports.results import build_results, write_results
from lightning_vista.reports.summary import against_table, level_table, order_table, summary_notes, summary_table
from lightning_vista.vista.tables import read_scores


def write_report(
    runs: Sequence[str | Path],
    out_dir: str | Path,
    rescaling: Rescaling = "both",
    strict: bool = True,
    against: Sequence[str | Path] = (),
) -> Path:
    """Write `results.json`, `results.csv` and `report.html`, and print the main figures.

    Args:
        runs: Run folders, or bare score tables; with the latter the page says that it lacks example videos.
        out_dir: Folder for the three files.
        rescaling: `none`, `video`, `label` or `both` (the paper's), see `rescale_scores`; the page also shows `none`.
        strict: Whether unscored videos count as wrong; otherwise they are left out.
        against: An earlier report (its folder or `results.json`), or earlier runs, to compare with.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: If one of the paths does not hold a score table.
        ScoreTableError: If a table is broken.
        ValueError: If two tables belong to one model, a model has the name of a baseline, `rescaling` is unknown, or
            the earlier report cannot be compared with.

    Example:
        >>> page = write_report(["runs/clip", "runs/gpt-4o"], "report")  # doctest: +SKIP
    """
    check_word("rescaling", rescaling, RESCALINGS)
    out = Path(out_dir)
    tables = [read_scores(run) for run in runs]
    results = build_results(tables, rescaling, strict)
    # Read before anything is written: the earlier report may lie in the same folder.
    earlier = read_earlier(against, rescaling, strict) if against else {}
    changes = compare_with_earlier(results, earlier, tables) if against else []
    change_notes = notes_on_earlier(results, earlier, tables)
    write_results(results, out)
    folders = [run for run in runs if Path(run).is_dir()]
    page = write_page(results, tables, out / "report.html", runs=folders, changes=changes, change_notes=change_notes)
    console = Console()
    if not console.is_terminal:
        console = Console(width=100)  # rich would wrap files and pipes at 80 columns
    for table in (summary_table(results), level_table(results), order_table(results), against_table(changes)):
        if table.row_count:
            console.print(table)
    for note in (*summary_notes(results), *change_notes):
        console.print(note, soft_wrap=True, markup=False, highlight=False)
    console.print(f"Page: {page}", soft_wrap=True)
    return page
