"""The CSV for leaderboards and LeRobot's table of progress."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import lightning as L
import polars as pl
import pytest

from lightning_vista.cli import main
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.evaluation.progress_file import Progress, ProgressFile, write_progress
from lightning_vista.reports import export_leaderboard, export_lerobot, write_lerobot_progress
from lightning_vista.scorers import RandomScorer
from lightning_vista.vista import read_problem_sets
from lightning_vista.vista.tables import read_scores


@pytest.fixture(scope="module")
def runs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("exports")
    for seed, name in enumerate(("one", "two, with a comma")):
        scorer = RandomScorer(seed, name)
        trainer = L.Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=root,
        )
        trainer.test(scorer, ViSTaDataModule(str(shards), scorer.frame_spec, num_workers=0), verbose=False)
    return sorted((root / "runs").iterdir())


@pytest.mark.parametrize("source", ["shards", "tasks"])
def test_every_score_has_its_description_level_and_kind(
    runs: list[Path], shards: Path, dataset: Path, tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shards if source == "shards" else dataset / "tasks"
    out = tmp_path / "deep" / "board.csv"
    main(["export", "leaderboard", *map(str, runs), "--dataset", str(folder), "--out", str(out)])
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    tables = [read_scores(run) for run in runs]
    assert len(rows) == sum(table.rows.height for table in tables)
    assert f"{len(rows)} rows of 2 model(s)" in capsys.readouterr().out
    sets = {problem_set.id: problem_set for problem_set in read_problem_sets(dataset / "tasks")}
    scores = {
        (row["model"], row["problem_set"], row["video"], row["label"]): row
        for table in tables
        for row in table.rows.iter_rows(named=True)
    }
    for row in rows:
        problem_set = sets[row["problem_set"]]
        assert row["description"] == problem_set.descriptions[row["label"]]
        assert (row["level"], row["kind"], row["type"]) == (str(problem_set.level), problem_set.kind, problem_set.type)
        assert row["environment"] == problem_set.environment
        known = scores[row["model"], row["problem_set"], row["video"], row["label"]]
        assert float(row["score"]) == known["score"]
        assert row["target"] == str(known["target"]).lower()
    assert {row["config_hash"] for row in rows} == {table.config_hash for table in tables}


def test_other_datasets_and_repeated_models_are_refused(runs: list[Path], dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`runs`: expected different models, got one twice"):
        export_leaderboard([runs[0], runs[0]], dataset / "tasks", tmp_path / "board.csv")
    (environment, *_) = sorted((dataset / "tasks").iterdir())
    other = tmp_path / "tasks" / environment.name
    first = next(
        path for path in sorted(environment.rglob("*.yaml")) if path.with_name(f"{path.stem}_data.json").exists()
    )
    copy = other / first.relative_to(environment)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(first.read_bytes())
    copy.with_name(f"{copy.stem}_data.json").write_bytes(first.with_name(f"{first.stem}_data.json").read_bytes())
    with pytest.raises(ValueError, match="`dataset`: expected the descriptions of all problem sets of one"):
        export_leaderboard([runs[0]], tmp_path / "tasks", tmp_path / "board.csv")
    assert not (tmp_path / "board.csv").exists()


FIRST = Progress("We a", (1, 3, 5), (0.0, 0.2, 0.4), (2.0, 4.0, 3.0), (("We a", (2.0, 4.0, 3.0)),), "v/0.mp4", "s")
FLAT = Progress("We b", (1, 2, 3), (0.0, 0.1, 0.2), (0.5, 0.5, 0.5), (("We b", (0.5, 0.5, 0.5)),), "v/1.mp4", "s")
UNSCORED = Progress("We c", (1, 2, 3), (0.0, 0.1, 0.2), (0.5, float("nan"), 0.5), (), "v/2.mp4", "s")


def test_the_table_is_what_lerobot_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_progress(ProgressFile("judge", (FIRST, FLAT)), tmp_path)
    out = tmp_path / "progress.parquet"
    main(["export", "lerobot", str(tmp_path), "--out", str(out)])
    assert "8 frames of 2 episode(s)" in capsys.readouterr().out
    frame = pl.read_parquet(out)
    assert dict(frame.schema) == {
        "index": pl.Int64,
        "episode_index": pl.Int64,
        "frame_index": pl.Int64,
        "progress_sparse": pl.Float32,
        "progress_dense": pl.Float32,
    }
    assert frame["index"].to_list() == list(range(8))
    assert frame["episode_index"].to_list() == [0] * 5 + [1] * 3
    assert frame["frame_index"].to_list() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert frame["progress_sparse"].to_list() == pytest.approx([0, 0.5, 1, 0.75, 0.5, 1, 1, 1])
    assert frame["progress_dense"].to_list() == pytest.approx([0, 0.5, 1, 1, 1, 1, 1, 1])
    metadata = pl.read_parquet_metadata(out)
    assert metadata["reward_model_path"] == "judge"
    assert "v/1.mp4" in metadata["episodes"]


def test_unscored_curves_are_named_and_shift_no_episode(tmp_path: Path) -> None:
    """They used to be dropped silently, so that the last episode had the number of the one before."""
    write_progress(ProgressFile("judge", (FIRST, UNSCORED, FLAT)), tmp_path)
    with pytest.raises(ValueError, match=r"progress\.json: expected values .* got NaN in v/2\.mp4 in s\. Run `test`"):
        export_lerobot(tmp_path, tmp_path / "progress.parquet")
    assert not (tmp_path / "progress.parquet").exists()


def test_steps_without_a_value_are_not_exported_as_done(tmp_path: Path) -> None:
    # The maximum over NaN and numbers was NaN or not by their order, and brought to [0, 1] it was 1 throughout.
    (first, values), *others = FIRST.steps
    holed = replace(FIRST, steps=((first, (values[0], math.nan, *values[2:])), *others))
    with pytest.raises(ValueError, match=r"`episodes`: expected values at every point, got NaN in episodes \[0\]"):
        write_lerobot_progress([holed], tmp_path / "x.parquet", "judge")


def test_videos_without_a_curve_are_named(tmp_path: Path) -> None:
    write_progress(ProgressFile("judge", (FIRST, FLAT), ("v/3.mp4 in s: fewer frames",)), tmp_path)
    with pytest.warns(UserWarning, match=r"1 example videos without a curve .*: v/3\.mp4 in s: fewer frames\."):
        frame = export_lerobot(tmp_path, tmp_path / "progress.parquet")
    assert frame["episode_index"].n_unique() == 2


def test_without_steps_there_is_no_dense_progress(tmp_path: Path) -> None:
    plain = Progress("We b", (1, 2, 3), (0.0, 0.1, 0.2), (0.5, 0.6, 0.7))
    frame = write_lerobot_progress([FIRST, plain], tmp_path / "progress.parquet", "judge")
    assert "progress_dense" not in frame.columns


def test_nothing_to_export_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ProgressCurves"):
        main(["export", "lerobot", str(tmp_path), "--out", str(tmp_path / "x.parquet")])
    with pytest.raises(ValueError, match="`episodes`: expected at least one curve"):
        write_lerobot_progress([], tmp_path / "x.parquet", "judge")
    with pytest.raises(ValueError, match=r"`episodes`: expected values at every point, got NaN in episodes \[1\]"):
        write_lerobot_progress([FIRST, UNSCORED], tmp_path / "x.parquet", "judge")
    assert not list(tmp_path.iterdir())
