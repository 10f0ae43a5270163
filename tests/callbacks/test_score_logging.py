import csv
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from wandb_runs import media_of, offline_runs, records, summary, table

from lightning_vista.callbacks import Evaluation, ScoreLogging
from lightning_vista.cli import main
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.evaluation.example_videos import read_examples
from lightning_vista.reports.results import build_results
from lightning_vista.scorers import Scores, VLMScorer
from lightning_vista.video import FrameSpec
from lightning_vista.vista.batch import VideoBatch
from lightning_vista.vista.tables import read_scores

UNSCORED = "toy/clips/9.mp4"


class EarlyLabels(VLMScorer):
    """Prefers labels listed early, more so in some videos; cannot score one."""

    frame_spec = FrameSpec(num_frames=2, size=16)

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        return [
            [self._scores(question.video, len(candidates.labels)) for candidates in question.candidates]
            for question in batch.questions
        ]

    def _scores(self, video: str, labels: int) -> Scores:
        if video == UNSCORED:
            return Scores(torch.full((labels,), math.nan), "a | b")
        return Scores(
            torch.tensor([(len(video) * 7 + ord(video[-5]) * (label + 3)) % 11 / 11 for label in range(labels)])
        )


def evaluate(shards: Path, run_dir: Path, *loggers: Logger, **settings: Any) -> dict[str, float]:  # of the evaluation
    scorer = EarlyLabels()
    datamodule = ViSTaDataModule(str(shards), scorer.frame_spec, batch_size=4, num_workers=0)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=list(loggers),
        callbacks=[ScoreLogging(), Evaluation(str(run_dir), **settings)],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    (figures,) = trainer.test(scorer, datamodule, verbose=False)
    return dict(figures)


def check_tables(run_dir: Path, tables: Mapping[str, list[dict[str, Any]]], text: bool = False) -> None:
    """Compare the three tables with the results of the run's score table; as text, None is empty."""
    value: Any = (lambda cell: "" if cell is None else str(cell)) if text else lambda cell: cell
    scores = read_scores(run_dir)
    results = build_results([scores])
    found = {(row["model"], row["problem_set"]): row for row in tables["problem_sets"]}
    assert len(found) == len(tables["problem_sets"]) == 9
    for (model, id), row in found.items():
        expected = results[model]["problem_sets"][id]
        assert {name: row[name] for name in expected} == {name: value(cell) for name, cell in expected.items()}
    assert found["EarlyLabels", "other/foundation/multilabel"]["kind"] == "actions"
    aggregates = [(model, row) for model, entry in results.items() for row in entry["aggregates"]]
    for row, (model, expected) in zip(tables["aggregates"], aggregates, strict=True):
        assert row == {
            name: value(cell)
            for name, cell in {"model": model, "rescaling": "both", **expected, "level": str(expected["level"])}.items()
        }
    assert len(tables["videos"]) == 9 + 2 + 3
    for row in tables["videos"]:
        rows = scores.rows.filter(
            (scores.rows["problem_set"] == row["problem_set"]) & (scores.rows["video"] == row["video"])
        )
        assert json.loads(row["scores"]) == dict(rows.select("label", "score").iter_rows())
        assert row["target"] == ", ".join(rows.filter(rows["target"])["label"])
        assert row["reason"] == value("a | b" if row["video"] == UNSCORED else None)
        assert (row["prediction"] == value(None)) == (row["video"] == UNSCORED)
        assert row["correct"] == value(row["prediction"] == row["target"])
    for id, expected in results["EarlyLabels"]["problem_sets"].items():
        correct = [row["correct"] == value(True) for row in tables["videos"] if row["problem_set"] == id]
        assert sum(correct) / len(correct) == pytest.approx(expected["accuracy"])


def test_wandb_holds_figures_tables_charts_and_videos(shards: Path, tmp_path: Path, wandb_dir: Path) -> None:
    run_dir = tmp_path / "run"
    logger = WandbLogger(save_dir=wandb_dir, project="vista", offline=True)
    figures = evaluate(shards, run_dir, logger)
    logger.experiment.finish()
    (run,) = offline_runs(wandb_dir)
    logged = summary(run)
    assert figures.keys() >= {"test/macro_f1", "test/unscored", "test/ties", "test/macro_f1/toy/level_1/objects"}
    assert {name: logged[name] for name in figures} == pytest.approx(figures)
    check_tables(
        run_dir, {name: table(run, logged[f"test/{name}"]) for name in ("problem_sets", "aggregates", "videos")}
    )

    aggregates = build_results([read_scores(run_dir)])["EarlyLabels"]["aggregates"]
    charts = {key for record in records(run, "config") for key in record["update"] if "visualize" in key}
    assert {chart.removeprefix("_wandb.visualize.test/") for chart in charts} == {
        *("f1_by_level/all", "f1_by_level/toy"),  # `other` has one level only
        *("f1_at_level_1/all", "f1_at_level_1/toy", "f1_at_level_1/other"),
    }
    points = table(run, logged["Custom Chart Tables/test/f1_by_level/toy_table"])
    assert {(point["level"], point["series"]): point["mean macro f1"] for point in points} == {
        (row["level"], row["kind"]): row["mean_macro_f1"]
        for row in aggregates
        if row["environment"] == "toy" and row["level"] != "all"
    }
    assert {(point["level"], point["series"]) for point in points} >= {(1, "objects"), (2, "permutation"), (2, "all")}
    bars = table(run, logged["Custom Chart Tables/test/f1_at_level_1/all_table"])
    assert {bar["kind"] for bar in bars} == {"objects", "actions"}
    assert (run_dir / "test" / "f1_by_level" / "toy.png").exists()

    files_of = {entry["video"]: entry["file"] for entry in read_examples(run_dir)}
    names = [row["video"] for row in table(run, logged["test/videos"])]
    assert media_of(run, "test/videos") == [(run_dir / "examples" / files_of[name]).read_bytes() for name in names]

    videos = logged["test/examples"]
    assert len(videos["videos"]) == len(videos["captions"]) == 13
    written = {path.read_bytes() for path in (run_dir / "examples").glob("*.mp4")}
    assert {(run / "files" / entry["path"]).read_bytes() for entry in videos["videos"]} == written
    assert any(UNSCORED in caption and "predicted: nothing" in caption for caption in videos["captions"])
    files = {file["path"] for record in records(run, "files") for file in record["files"]}
    assert files >= {entry["path"] for entry in (*videos["videos"], logged["test/videos"])}


def test_csv_files_lie_beside_the_metrics_and_replace_nothing(shards: Path, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path / "logs")
    figures = evaluate(shards, tmp_path / "run", logger)
    folder = tmp_path / "logs" / "lightning_logs" / "version_0"
    (metrics,) = csv_rows(folder / "metrics.csv")
    assert {name: float(metrics[name]) for name in figures} == pytest.approx(figures)
    names = ("problem_sets", "aggregates", "videos")
    check_tables(tmp_path / "run", {name: csv_rows(folder / f"{name}.csv") for name in names}, text=True)
    before = {path.name: path.read_bytes() for path in folder.glob("*s.csv")}
    evaluate(shards, tmp_path / "other", logger, strict=False)
    assert {path.name: path.read_bytes() for path in folder.glob("*s.csv")} == before | {
        "metrics.csv": (folder / "metrics.csv").read_bytes()
    }
    unscored = [row for row in csv_rows(folder / "videos-2.csv") if row["reason"]]
    assert {row["correct"] for row in unscored} == {""}


def csv_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_videos_that_do_not_count_are_neither_right_nor_wrong(shards: Path, tmp_path: Path) -> None:
    evaluate(shards, tmp_path / "run", CSVLogger(tmp_path), strict=False)
    rows = csv_rows(tmp_path / "lightning_logs" / "version_0" / "videos.csv")
    assert {row["video"] for row in rows if row["correct"] == ""} == {UNSCORED}


class RecordedTensorBoard(TensorBoardLogger):
    """Stands in for TensorBoard, which may not be installed: keeps what is written."""

    log_dir = "."

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.images: dict[str, Any] = {}

    @property
    def experiment(self) -> SimpleNamespace:
        return SimpleNamespace(
            add_text=lambda name, text, step: self.texts.update({name: text}),
            add_image=lambda name, pixels, step, dataformats: self.images.update({name: pixels}),
        )

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None: ...
    def log_hyperparams(self, *args: object, **kwargs: object) -> None: ...
    def save(self) -> None: ...
    def finalize(self, status: str) -> None: ...
    def log_graph(self, *args: object, **kwargs: object) -> None: ...


def test_tensorboard_shows_the_tables_as_text(shards: Path, tmp_path: Path) -> None:
    logger = RecordedTensorBoard()
    evaluate(shards, tmp_path, logger)
    assert logger.texts.keys() == {"test/problem_sets", "test/aggregates", "test/videos"}
    head, rule, *rows = logger.texts["test/videos"].splitlines()
    assert head == "| model | problem_set | video | target | prediction | correct | scores | reason | media |"
    assert len(rows) == 14
    assert {row.count("|") for row in (head, rule, *rows)} == {10}
    assert sum("a &#124; b" in row for row in rows) == 1
    strips = {name: pixels for name, pixels in logger.images.items() if name.startswith("test/examples/")}
    assert len(strips) == len(list((tmp_path / "examples").glob("*.mp4")))
    assert {(*pixels.shape,) for pixels in strips.values()} == {(96, 6 * 96, 3)}
    assert {name for name in logger.images if name not in strips} == {
        *(f"test/f1_by_level/{name}" for name in ("all", "toy")),
        *(f"test/f1_at_level_1/{name}" for name in ("all", "toy", "other")),
    }


def test_a_long_table_is_cut_in_tensorboard_and_says_so(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_vista.drawing.boards._MARKDOWN_ROWS", 3)
    logger = RecordedTensorBoard()
    evaluate(shards, tmp_path, logger)
    *table, _, note = logger.texts["test/videos"].splitlines()
    assert len(table) == 2 + 3
    assert note.startswith("11 more rows are omitted")


def test_tensorboard_itself_takes_them(shards: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is none of our dependencies"
    )
    figures = evaluate(shards, tmp_path / "run", TensorBoardLogger(tmp_path / "logs"))
    events = accumulator.EventAccumulator(str(tmp_path / "logs" / "lightning_logs" / "version_0")).Reload()
    assert {name: events.Scalars(name)[0].value for name in figures} == pytest.approx(figures)
    (text,) = events.Tensors("test/videos/text_summary")[0].tensor_proto.string_val
    assert text.decode().count("\n") == 15


class Figures(Logger):
    """A logger that takes figures, as MLFlowLogger and others do."""

    name = version = None

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, float] = {}

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.metrics.update(metrics)

    def log_hyperparams(self, *args: object, **kwargs: object) -> None: ...


def test_other_loggers_take_figures_and_it_is_said_once(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = Figures()
    with caplog.at_level(logging.INFO):
        figures = evaluate(shards, tmp_path, logger)
        evaluate(shards, tmp_path, logger)
    assert {name: logger.metrics[name] for name in figures} == pytest.approx(figures)
    aggregates = build_results([read_scores(tmp_path)])["EarlyLabels"]["aggregates"]
    for row in aggregates:
        name = f"{row['environment']}/level_{row['level']}/{row['kind']}"
        assert logger.metrics[f"test/mean_macro_f1/{name}"] == row["mean_macro_f1"]
    assert "test/standard_error/all/level_all/all" in logger.metrics
    assert sum("Figures takes figures only" in record.message for record in caplog.records) == 1


def test_modules_that_are_not_scorers_are_left_alone(tmp_path: Path) -> None:
    logger = Figures()
    trainer = L.Trainer(
        accelerator="cpu",
        logger=logger,
        callbacks=[ScoreLogging()],
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.test(BoringModel(), verbose=False)
    assert not any("macro_f1" in name for name in logger.metrics)


def test_the_command_logs_by_itself(shards: Path, tmp_path: Path) -> None:
    main(
        [
            "test",
            "--model=RandomScorer",
            f"--evaluation.run_dir={tmp_path / 'run'}",
            "--data=ViSTaDataModule",
            f"--data.shards={shards}",
            "--data.num_workers=0",
            "--trainer.accelerator=cpu",
            "--trainer.logger=CSVLogger",
            f"--trainer.logger.save_dir={tmp_path}",
            "--trainer.enable_progress_bar=false",
        ]
    )
    assert len(csv_rows(tmp_path / "lightning_logs" / "version_0" / "videos.csv")) == 14
