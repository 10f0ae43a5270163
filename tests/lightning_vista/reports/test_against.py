"""A report against an earlier one: old, new, paired difference."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from report_data import SETS, score_table
from rich.console import Console

from lightning_vista.reports import write_report
from lightning_vista.reports.against import compare_with_earlier, read_earlier
from lightning_vista.reports.results import build_results
from lightning_vista.reports.summary import against_table
from lightning_vista.vista.tables import ScoreTable, write_scores

pytestmark = pytest.mark.portable


def table(skill: float, model: str = "judge", sets: tuple[str, ...] = tuple(SETS)) -> ScoreTable:
    made = score_table(f"{model} of skill {skill}", skill, sets)
    return replace(made, rows=made.rows.with_columns(model=pl.lit(model)))


def test_paired_over_the_sets_of_both() -> None:
    new, old = table(1.5), table(0.1, sets=tuple(SETS)[:7])
    results, earlier = build_results([new], "none"), build_results([old], "none")
    changes = compare_with_earlier(results, {"judge": earlier["judge"]}, [new])
    whole = changes[0]
    values = [[part["judge"]["problem_sets"][id]["macro_f1"] for id in list(SETS)[:7]] for part in (earlier, results)]
    assert (whole.kind, whole.problem_sets) == ("all", 7)
    assert (whole.old, whole.new) == pytest.approx(tuple(np.mean(values, axis=1)))
    assert whole.low is not None
    assert whole.high is not None
    assert 0 < whole.low < whole.difference < whole.high
    assert {change.kind for change in changes} == {"all", "objects", "actions", "general", "permutation"}


def test_a_single_earlier_scorer_may_have_another_name() -> None:
    new, old = table(1.5), table(0.1, "former judge")
    earlier = {"former judge": build_results([old], "none")["former judge"]}
    assert compare_with_earlier(build_results([new], "none"), earlier, [new])[0].earlier == "former judge"
    printed = Console(width=100, record=True)
    printed.print(against_table(compare_with_earlier(build_results([new], "none"), earlier, [new])))
    assert "(earlier:" in printed.export_text()
    two = {**earlier, "another": earlier["former judge"]}
    with pytest.raises(ValueError, match=r"`--against`: expected scorers of the same names .* former judge, another"):
        compare_with_earlier(build_results([new], "none"), two, [new])


def test_a_new_scorer_is_not_compared_with_the_earlier_one_of_another() -> None:
    """A scorer that was not in the earlier report used to be compared with the only scorer that was."""
    judged = [table(1.5), table(0.5, "newcomer")]
    earlier = {"judge": build_results([table(0.1)], "none")["judge"]}
    changes = compare_with_earlier(build_results(judged, "none"), earlier, judged)
    assert {(change.model, change.earlier) for change in changes} == {("judge", "judge")}


def test_a_report_and_its_folder_and_a_table_are_the_same(tmp_path: Path) -> None:
    old = write_scores(table(0.1).rows, tmp_path / "old.parquet")
    write_report([tmp_path / "old.parquet"], tmp_path / "report", "none")
    expected = json.loads(json.dumps(build_results([old], "none")["judge"]["problem_sets"]))
    for path in ("report", "report/results.json", "old.parquet"):
        earlier = read_earlier([tmp_path / path], "none", True)
        assert list(earlier) == ["judge"]
        assert earlier["judge"]["problem_sets"] == expected


def test_another_rescaling_or_a_strange_file_is_refused(tmp_path: Path) -> None:
    write_scores(table(0.1).rows, tmp_path / "old.parquet")
    write_report([tmp_path / "old.parquet"], tmp_path / "report", "none")
    with pytest.raises(ValueError, match="expected rescaling 'both' and strict=True, as in this report, got"):
        read_earlier([tmp_path / "report"], "both", True)
    for content in ("[]", "[" * 100_000, '{"a": {}}', "9" * 5000):
        (tmp_path / "strange.json").write_text(content, "utf-8")
        with pytest.raises(ValueError, match=r"strange\.json: expected the results of a report"):
            read_earlier([tmp_path / "strange.json"], "none", True)


def test_page_and_terminal_show_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, skill in (("old", 0.1), ("new", 1.5)):
        write_scores(table(skill).rows, tmp_path / f"{name}.parquet")
    out = tmp_path / "report"
    write_report([tmp_path / "old.parquet"], out, "none")
    capsys.readouterr()
    page = write_report([tmp_path / "new.parquet"], out, "none", against=[out]).read_text("utf-8")  # over the old one
    printed = capsys.readouterr().out
    assert "Against the earlier report" in printed
    assert '<section id="against"' in page
    assert 'class="difference up"' in page
