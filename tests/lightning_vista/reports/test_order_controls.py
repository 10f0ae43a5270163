"""Figures of controls of frame order, counted by hand."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from report_data import ATTACK, BOLD, score_table

from lightning_vista.reports import write_report
from lightning_vista.reports.order_controls import BLIND, MISLED, NOT_BLIND, control_lines, order_verdict
from lightning_vista.reports.page import write_page
from lightning_vista.reports.results import build_results
from lightning_vista.reports.summary import order_table, summary_notes
from lightning_vista.vista.tables import SCORE_COLUMNS, ScoreTable, order_rows, write_scores

LABELS = ("ab", "ba")


def table_of(sets: Mapping[str, Mapping[str, str]], model: str = "clip") -> ScoreTable:
    """A table with two labels; each set has, for each order of frames, a letter for each video.

    `r` is right, `w` wrong and `u` unscored. The true labels alternate.
    """
    orders = {order: list[Any]() for order in next(iter(sets.values()))}
    for problem_set, letters in sets.items():
        for order, of_videos in letters.items():
            for number, letter in enumerate(of_videos):
                for place, label in enumerate(LABELS):
                    true = place == number % 2
                    score = None if letter == "u" else 2.0 * (true == (letter == "r")) + number
                    video = f"home/{problem_set}/{number}.mp4"
                    orders[order].append((model, f"home/{problem_set}", video, label, score, true, None))
    frames = {
        order: order_rows(pl.DataFrame(rows, schema=SCORE_COLUMNS, orient="row")) for order, rows in orders.items()
    }
    return ScoreTable(frames.pop("forward"), controls=frames)


def row_of(part: Mapping[str, Any], control: str, kind: str) -> Mapping[str, Any]:
    (row,) = [
        row
        for row in part["controls"]["rows"]
        if (row["control"], row["environment"], row["kind"]) == (control, "all", kind)
    ]
    found: Mapping[str, Any] = row
    return found


SETS = {
    "level_2/permutation/a": {"forward": "rrrr", "reversed": "wwww", "static": "rrww"},
    "level_2/permutation/b": {"forward": "rr", "reversed": "rw", "static": "ru"},
    "level_2/remix/c": {"forward": "rw", "reversed": "rw", "static": "ww"},
}


@pytest.mark.parametrize("strict", [True, False])
def test_f1_and_changes_are_those_counted_by_hand(strict: bool) -> None:
    part = build_results([table_of(SETS)], "none", strict)["clip"]
    # Four labels right: F1 1. One of two right: both predicted alike, so F1 2/3 and 0. None right: 0.
    backwards = row_of(part, "reversed", "permutation")
    assert backwards["intact"] == 1
    assert backwards["mean_macro_f1"] == pytest.approx((0 + 1 / 3) / 2)
    assert backwards["mean_difference"] == pytest.approx((1 + 2 / 3) / 2)
    assert backwards["changed"] == pytest.approx((1 + 1 / 2) / 2)
    assert (backwards["ci_low"], backwards["ci_high"]) == pytest.approx((2 / 3, 1))
    assert (backwards["problem_sets"], backwards["level"]) == (2, "all")
    general = row_of(part, "reversed", "general")
    assert (general["mean_difference"], general["changed"]) == (0, 0)
    # In `a` two of four are right: each label has one of two, so F1 1/2. In `b` the unscored video does not count as a
    # change; it is wrong in strict figures, where its label is missed: F1 1 and 0.
    still = row_of(part, "static", "permutation")
    assert still["mean_macro_f1"] == pytest.approx((1 / 2 + (1 / 2 if strict else 1)) / 2)
    assert still["changed"] == pytest.approx((1 / 2 + 0) / 2)
    everything = row_of(part, "static", "all")
    assert everything["changed"] == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)
    assert part["controls"]["verdict"] == NOT_BLIND
    assert "controls" not in build_results([replace(table_of(SETS), controls={})], "none", strict)["clip"]


def test_rescaling_is_of_each_order_by_itself() -> None:
    table = table_of({"level_2/permutation/a": {"forward": "rw", "reversed": "rr"}})
    shifted = table.controls["reversed"].with_columns(pl.col("score") * 100 - 7)
    scaled = replace(table, controls={"reversed": shifted})
    for rescaling in ("none", "label", "both"):
        row = row_of(build_results([scaled], rescaling)["clip"], "reversed", "permutation")
        assert row["mean_macro_f1"] == 1


@pytest.mark.parametrize("rescaling", ["none", "video", "label", "both"])
def test_sets_of_a_single_video(rescaling: Any) -> None:
    sets = {
        f"level_2/permutation/{name}": {"forward": forward, "shuffled": shuffled}
        for name, forward, shuffled in (("a", "r", "r"), ("b", "r", "w"), ("c", "r", "r"))
    }
    part = build_results([table_of(sets)], rescaling)["clip"]
    row = row_of(part, "shuffled", "permutation")
    assert (row["intact"], row["mean_macro_f1"], row["changed"]) == pytest.approx((1, 2 / 3, 1 / 3))
    assert (row["ci_low"], row["ci_high"]) == (0, 1)
    assert part["controls"]["verdict"] == BLIND


def test_verdicts() -> None:
    def verdict(sets: Mapping[str, Mapping[str, str]]) -> str:
        return str(build_results([table_of(sets)], "none")["clip"]["controls"]["verdict"])

    same = {"forward": "rwrr", "reversed": "rwrr", "shuffled": "rwrr"}
    lost = {"forward": "rrrr", "reversed": "rrrr", "shuffled": "wwww"}
    first, second, third = (f"level_2/permutation/{name}" for name in "abc")
    assert verdict({first: same, second: same}) == BLIND
    assert verdict({first: lost, second: lost, third: lost}) == NOT_BLIND  # one of both controls is enough
    gained = {"forward": "wwww", "reversed": "wwww", "shuffled": "rrrr"}
    assert (
        verdict({first: gained, second: gained, third: gained}) == MISLED
    )  # order changes the answers, and only hurts

    assert "different videos" in verdict({first: lost})  # a single set has no interval
    assert "permutation sets" in verdict({"level_2/remix/c": lost, "level_3/remix/c": lost})
    assert "reversed or shuffled" in verdict(
        {first: {"forward": "rr", "static": "ww"}, second: {"forward": "r", "static": "w"}}
    )
    assert "reversed or shuffled" in order_verdict([])


def hostile() -> ScoreTable:
    """A table of a judge whose name looks like markup, with two controls; `static` turns all scores around."""
    table = score_table(BOLD, 0.6)
    turned = table.rows.with_columns(-pl.col("score"))
    return replace(table, controls={"reversed": table.rows, "static": turned})


def test_page_terminal_and_json_show_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = score_table("plain judge", 0.2)
    write_scores(hostile().rows, tmp_path / "a.parquet", controls=hostile().controls)
    write_scores(plain.rows, tmp_path / "b.parquet")
    page = write_report([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "out", rescaling="none")
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results == json.loads(json.dumps(build_results([hostile(), plain], "none")))
    lines = control_lines(results)
    assert [(line.model, line.order) for line in lines] == [(BOLD, "forward"), (BOLD, "reversed"), (BOLD, "static")]
    forward, backwards, static = lines
    assert (
        backwards.f1
        == forward.f1
        == {
            row["kind"]: row["mean_macro_f1"]
            for row in results[BOLD]["aggregates"]
            if row["environment"] == "all" and row["level"] == "all"
        }
    )
    assert set(backwards.changed.values()) == {0}
    assert all(share is not None and share > 0.5 for share in static.changed.values())
    assert f"{BOLD}: {BLIND}" in printed
    text = page.read_text(encoding="utf-8")
    assert BLIND in text
    assert "The same frames in another order" in text
    assert f"{100 * static.changed['permutation']:.0f}% change" in text  # type: ignore[operator] # not None, see above
    assert ATTACK not in text
    assert BOLD not in text


def test_without_controls_nothing_is_said(tmp_path: Path) -> None:
    table = score_table("plain judge", 0.2)
    results = build_results([table])
    page = write_page(results, [table], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "another order" not in page
    assert order_table(results).row_count == 0
    assert not [note for note in summary_notes(results) if "blind" in note]
