"""What a report says about videos and problem sets that not every scorer has scored."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from report_data import SETS, score_table, tables

from lightning_vista.reports.page import write_page
from lightning_vista.reports.report import write_report
from lightning_vista.reports.results import build_results
from lightning_vista.vista.tables import ScoreTable, write_scores

pytestmark = pytest.mark.portable


def save(root: Path, *judged: ScoreTable) -> list[Path]:
    paths = [root / f"{number}.parquet" for number in range(len(judged))]
    for path, table in zip(paths, judged, strict=True):
        write_scores(table.rows, path, planned=table.planned)
    return paths


def test_a_partial_run_is_marked_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, part = score_table("whole", 0.5), score_table("cut", 0.5)
    paths = save(tmp_path, whole, replace(part, planned=part.num_videos + 5))
    page = write_report(paths, tmp_path / "out").read_text("utf-8")
    note = f"cut: {part.num_videos} of {part.num_videos + 5} videos scored: figures of a part"
    assert note in capsys.readouterr().out.splitlines()
    results = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    marks = {"partial": True, "videos_scored": part.num_videos, "videos_planned": part.num_videos + 5}
    assert marks.items() <= results["cut"].items()
    assert not any(marks.keys() & results[model].keys() for model in ("whole", "majority", "random"))
    shown = page[: page.index('<script type="application/json"')]
    assert shown.index('class="banner"') < shown.index("<h1>")
    assert note in shown
    assert shown.count('</span> cut <span class="part"') == shown.count("</span> cut ")  # controls, tables, counts
    assert '<th scope="row">cut (part)</th>' in shown
    assert "cut (part) −" in shown  # noqa: RUF001  a minus sign
    assert '<th scope="row">cut</th>' not in shown
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [look["partial"] for look in data["looks"]] == [False, True, False, False]


def test_a_complete_run_has_no_mark(tmp_path: Path) -> None:
    judged = tables()
    planned = [replace(table, planned=table.num_videos) for table in judged]
    assert build_results(planned) == build_results(judged)
    page = write_page(build_results(planned), planned, tmp_path / "report.html").read_text("utf-8")
    assert 'class="banner"' not in page
    assert 'class="part" title' not in page
    assert len(SETS) == len(build_results(planned)["random"]["problem_sets"])
