"""Confusion of descriptions and success by a threshold in `results.json`, against loops over a table's rows."""

import hashlib
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from report_data import score_table, tables
from sklearn.metrics import confusion_matrix, f1_score

from lightning_vista.reports.results import build_results, write_results
from lightning_vista.vista.tables import ScoreTable

SET = "home/level_2/remix/c"


def episodes(table: ScoreTable, environment: str | None) -> list[dict[str, Any]]:
    """The rows of an environment, or of all."""
    return [row for row in table.rows.iter_rows(named=True) if environment in (None, row["problem_set"].split("/")[0])]


def in_second_half(row: dict[str, Any]) -> bool:
    name = f"{row['problem_set'].split('/')[0]}/{row['video']}"
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def best_threshold(rows: list[dict[str, Any]]) -> float:
    """The lowest of the best thresholds; scores are tenths, so that those midway between two are enough."""
    levels = sorted({row["score"] for row in rows})
    candidates = [levels[0], *((a + b) / 2 for a, b in itertools.pairwise(levels))]

    def balanced(least: float) -> float:
        return statistics.fmean(
            statistics.fmean((row["score"] >= least) == side for row in rows if row["target"] == side)
            for side in (False, True)
        )

    best: float = max(candidates, key=lambda least: (round(balanced(least), 9), -least))
    return best


@pytest.mark.parametrize("environment", ["home", "craft", None])
def test_success_is_told_by_the_other_half_of_the_videos(environment: str | None) -> None:
    table = score_table("judge", 0.6)
    rows = build_results([table, score_table("other", 0.1)])["judge"]["success_threshold"]
    place = (environment or "all", "all", "all")
    (found,) = [row for row in rows if (row["environment"], row["level"], row["kind"]) == place]
    asked = episodes(table, environment)
    scored = [row for row in asked if row["score"] is not None]
    told, true = [], []
    for second in (False, True):
        threshold = best_threshold([row for row in scored if in_second_half(row) != second])
        own = [row for row in scored if in_second_half(row) == second]
        told += [row["score"] >= threshold for row in own]
        true += [row["target"] for row in own]
    assert found["confusion"] == confusion_matrix(true, told).tolist()
    assert found["f1"] == pytest.approx(f1_score(true, told))
    assert found["accuracy"] == pytest.approx(statistics.fmean(t == s for t, s in zip(told, true, strict=True)))
    assert found["threshold"] == pytest.approx(best_threshold(scored))
    assert found["unscored"] == len(asked) - len(scored) > 0
    assert found["problem_sets"] == len({row["problem_set"] for row in asked})
    assert 0.5 < found["balanced_accuracy"] <= 1


def test_confusions_are_means_over_the_videos_of_a_label() -> None:
    table = score_table("judge", 0.6)
    found = build_results([table])["judge"]["reward_confusion"]
    assert tuple(found) == table.problem_sets
    for id, own in found.items():
        rows = table.rows.filter(pl.col("problem_set") == id)
        assert own["labels"] == rows["label"].unique(maintain_order=True).to_list()
        for true, means in zip(own["labels"], own["means"], strict=True):
            videos = rows.filter((pl.col("label") == true) & pl.col("target"))["video"]
            of_videos = rows.filter(pl.col("video").is_in(videos.implode()))
            for label, mean in zip(own["labels"], means, strict=True):
                expected = of_videos.filter(pl.col("label") == label)["score"].mean()
                assert mean == (None if expected is None else pytest.approx(expected))


def test_baselines_have_none_and_files_hold_both(tmp_path: Path) -> None:
    results = build_results(tables())
    write_results(results, tmp_path)
    read = json.loads((tmp_path / "results.json").read_text())
    for model in ("majority", "random"):
        assert (read[model]["reward_confusion"], read[model]["success_threshold"]) == ({}, [])
    assert {row["figure"] for row in read["plain judge"]["reward_quality"]} >= {"auc", "kendall_tau"}
    assert SET in read["plain judge"]["reward_confusion"]


def test_a_half_without_successes_has_no_threshold() -> None:
    one_video = [("judge", SET, "a.mp4", label, 0.5, label == "x", None) for label in "xy"]
    columns = ("model", "problem_set", "video", "label", "score", "target", "reason")
    frame = pl.DataFrame([dict(zip(columns, row, strict=True)) for row in one_video])
    assert build_results([ScoreTable(frame)])["judge"]["success_threshold"] == []
