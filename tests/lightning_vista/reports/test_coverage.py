"""What a report says about videos and problem sets that not every scorer has scored."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from report_data import ATTACK, SETS, score_table, tables

from lightning_vista.reports.joining import predictions
from lightning_vista.reports.page import write_page
from lightning_vista.reports.page.cast import cast, judges_of
from lightning_vista.reports.page.difference_matrix import difference_matrix
from lightning_vista.reports.page.length_plots import length_plots
from lightning_vista.reports.page.reward_table import reward_table
from lightning_vista.reports.page.type_table import overview
from lightning_vista.reports.page.verdict_table import verdict_table
from lightning_vista.reports.report import write_report
from lightning_vista.reports.results import build_results
from lightning_vista.reports.summary import summary_notes
from lightning_vista.reports.view import views
from lightning_vista.vista.tables import SCORE_COLUMNS, ScoreTable, order_rows, write_scores

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
    assert shown.count('<span class="name">cut</span> <span class="part"') == shown.count(
        '<span class="name">cut</span>'
    )
    assert '<th scope="row">cut (part)</th>' in shown  # where the name stands without its mark
    assert '<th scope="row">cut</th>' not in shown
    assert {model["name"]: model["part"] for model in script_data(page)["models"]} == {
        "whole": False,
        "cut": True,
        "majority": False,
        "random": False,
    }


def test_a_complete_run_has_no_mark(tmp_path: Path) -> None:
    judged = tables()
    planned = [replace(table, planned=table.num_videos) for table in judged]
    assert build_results(planned) == build_results(judged)
    page = write_page(build_results(planned), planned, tmp_path / "report.html").read_text("utf-8")
    assert 'class="banner"' not in page
    assert 'class="part" title' not in page
    assert len(SETS) == len(build_results(planned)["random"]["problem_sets"])


def only(table: ScoreTable, keep: pl.Expr) -> ScoreTable:
    return replace(table, rows=table.rows.filter(keep))


NOT_IN_B = ("craft/level_2/remix/i", "home/level_3/permutation/d")
CUT_IN_B = "home/level_2/permutation/e"
COMMON = sorted(set(SETS) - {*NOT_IN_B, CUT_IN_B})


def uneven() -> list[ScoreTable]:
    """One scorer of all problem sets, one that lacks two of them and a video of a third."""
    absent = pl.col("problem_set").is_in(NOT_IN_B) | (pl.col("video") == "home/e 1.mp4")
    return [score_table("a", 0.6), only(score_table("b", 0.2), ~absent)]


@pytest.mark.parametrize("rescaling", ["none", "both"])
def test_comparisons_are_those_of_the_common_problem_sets_alone(rescaling: Any) -> None:  # a literal
    found = build_results(uneven(), rescaling)
    alone = build_results([only(table, pl.col("problem_set").is_in(COMMON)) for table in uneven()], rescaling)
    for model, part in found.items():
        common = part["common"]
        assert common["problem_sets"] == part["raw"]["common"]["problem_sets"] == len(COMMON) == 6
        assert common["not_scored"] == (sorted([*NOT_IN_B, CUT_IN_B]) if model == "b" else [])
        for rows in ("aggregates", "order_leak", "reward_quality"):
            assert common[rows] == alone[model][rows] == alone[model]["common"][rows]
        assert part["raw"]["common"]["aggregates"] == alone[model]["raw"]["aggregates"]
    assert {model: whole(part)["problem_sets"] for model, part in found.items()} == {
        **dict.fromkeys(("a", "majority", "random"), 9),
        "b": 7,
    }
    pair = next(row for row in found["a"]["differences"] if row["other"] == "b" and is_whole(row))
    other = next(row for row in alone["a"]["differences"] if row["other"] == "b" and is_whole(row))
    assert pair == other  # a cut problem set enters no comparison


def whole(part: dict[str, Any]) -> dict[str, Any]:
    found: list[dict[str, Any]] = [row for row in part["aggregates"] if is_whole(row)]
    (row,) = found
    return row


def is_whole(row: dict[str, str]) -> bool:
    return row["environment"] == row["level"] == row["kind"] == "all"


def test_own_means_do_not_depend_on_other_scorers() -> None:
    together, alone = build_results(uneven()), build_results(uneven()[:1])
    assert together["a"]["aggregates"] == alone["a"]["aggregates"] == alone["a"]["common"]["aggregates"]


def test_a_problem_set_without_a_figure_of_some_scorer_is_not_common() -> None:
    silent = pl.when(pl.col("problem_set") != COMMON[0]).then("score").alias("score")
    table = score_table("silent", 0.4)
    judged = [score_table("a", 0.6), replace(table, rows=table.rows.with_columns(silent))]
    assert build_results(judged, strict=False)["a"]["common"]["problem_sets"] == len(SETS) - 1
    assert build_results(judged, strict=False)["silent"]["common"]["not_scored"] == COMMON[:1]
    assert build_results(judged)["a"]["common"]["problem_sets"] == len(SETS)  # strict: counted as wrong


def test_page_and_terminal_say_what_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = write_report(save(tmp_path, *uneven()), tmp_path / "out").read_text("utf-8")
    shown = page[: page.index('<script type="application/json"')]
    note = (
        "3 of 9 problem sets are left out of the comparison, since not every scorer has scored them: "
        "craft 1 (not b); home 2 (not b)."
    )
    printed = capsys.readouterr().out
    assert note in printed
    assert "Mean macro F1, common sets" in printed
    assert note in shown
    assert "<summary>3 problem sets are not compared</summary>" in shown
    details = shown[shown.index('<details class="coverage">') :]
    details = details[: details.index("</details>")]
    assert all(f"<li>{id}: not b</li>" in details for id in (*NOT_IN_B, CUT_IN_B))
    assert "6 problem sets that every scorer has scored" in shown
    assert '<span class="head">Overall</span><small>n = 6</small>' in shown
    assert "not in the table" in shown  # the reason of the cut video
    assert "; not in its table" not in shown
    assert "not in the table: 1, 2 problem sets are not in its table" in shown
    entries = shown.split('<details class="set" ')[1:]
    assert [" · not compared" in entry for entry in entries] == [*[False] * 6, *[True] * 3]  # the compared ones first


def test_n_stands_at_every_figure() -> None:
    results = build_results(uneven())
    view = views(results)[0]
    members = cast(results, view, {})
    judges = judges_of(members)
    assert [(aspect.name, aspect.sets) for aspect in verdict_table(view, members, "home").aspects] == [
        ("objects", 1),
        ("actions", 1),
        ("steps", 1),
        ("order", 2),
    ]
    (plot, _) = length_plots(view, judges, "home")
    assert [(row[0], row[1], row[-1]) for row in plot.rows] == [
        ("steps", "2", "1"),
        ("order", "2", "1"),
        ("order", "3", "1"),
    ]
    columns = overview(view, members, "home").columns
    assert columns == [("Overall", 5), ("Objects", 1), ("Actions", 1), ("General", 1), ("Permutation", 2)]
    notes = {
        m.name: c.note for m, c in zip(members, difference_matrix(view, members, "home").rows[0][1], strict=True) if c
    }
    assert [note.partition("n = ")[2] for note in (notes["b"], notes["random"])] == ["5", "7"]
    assert all(int(row[-1]) > 0 for row in reward_table(view, judges, "home").cells)


@pytest.mark.parametrize("environment", ["one", "two"])
def test_scorers_without_a_common_problem_set(
    environment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = [id for id in SETS if id.startswith("home/")]
    other = [id for id in SETS if id.startswith("craft/")] if environment == "two" else home[3:]
    judged = [score_table("a", 0.6, home if environment == "two" else home[:3]), score_table("b", 0.2, other)]
    page = write_report(save(tmp_path, *judged), tmp_path / "out").read_text("utf-8")
    printed = capsys.readouterr().out
    assert "The scorers have no problem set in common, so they are not compared: " in printed
    assert "Mean macro F1" not in printed
    assert "These scorers have no problem set in common, so each is judged on its own sets" in page
    verdicts = page[page.index('<section id="verdicts"') : page.index('<section id="types"')]
    assert "above chance" in verdicts or "too few sets" in verdicts  # each against chance on its own sets
    types = page[page.index('<section id="types"') : page.index('<section id="problem-sets"')]
    assert "The scorers have no problem set in common here" in types
    assert '<table class="overview' not in types
    assert page.count(" · not compared") == page.count('<details class="set" ')


def test_an_environment_of_some_scorers_is_not_compared(tmp_path: Path) -> None:
    home = [id for id in SETS if id.startswith("home/")]
    judged = [score_table("a", 0.6), score_table("b", 0.2, home)]
    page = write_page(build_results(judged), judged, tmp_path / "report.html").read_text("utf-8")
    assert 'data-environment="craft"' not in page
    assert {"craft", "home"} == {entry.split("/")[0] for entry in page.split('id="set=')[1:]}  # listed all the same


def script_data(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.split('id="data">')[1].split("</script>")[0])
    return found


def single_video_tables() -> list[ScoreTable]:
    """Two scorers; one set has one video, whose last label is the right and the highest one, a second set one for b."""
    rows = [
        (model, "home/level_2/remix/one", "home/one.mp4", label, score, label == "right", None)
        for model in "ab"
        for label, score in (("wrong", 0.1), ("other", 0.2), ("right", 0.9))
    ]
    one = pl.DataFrame(rows, schema=SCORE_COLUMNS, orient="row")
    judged = [score_table("a", 0.6), score_table("b", 0.2)]
    others = pl.col("video").is_in([f"home/g {number}.mp4" for number in (1, 2)])
    silent = pl.when(~others | (pl.col("model") == "a")).then("score").alias("score")  # beside the unscored fourth
    tables = [pl.concat([table.rows, one.filter(pl.col("model") == table.model)]) for table in judged]
    return [replace(judged[0], rows=order_rows(rows.with_columns(silent))) for rows in tables]


@pytest.mark.parametrize("rescaling", ["label", "both", "video", "none"])
def test_sets_with_a_single_video_are_predicted_and_named(rescaling: Any, tmp_path: Path) -> None:  # a literal
    judged, one, few = single_video_tables(), "home/level_2/remix/one", "home/level_3/permutation_go_only/g"
    results = build_results(judged, rescaling)
    assert [part["single_video_sets"] for part in results.values()] == [[one], [one, few], [one], [one]]
    assert results["a"]["problem_sets"][one]["macro_f1"] == 1
    found = predictions(judged, [rescaling])
    assert found[one]["predicted"][rescaling] == {"a": [2], "b": [2]} == {model: found[one]["truth"] for model in "ab"}
    page = write_page(results, judged, tmp_path / "report.html").read_text("utf-8")
    definitions = page[page.index('<section id="definitions"') : page.index('<script type="application/json"')]
    named = [f"<li>{one}</li>" in definitions, f"<li>{few}: b</li>" in definitions]
    assert named == [rescaling in ("label", "both")] * 2
    assert ("2 problem sets have a single scored video" in definitions) == named[0]
    assert any("single scored video" in note for note in summary_notes(results)) == named[0]


def test_predictions_of_a_single_scored_video_do_not_depend_on_the_unscored_ones() -> None:
    table = single_video_tables()[1]
    few = "home/level_3/permutation_go_only/g"
    found = predictions([table], ["both", "none"])[few]["predicted"]
    assert found["both"] == found["none"]
    assert [guess for guess in found["both"]["b"] if guess != []] != []


def test_the_terminal_counts_unscored_videos_and_ties_where_there_are_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = score_table("clean", 0.5)
    places = pl.int_range(pl.len()) / 1000
    clean = replace(scored, rows=scored.rows.with_columns(score=places, reason=pl.lit(None, pl.String)))
    write_report(save(tmp_path, score_table("a", 0.6), clean), tmp_path / "out", "none")
    lines = capsys.readouterr().out.splitlines()
    ties = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))["a"]["ties"]
    assert ties > 1
    expected = f"a: 9 of 46 (video, problem set) pairs unscored ({ATTACK}: 9), {ties} ties"
    assert set(expected.splitlines()) <= set(lines)
    assert not any(line.startswith(("clean:", "majority:", "random:")) for line in lines)
    assert [line.split()[0] for line in lines if "0." in line][:2] == ["a", "clean"]
