"""What each logger's own files hold after one and the same calls."""

import csv
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image
from torch import Tensor
from wandb_runs import media_of, offline_runs, summary, table

from lightning_vista.drawing.boards import ShownVideo, Table, boards, log_chart, log_films, log_picture, log_table
from lightning_vista.drawing.charts import Chart, Point
from lightning_vista.files.run_files import run_files

PICTURE = torch.arange(4 * 6 * 3, dtype=torch.uint8).view(4, 6, 3)
CHART = Chart("Loss", {"a": [Point(1, (1.0, 3.0)), Point(2, (1.0,))]}, "Step", "Loss", lines=True)


def show(folder: Path, *loggers: Logger) -> L.Trainer:
    """Show one of everything in loggers."""
    trainer = L.Trainer(accelerator="cpu", logger=list(loggers), enable_checkpointing=False, default_root_dir=folder)
    media = folder / "media" / "clip.png"
    media.parent.mkdir()
    Image.new("RGB", (2, 2)).save(media)
    log_table(trainer, "section/rows", Table(("name", "value"), [("a|b", 0.5), ("c", None)], [media, None]))
    log_picture(trainer, "section/picture", PICTURE)
    log_chart(trainer, "section/chart", CHART)
    clip = folder / "media" / "clip.mp4"
    clip.write_bytes(b"a video")
    log_films(trainer, "section/films", [ShownVideo(clip, "a caption", PICTURE)])
    return trainer


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def is_picture(pixels: Tensor) -> bool:
    return torch.equal(pixels, PICTURE)


def test_tensorboard_has_texts_and_pictures_in_its_event_file(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="board")
    show(tmp_path, logger)
    logger.experiment.flush()
    found: Any = EventAccumulator(logger.log_dir, {"images": 0, "tensors": 0})
    found.Reload()
    assert found.Tags()["images"] == ["section/picture", "section/chart", "section/films/clip"]
    (image,) = found.Images("section/picture")
    assert (image.height, image.width) == (4, 6)
    (text,) = found.Tensors("section/rows/text_summary")
    assert text.tensor_proto.string_val[0].decode().splitlines() == [
        "| name | value | media |", "|---|---|---|", "| a&#124;b | 0.5 | media/clip.png |", "| c |  |  |",
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of MLflow itself, whose store of files is an old form
def test_mlflow_has_everything_in_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the extra `mlflow`")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = MLFlowLogger("experiment", tracking_uri=f"file:{tmp_path}/store")
    show(tmp_path, logger)
    logger.log_metrics({"loss": 1.5}, 3)
    (metric,) = logger.experiment.get_metric_history(logger.run_id, "loss")
    assert (metric.value, metric.step) == (1.5, 3)
    (store,) = (tmp_path / "store").glob(f"*/{logger.run_id}/artifacts/section")
    assert rows_of((store / "rows.csv").read_text()) == [
        {"name": "a|b", "value": "0.5", "media": "media/clip.png"}, {"name": "c", "value": "", "media": ""},
    ]  # fmt: skip
    with Image.open(store / "picture.png") as picture:
        assert is_picture(torch.tensor(list(picture.tobytes()), dtype=torch.uint8).view(4, 6, 3))
    assert (store / "chart.png").exists()
    assert (store / "films" / "clip.mp4").read_bytes() == b"a video"


def test_csv_files_and_pictures_lie_in_the_folder_of_the_run(tmp_path: Path) -> None:
    trainer = show(tmp_path, CSVLogger(tmp_path))
    folder = run_files(trainer)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        "rows.csv", "section/chart.png", "section/picture.png",
    ]  # fmt: skip
    assert rows_of((folder / "rows.csv").read_text())[0] == {"name": "a|b", "value": "0.5", "media": "media/clip.png"}


def test_wandb_has_media_in_tables_and_charts_that_tell_values(tmp_path: Path, wandb_dir: Path) -> None:
    logger = WandbLogger(save_dir=wandb_dir, project="boards", offline=True)
    show(tmp_path, logger)
    logger.experiment.finish()
    (run,) = offline_runs(wandb_dir)
    logged = summary(run)
    first, second = table(run, logged["section/rows"])
    assert (first["name"], first["value"], second["media"]) == ("a|b", 0.5, None)
    assert media_of(run, "section/rows") == [(tmp_path / "media/clip.png").read_bytes(), None]
    assert table(run, logged["Custom Chart Tables/section/chart_table"]) == [
        {"step": 1, "series": "a", "loss": 2.0}, {"step": 2, "series": "a", "loss": 1.0},
    ]  # fmt: skip
    (picture,) = logged["section/picture"]["filenames"]
    with Image.open(run / "files" / picture) as image:
        assert (image.width, image.height) == (6, 4)
    assert logged["section/films"]["captions"] == ["a caption"]


def test_a_fast_dev_run_shows_nothing(tmp_path: Path) -> None:
    trainer = L.Trainer(accelerator="cpu", logger=CSVLogger(tmp_path), fast_dev_run=True)
    assert boards(trainer) == []
