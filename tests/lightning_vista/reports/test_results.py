import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from lightning_vista.metrics import score_problem_set
from lightning_vista.reports.results import CSV_COLUMNS, build_results, write_results
from lightning_vista.vista.tables import SCORE_COLUMNS, ScoreTable, order_rows

LABELS = ("z", "y", "x")
SETS = {
    "craft/level_2/remix/a": 5,
    "craft/level_2/remix/b": 4,
    "home/foundation/objects/c": 6,
    "home/level_2/permutation/d": 4,
    "home/level_2/permutation_go_only/e": 4,
    "home/level_3/remix/f": 3,
}


def table(model: str, skill: float, sets: dict[str, int] = SETS, **metadata: Any) -> ScoreTable:  # fields
    """A score table whose scores are noise plus its skill on the true label; the same model gives the same scores."""
    noise = random.Random(model)
    rows = [
        (model, id, f"{id.split('/')[0]}/{id[-1]}{video}.mp4", label, noise.random() + skill * true, true, None)
        for id, videos in sets.items()
        for video in range(videos)
        for place, label in enumerate(LABELS)
        for true in [place == video % len(LABELS)]
    ]
    return ScoreTable(order_rows(pl.DataFrame(rows, schema=SCORE_COLUMNS, orient="row")), **metadata)


def changed(original: ScoreTable, change: Callable[[pl.DataFrame], pl.DataFrame]) -> ScoreTable:
    return ScoreTable(change(original.rows), original.config_hash, original.kinds)


def row_of(rows: list[dict[str, Any]], *cell: str | int, **where: Any) -> dict[str, Any]:  # fields
    wanted = dict(zip(("environment", "level", "kind"), cell, strict=False)) | where
    (found,) = [row for row in rows if wanted.items() <= row.items()]
    return found


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    return build_results([table("good", 0.8, config_hash="1f"), table("fair", 0.3)])


def test_models_in_order_then_the_baselines(results: dict[str, dict[str, Any]]) -> None:
    assert list(results) == ["good", "fair", "majority", "random"]
    assert {entry["rescaling"] for entry in results.values()} == {"both"}
    assert results["good"]["config_hash"] == "1f"
    for entry in results.values():
        assert list(entry["problem_sets"]) == sorted(SETS)
        assert entry["missing"] == []


@pytest.mark.parametrize("rescaling", ["none", "video", "label", "both"])
def test_each_problem_set_is_scored_as_by_itself(rescaling: Any) -> None:  # a literal
    good = table("good", 0.4)
    found = build_results([table("other", 0.1), good], rescaling, strict=False)["good"]
    for id, videos in SETS.items():
        part = good.rows.filter(pl.col("problem_set") == id)
        scores = torch.tensor(part["score"].to_list()).double().view(videos, 3)
        targets = torch.tensor(part["target"].to_list()).view(videos, 3)
        expected = score_problem_set(scores, targets, rescaling)
        assert found["problem_sets"][id]["macro_f1"] == pytest.approx(expected.macro_f1)
        assert found["problem_sets"][id]["videos"] == videos
        raw = score_problem_set(scores, targets, "none")
        assert found["raw"]["problem_sets"][id]["macro_f1"] == pytest.approx(raw.macro_f1)
    assert found["raw"]["rescaling"] == "none"


def test_aggregates_are_means_over_problem_sets(results: dict[str, dict[str, Any]]) -> None:
    for entry in results.values():
        for part in (entry, entry["raw"]):
            f1 = {id: figures["macro_f1"] for id, figures in part["problem_sets"].items()}
            remix = row_of(part["aggregates"], "craft", 2, "general")
            pair = [f1["craft/level_2/remix/a"], f1["craft/level_2/remix/b"]]
            assert remix["mean_macro_f1"] == pytest.approx(sum(pair) / 2)
            assert remix["standard_error"] == pytest.approx(abs(pair[0] - pair[1]) / 2)
            assert remix["problem_sets"] == 2
            pooled = row_of(part["aggregates"], "all", "all", "all")
            assert pooled["mean_macro_f1"] == pytest.approx(sum(f1.values()) / len(f1))
            assert pooled["ci_low"] <= pooled["mean_macro_f1"] <= pooled["ci_high"]
            single = row_of(part["aggregates"], "home", 1, "objects")
            assert (single["standard_error"], single["ci_low"], single["ci_high"]) == (None, None, None)
    cells = [(row["environment"], row["level"], row["kind"]) for row in results["good"]["aggregates"]]
    assert len(cells) == len(set(cells))
    assert cells[:4] == [
        ("craft", 2, "general"),
        ("craft", 2, "all"),
        ("craft", "all", "general"),
        ("craft", "all", "all"),
    ]
    assert [cell for cell in cells if cell[0] == "all" and cell[1] != "all"] == [
        ("all", 1, "objects"),
        ("all", 1, "all"),
        ("all", 2, "general"),
        ("all", 2, "permutation"),
        ("all", 2, "all"),
        ("all", 3, "general"),
        ("all", 3, "all"),
    ]


def test_problem_sets_that_share_videos_are_one_cluster() -> None:
    shared = changed(
        table("good", 0.3),
        lambda rows: order_rows(rows.with_columns(pl.col("video").str.replace("craft/b", "craft/a"))),
    )
    row = row_of(build_results([shared])["good"]["aggregates"], "craft", 2, "general")
    assert row["problem_sets"] == 2
    assert row["standard_error"] is not None
    assert (row["ci_low"], row["ci_high"]) == (None, None)


def test_differences_are_paired_and_mirrored(results: dict[str, dict[str, Any]]) -> None:
    forth = row_of(results["good"]["differences"], "all", "all", "all", other="fair")
    back = row_of(results["fair"]["differences"], "all", "all", "all", other="good")
    means = [row_of(results[model]["aggregates"], "all", "all", "all")["mean_macro_f1"] for model in ("good", "fair")]
    assert forth["mean_difference"] == pytest.approx(means[0] - means[1])
    assert (back["mean_difference"], back["ci_low"]) == (
        pytest.approx(-forth["mean_difference"]),
        pytest.approx(-forth["ci_high"]),
    )
    assert {row["other"] for row in results["good"]["differences"]} == {"fair", "majority", "random"}


def test_order_leak_splits_the_permutations(results: dict[str, dict[str, Any]]) -> None:
    leak = results["good"]["order_leak"]
    for split, id in (("go_only", "home/level_2/permutation_go_only/e"), ("mixed", "home/level_2/permutation/d")):
        row = row_of(leak, "home", 2, split=split)
        assert row["mean_macro_f1"] == results["good"]["problem_sets"][id]["macro_f1"]
    official = {id: videos for id, videos in SETS.items() if "go_only" not in id}
    assert build_results([table("good", 0.8, official)])["good"]["order_leak"] == []


def test_models_run_on_other_problem_sets_are_compared_on_the_common_ones() -> None:
    few = {id: SETS[id] for id in ("craft/level_2/remix/a", "home/level_3/remix/f")}
    found = build_results([table("good", 0.8), table("fair", 0.3, few)])
    assert found["fair"]["missing"] == sorted(set(SETS) - set(few))
    assert found["good"]["missing"] == found["random"]["missing"] == []
    assert row_of(found["fair"]["aggregates"], "all", "all", "all")["problem_sets"] == 2
    assert row_of(found["good"]["differences"], "all", "all", "all", other="fair")["problem_sets"] == 2
    alone = build_results([table("fair", 0.3, few)])
    for part in ("problem_sets", "unscored", "ties"):
        assert alone["fair"][part] == found["fair"][part]
    together = row_of(found["fair"]["aggregates"], "all", "all", "all")
    assert together == pytest.approx(row_of(alone["fair"]["aggregates"], "all", "all", "all"))
    assert not any(row["environment"] == "home" and row["level"] == 1 for row in found["fair"]["aggregates"])


def test_unscored_videos_are_counted_by_reason() -> None:
    first, second = pl.col("video") == "craft/a0.mp4", pl.col("video") == "craft/a1.mp4"
    silent = changed(
        table("good", 0.8),
        lambda rows: rows.with_columns(
            pl.when((first & (pl.col("label") == "y")) | second).then(None).otherwise("score").alias("score"),
            pl.when(first).then(pl.lit("refused")).otherwise("reason").alias("reason"),
        ).filter(pl.col("video") != "craft/a2.mp4"),
    )
    found = build_results([silent, table("fair", 0.3)])["good"]
    assert found["unscored"] == {"videos": 3, "reasons": {"no reason given": 1, "not in the table": 1, "refused": 1}}
    assert found["problem_sets"]["craft/level_2/remix/a"]["unscored"] == 3
    assert found["problem_sets"]["craft/level_2/remix/a"]["videos"] == 5
    assert found["problem_sets"]["craft/level_2/remix/a"]["accuracy"] <= 2 / 5


def test_a_problem_set_without_any_score_has_no_figure_unless_strict() -> None:
    id = "home/foundation/objects/c"
    silent = changed(
        table("good", 0.8),
        lambda rows: rows.with_columns(pl.when(pl.col("problem_set") != id).then("score").alias("score")),
    )
    assert build_results([silent])["good"]["problem_sets"][id]["macro_f1"] == 0
    lenient = build_results([silent], strict=False)["good"]
    assert lenient["problem_sets"][id]["macro_f1"] is None
    assert row_of(lenient["aggregates"], "all", "all", "all")["problem_sets"] == len(SETS) - 1


def test_ties_are_counted() -> None:
    even = changed(table("good", 0.8), lambda rows: rows.with_columns(score=0.5))
    found = build_results([even])["good"]
    assert found["ties"] == sum(SETS.values())
    assert found["problem_sets"]["home/level_3/remix/f"]["ties"] == 3


def test_kinds_of_own_type_folders() -> None:
    id = "home/level_2/juggling/g"
    found = build_results([table("good", 0.8, {id: 3}, kinds={id: "actions"})])
    assert row_of(found["good"]["aggregates"], "home", 2, "actions")["problem_sets"] == 1


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([], "expected at least one score table"),
        ([table("random", 0.1)], "model 'random': this is the name of a baseline"),
        ([table("a", 0.1), table("a", 0.2)], "model 'a': expected one table, got 2"),
        ([changed(table("a", 0.1), lambda rows: rows.with_columns(target=None))], "model 'a': expected targets"),
        (
            [table("a", 0.1), changed(table("b", 0.1), lambda rows: rows.filter(pl.col("label") != "z"))],
            "home/level_3/remix/f: expected the same labels in every table",
        ),
        (
            [table("a", 0.1), changed(table("b", 0.1), lambda rows: rows.with_columns(~pl.col("target")))],
            "craft/level_2/remix/a: craft/a0.mp4 is 'x' in one table and not in another",
        ),
        (
            [
                table(name, 0.1, {"e/level_2/own/x": 3}, kinds={"e/level_2/own/x": kind})
                for name, kind in [("a", "actions"), ("b", "general")]
            ],
            "e/level_2/own/x: kind 'actions' in one table and 'general' in another",
        ),
    ],
)
def test_tables_that_cannot_be_compared(tables: list[ScoreTable], message: str) -> None:
    with pytest.raises(ValueError, match="These score tables cannot be compared") as error:
        build_results(tables)
    assert message in str(error.value)


def test_written_files(tmp_path: Path, results: dict[str, dict[str, Any]]) -> None:
    write_results(results, tmp_path / "report")
    assert json.loads((tmp_path / "report" / "results.json").read_text()) == results
    with (tmp_path / "report" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == sum(len(entry["aggregates"]) for entry in results.values())
    single = row_of(rows, "home", "1", "objects", model="good")
    assert (single["standard_error"], single["problem_sets"]) == ("", "1")
    write_results(build_results([table("good", 0.8, config_hash="1f"), table("fair", 0.3)]), tmp_path / "again")
    assert (tmp_path / "again" / "results.json").read_bytes() == (tmp_path / "report" / "results.json").read_bytes()
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["results.csv", "results.json"]


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_results({"model": {"ties": float("nan")}}, tmp_path)
    assert list(tmp_path.iterdir()) == []
