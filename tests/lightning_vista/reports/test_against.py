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
from lightning_vista.reports.against import compare_with_earlier, notes_on_earlier, read_earlier
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


def part_of(whole: ScoreTable, keep: pl.Expr, planned: int | None = None) -> ScoreTable:
    return replace(whole, rows=whole.rows.filter(keep), planned=planned)


FIRST_VIDEOS = pl.col("video").str.contains(" [0-3]")


def test_a_partial_earlier_run_is_named_and_not_compared(tmp_path: Path) -> None:
    whole = table(0.5)
    rest = pl.col("problem_set") != "home/level_3/permutation/d"
    part = part_of(whole, rest | FIRST_VIDEOS, whole.num_videos)
    results = build_results([whole], "none")
    earlier = {"judge": build_results([part], "none")["judge"]}
    (change, *_) = compare_with_earlier(results, earlier, [whole])
    assert (change.problem_sets, change.difference) == (len(SETS) - 1, 0)
    scored = f"{part.num_videos} of {whole.num_videos} videos scored: figures of a part"
    assert notes_on_earlier(results, earlier, [whole]) == [
        f"The earlier run of judge is partial ({scored}).",
        "judge: 1 of 9 problem sets is left out of the comparison with the earlier report (other videos or true "
        "labels: 1).",
    ]
    for name, each in (("old", part), ("new", whole)):
        write_scores(each.rows, tmp_path / f"{name}.parquet", planned=each.planned)
    page = write_report([tmp_path / "new.parquet"], tmp_path / "out", "none", against=[tmp_path / "old.parquet"])
    assert "The earlier run of judge is partial" in page.read_text("utf-8")


def test_without_a_set_of_the_same_videos_the_error_says_why() -> None:
    """Four of six videos gave a change where there was none."""
    whole = table(0.5)
    part = part_of(whole, pl.col("video").str.contains(" [0-2]"), whole.num_videos)
    earlier = {"judge": build_results([part], "none")["judge"]}
    with pytest.raises(ValueError, match=r"earlier run of judge is partial .*\(other videos or true labels: 9\)"):
        compare_with_earlier(build_results([whole], "none"), earlier, [whole])


def test_as_many_other_videos_or_labels_are_not_compared() -> None:
    new = table(0.5)
    first = pl.col("problem_set") == "home/level_2/remix/c"
    renamed = pl.when(first).then(pl.col("video") + " (2)").otherwise("video")
    turned = pl.when(pl.col("problem_set") == "craft/level_2/remix/i").then(pl.lit(True)).otherwise("target")
    old = replace(new, rows=new.rows.with_columns(renamed.alias("video"), turned.alias("target")))
    results, earlier = build_results([new], "none"), {"judge": build_results([old], "none")["judge"]}
    assert compare_with_earlier(results, earlier, [new])[0].problem_sets == len(SETS) - 2
    assert "(other videos or true labels: 2)" in notes_on_earlier(results, earlier, [new])[0]


def test_a_scorer_that_lacks_videos_of_its_own_report_is_not_compared() -> None:
    new, other = table(0.5), table(0.1, "other")
    lacking = part_of(new, (pl.col("problem_set") != "home/level_2/remix/c") | FIRST_VIDEOS)
    results = build_results([new], "none")
    earlier = build_results([lacking, other], "none")
    assert "(not every video was scored: 1)" in notes_on_earlier(results, earlier, [new])[0]
    for part in earlier.values():  # as earlier releases wrote it
        part.pop("contents", None)
    assert "(not every video was scored: 1)" in notes_on_earlier(results, earlier, [new])[0]
    assert compare_with_earlier(results, earlier, [new])[0].problem_sets == len(SETS) - 1


def test_one_scorer_in_two_earlier_reports_is_refused_with_both_names(tmp_path: Path) -> None:
    """The last one used to win."""
    for name, skill in (("a", 0.1), ("b", 1.5)):
        write_scores(table(skill).rows, tmp_path / f"{name}.parquet")
        write_report([tmp_path / f"{name}.parquet"], tmp_path / name, "none")
    write_scores(table(0.1, "other").rows, tmp_path / "other.parquet")
    for pair in (("a", "b"), ("a", "b.parquet"), ("a.parquet", "b.parquet"), ("a", "a")):
        with pytest.raises(ValueError, match=rf"scorer once, got 'judge' in .*{pair[0]} and in .*{pair[1]}"):
            read_earlier([tmp_path / name for name in pair], "none", True)
    write_report([tmp_path / "other.parquet"], tmp_path / "other", "none")
    assert set(read_earlier([tmp_path / "a", tmp_path / "other"], "none", True)) == {"judge", "other"}


def test_descriptions_that_have_changed_are_counted() -> None:
    first, *_ = SETS
    texts = {id: dict.fromkeys("zy", "We wait") for id in SETS}
    old, new = (replace(table(0.5), descriptions=texts | {first: own}) for own in ({"z": "We go"}, {"z": "We run"}))
    results, earlier = build_results([new], "none"), {"judge": build_results([old], "none")["judge"]}
    assert notes_on_earlier(results, earlier, [new]) == [
        "judge: 1 compared problem set has other descriptions than in the earlier report."
    ]
    assert compare_with_earlier(results, earlier, [new])[0].problem_sets == len(SETS)
    earlier["judge"].pop("descriptions")  # as earlier releases wrote it
    assert not notes_on_earlier(results, earlier, [new])
