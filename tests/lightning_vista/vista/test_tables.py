import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lightning_vista.vista.problem_sets import ProblemSet, declared_kinds, outline
from lightning_vista.vista.tables import SCORE_COLUMNS, ScoreTableError, read_scores, write_scores

pytestmark = pytest.mark.portable

REMIX = "home/level_2/remix/a"
Row = dict[str, Any]


def rows() -> list[Row]:
    """Two problem sets, labels in an order of their own, videos out of order."""
    return [
        {
            "model": "clip",
            "problem_set": problem_set,
            "video": f"home/{video}.mp4",
            "label": label,
            "score": 0.1 * place + video,
            "target": place == video,
            "reason": None,
        }
        for problem_set, labels in ((REMIX, ("wz", "ab")), ("home/foundation/objects/b", ("cup", "apple")))
        for video in (1, 0)
        for place, label in enumerate(labels)
    ]


def test_round_trip_puts_rows_in_order(tmp_path: Path) -> None:
    written = write_scores(rows(), tmp_path / "run" / "scores.parquet", config_hash="1f3a")
    table = read_scores(tmp_path / "run")
    assert table.rows.equals(written.rows)
    assert table.rows.schema == pl.Schema(SCORE_COLUMNS)
    assert (table.model, table.config_hash, table.kinds) == ("clip", "1f3a", {})
    assert table.problem_sets == ("home/foundation/objects/b", REMIX)
    assert table.rows.select("video", "label").rows() == [
        (f"home/{video}.mp4", label)
        for labels in (("cup", "apple"), ("wz", "ab"))
        for video in (0, 1)
        for label in labels
    ]


def test_the_same_rows_in_any_order_of_videos_give_the_same_bytes(tmp_path: Path) -> None:
    write_scores(rows(), tmp_path / "a.parquet", config_hash="1")
    shuffled = rows()[2:4] + rows()[6:] + rows()[:2] + rows()[4:6]
    write_scores(pl.DataFrame(shuffled, schema=SCORE_COLUMNS), tmp_path / "b.parquet", config_hash="1")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_nan_is_unscored(tmp_path: Path) -> None:
    changed = rows()
    changed[0] |= {"score": math.nan, "reason": "no answer"}
    write_scores(changed, tmp_path / "scores.parquet")
    unscored = read_scores(tmp_path).rows.filter(pl.col("score").is_null())
    assert unscored.select("video", "label", "reason").rows() == [("home/1.mp4", "wz", "no answer")]


def test_a_prediction_has_no_targets(tmp_path: Path) -> None:
    write_scores([row | {"target": None} for row in rows()], tmp_path / "scores.parquet")
    assert read_scores(tmp_path).rows["target"].null_count() == 8


def test_tables_of_other_tools_are_read(tmp_path: Path) -> None:
    pl.DataFrame(rows()).write_parquet(tmp_path / "bare.parquet")  # `reason` has no type of its own there
    table = read_scores(tmp_path / "bare.parquet")
    assert table.rows.schema == pl.Schema(SCORE_COLUMNS)
    assert table.config_hash == ""


def test_kinds_of_own_folders_travel_in_the_metadata(tmp_path: Path) -> None:
    own = "home/level_2/juggling/a"
    changed = [row | {"problem_set": own} for row in rows()[:4]]
    with pytest.raises(ScoreTableError, match="type folder: expected .*, got 'juggling'"):
        write_scores(changed, tmp_path / "scores.parquet")
    kinds = declared_kinds(
        [ProblemSet(own, {}, (), extra={"metadata": {"kind": "actions"}}), ProblemSet(REMIX, {}, ())]
    )
    write_scores(changed, tmp_path / "scores.parquet", kinds=kinds | {"home/level_2/absent/a": "general"})
    assert read_scores(tmp_path).kinds == {own: "actions"}
    metadata = pl.read_parquet_metadata(tmp_path / "scores.parquet")
    assert (metadata["scorer"], json.loads(metadata["kinds"])) == ("clip", {own: "actions"})


def test_outline() -> None:
    found = outline("alfred/level_3/juggling/x", {"alfred/level_3/juggling/x": "tracking"})
    assert (found.environment, found.level, found.type, found.kind) == ("alfred", 3, "juggling", "tracking")
    with pytest.raises(ValueError, match="expected <environment>/<level folder>/<type>/<name>, got 'alfred/level_3'"):
        outline("alfred/level_3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop("score", "reason"), "missing: score, reason. Add or drop them."),
        (lambda frame: frame.with_columns(index=1), "unknown: index. Add or drop them."),
        (lambda frame: frame.cast({"score": pl.Float32}), "column `score`: expected Float64, got Float32. Cast it."),
        (lambda frame: frame.head(0), "got no rows"),
        (lambda frame: pl.concat([frame, frame[2:3]]), f"got several for {REMIX} / home/0.mp4 / wz. Keep one of each."),
        (lambda frame: frame[1:], f"got fewer for {REMIX} / home/1.mp4 / 1 / 2 (got, expected). Add the rows"),
        (lambda frame: frame.with_columns(target=False), "got none for home/foundation/objects/b / home/0.mp4;"),
        (
            lambda frame: frame.with_columns(model=pl.col("label")),
            "expected one model per table, got ab, apple, cup, wz",
        ),
        (lambda frame: frame.with_columns(score=math.inf), "column `score`: expected finite numbers, got infinity"),
        (
            lambda frame: frame.with_columns(problem_set=pl.lit("home/x/y/z")),
            "level folder: expected 'foundation', 'extrapyramidal' or 'level_<number>', got 'x'",
        ),
        (
            lambda frame: frame.with_columns(video=pl.when(pl.col("score") > 0).then("video")),
            "column `video`: expected text in every row, got 2 null(s)",
        ),
        (
            lambda frame: frame.with_columns(target=pl.when(pl.col("score") > 0).then("target")),
            "expected true or false in every row, or null in all, got 2 null(s) in 8 rows",
        ),
    ],
)
def test_faults_name_the_file_the_column_and_the_remedy(
    tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], message: str
) -> None:
    frame = change(pl.DataFrame(rows(), schema=SCORE_COLUMNS))
    frame.write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(ScoreTableError) as read:
        read_scores(tmp_path / "bad.parquet")
    assert message in str(read.value)
    assert f"the score table {tmp_path / 'bad.parquet'}:" in str(read.value)
    with pytest.raises(ScoreTableError) as write:
        write_scores(frame, tmp_path / "new.parquet")
    assert write.value.errors == read.value.errors
    assert not (tmp_path / "new.parquet").exists()


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    changed = [row | {"score": math.inf, "target": False} for row in rows()]
    with pytest.raises(ScoreTableError, match="2 fault"):
        write_scores(changed, tmp_path / "scores.parquet")


def test_rows_without_a_key_or_of_another_type(tmp_path: Path) -> None:
    with pytest.raises(ScoreTableError, match="row 1: expected the columns model .*; missing: reason"):
        write_scores([rows()[0], {k: v for k, v in rows()[1].items() if k != "reason"}], tmp_path / "scores.parquet")
    with pytest.raises(ScoreTableError, match="expected the columns|expected model"):
        write_scores([row | {"score": "high"} for row in rows()], tmp_path / "scores.parquet")


def test_files_that_are_not_tables(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No score table at .*scores\.parquet\. Give a run folder"):
        read_scores(tmp_path)
    (tmp_path / "scores.parquet").write_text("not parquet, for all its length")
    with pytest.raises(ScoreTableError, match="expected a parquet file as `test` writes it"):
        read_scores(tmp_path)


def test_controls_survive_and_a_file_without_them_is_as_before(tmp_path: Path) -> None:
    plain = write_scores(rows(), tmp_path / "plain.parquet", config_hash="1f3a")
    assert set(pl.read_parquet(tmp_path / "plain.parquet").columns) == set(SCORE_COLUMNS)
    reversed_ = [row | {"score": -row["score"]} for row in rows()[::-1]]
    # The labels of a control keep the places that the intact rows give them, which decide ties.
    write_scores(rows(), tmp_path / "both.parquet", config_hash="1f3a", controls={"reversed": reversed_})
    table = read_scores(tmp_path / "both.parquet")
    assert table.rows.equals(plain.rows)
    assert list(table.controls) == ["reversed"]
    assert table.controls["reversed"].equals(plain.rows.with_columns(-pl.col("score")))
    assert sorted(pl.read_parquet(tmp_path / "both.parquet")["order"].unique()) == ["forward", "reversed"]


def test_the_controls_of_a_file_of_another_tool_come_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    orders = [row | {"order": order} for row in rows() for order in ("static", "forward")]
    pl.DataFrame(orders, schema={"order": pl.String, **SCORE_COLUMNS}).write_parquet(path)
    table = read_scores(path)
    assert table.controls["static"].equals(table.rows)
    assert table.rows.equals(write_scores(rows(), tmp_path / "plain.parquet").rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda all_: all_[:8], "column `order`: expected 'forward' and any of reversed, .*, got 'reversed'"),
        (lambda all_: [*all_, all_[0] | {"order": "sideways"}], "got .*'sideways'"),
        (lambda all_: [*all_, all_[0] | {"order": None}], "got .*'None'"),
        (lambda all_: all_[2:], "expected for 'reversed' the model, videos, labels and targets of 'forward'"),
        (lambda all_: [row | {"target": True} for row in all_[:8]] + all_[8:], "expected for 'reversed'"),
        (lambda all_: [*all_, all_[0]], "expected one row per"),
    ],
)
def test_broken_controls_are_faults(change: Callable[[list[Row]], list[Row]], message: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    all_ = [row | {"order": order} for order in ("reversed", "forward") for row in rows()]
    pl.DataFrame(change(all_), schema={**SCORE_COLUMNS, "order": pl.String}).write_parquet(path)
    with pytest.raises(ScoreTableError, match=message):
        read_scores(path)


def test_a_damaged_table_is_refused_and_one_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    table = write_scores(rows(), path, config_hash="1f3a")
    content = path.read_bytes()
    for place in range(4, len(content), 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ScoreTableError, match=r"scores\.parquet"):
            read_scores(path)
    table.rows.write_parquet(path, metadata={"scorer": "clip", "config_hash": "1f3a", "kinds": "{}"})
    assert read_scores(path).config_hash == "1f3a"
