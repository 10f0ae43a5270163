"""The terminal's summary: scorers as rows, within 100 columns."""

import io
from dataclasses import replace

import polars as pl
import pytest
from report_data import score_table
from rich.console import Console
from rich.table import Table

from lightning_vista.reports.results import build_results
from lightning_vista.reports.summary import level_table, order_table, summary_table

pytestmark = pytest.mark.portable


def printed(table: Table) -> list[str]:
    console = Console(width=100, file=io.StringIO())
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined] # a StringIO, see above
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_ten_scorers_fit_into_100_columns() -> None:
    judged = [score_table(f"organisation/long-model-name-{n:02}", n / 5) for n in range(10)]
    turned = [
        replace(t, controls={"reversed": t.rows, "shuffled": t.rows.with_columns(-pl.col("score"))}) for t in judged
    ]
    results = build_results(turned, "none")
    for build in (summary_table, level_table, order_table):
        lines = printed(build(results))
        assert max(map(len, lines)) <= 100
        assert "…" not in "".join(lines)
        names = "".join(line.split()[0] for line in lines)
        assert all(table.model in names for table in judged)


def test_a_row_holds_the_means_with_signs() -> None:
    results = build_results([score_table("good", 5.0), score_table("bad", 0.0)], "none", strict=False)
    lines = printed(summary_table(results))
    good = next(line for line in lines if line.split()[0] == "good").split()
    means = {
        row["kind"]: row
        for row in results["good"]["common"]["aggregates"]
        if row["environment"] == row["level"] == "all"
    }
    assert good[1:] == [
        f"{means[kind]['mean_macro_f1']:.2f}" + ("+" if kind in ("actions", "general") else "")
        for kind in ("objects", "actions", "general", "permutation", "all")
    ]
    assert [line.split()[0] for line in lines[-4:]] == ["good", "bad", "majority", "random"]


def test_names_are_text_not_markup() -> None:
    results = build_results([score_table("[red]judge[/red]", 0.5)], "none")
    assert any("[red]judge[/red]" in line for line in printed(summary_table(results)))
