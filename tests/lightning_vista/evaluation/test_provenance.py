"""The circumstances of a run, its film strips, and what its table knows of the problem sets."""

import json
from dataclasses import replace
from pathlib import Path

import lightning as L
import pytest
import torch
from PIL import Image

from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.evaluation import Evaluation
from lightning_vista.evaluation.film_strips import join_frames, write_strips
from lightning_vista.evaluation.provenance import describe_run, read_provenance
from lightning_vista.scorers import RandomScorer
from lightning_vista.vista.batch import Question, VideoBatch
from lightning_vista.vista.index import ShardIndex, sample_key
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.tables import read_scores


def strip(path: Path) -> Image.Image:
    """The picture of a file, read and closed."""
    with Image.open(path) as picture:
        return picture.copy()


@pytest.fixture(scope="module")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("provenance")
    scorer = RandomScorer(seed=3)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        default_root_dir=folder,
        callbacks=[Evaluation(str(folder / "run"), controls=["reversed"])],
    )
    trainer.test(scorer, ViSTaDataModule(str(shards), scorer.frame_spec), verbose=False)
    return folder / "run"


def test_the_run_says_when_and_how(run: Path) -> None:
    found = read_provenance(run)
    assert found is not None
    assert (found.model, found.arguments["seed"], found.controls) == ("random-scorer", "3", ("reversed",))
    assert found.class_path == "lightning_vista.scorers.random.RandomScorer"
    assert found.frames["num_frames"] == 2
    assert (found.dataset["problem_sets"], found.dataset["videos"]) == (3, 13)
    assert found.videos == 13
    assert found.seconds >= 0
    assert found.finished.endswith("+00:00")
    assert found.code_version.startswith("0.")
    assert str(run.parent) not in (run / "run.json").read_text("utf-8")


def test_the_split_of_the_shards_is_recorded(shards: Path) -> None:
    index = ShardIndex.read(Storage(shards))
    for split, recorded in (("val", {"split": "val"}), (None, {})):
        dataset = describe_run(RandomScorer(), replace(index, split=split), (), "32-true", 13, 1.0).dataset
        assert {key: dataset[key] for key in dataset if key == "split"} == recorded


def test_a_damaged_file_is_named(run: Path, tmp_path: Path) -> None:
    text = (run / "run.json").read_text("utf-8")
    (tmp_path / "run.json").write_text(text.replace('"random-scorer"', '"clip"'), "utf-8")
    with pytest.raises(ValueError, match=r"run\.json is damaged: its content does not match its checksum"):
        read_provenance(tmp_path)
    assert read_provenance(tmp_path / "elsewhere") is None


def test_every_problem_set_has_a_strip_and_descriptions(run: Path) -> None:
    table = read_scores(run)
    assert table.is_baseline
    assert set(table.descriptions) == set(table.problem_sets)
    assert table.descriptions["toy/level_2/permutation/order"] == {
        "ab": "First, we go to a, and then we go to b",
        "ba": "First, we go to b, and then we go to a",
    }
    strips = {path.stem.split("-")[0]: path for path in (run / "strips").glob("*.webp")}
    for id in table.problem_sets:
        videos = table.rows.filter(table.rows["problem_set"] == id)["video"].unique()
        shown = [strips[sample_key(video)] for video in videos if sample_key(video) in strips]
        assert shown
        assert all(path.stem.endswith("-2") and strip(path).size == (64, 32) for path in shown)


def test_strips_of_jpegs_and_of_many_frames(tmp_path: Path) -> None:
    frames = torch.arange(9).view(1, 9, 1, 1, 1).expand(1, 9, 3, 16, 24).mul(28).byte()
    write_strips(VideoBatch(frames, [range(9)], [Question("home/a.mp4", (), None)]), {"home/a.mp4"}, tmp_path)
    (path,) = (tmp_path / "strips").glob("*-6.webp")
    picture = strip(path).convert("L")
    assert picture.size == (6 * 24, 16)
    levels = [picture.getpixel((24 * place + 12, 8)) for place in range(6)]
    assert levels == pytest.approx([28 * index for index in (0, 2, 3, 5, 6, 8)], abs=12)  # evenly spaced, both ends
    assert join_frames([Image.new("RGB", (400, 256))] * 3).size == (600, 128)


def test_a_rerun_keeps_what_the_first_has_recorded(run: Path, shards: Path) -> None:
    before = json.loads((run / "run.json").read_text("utf-8"))
    scorer = RandomScorer(seed=3)
    evaluation = Evaluation(str(run), controls=["reversed"])
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[evaluation])
    trainer.test(scorer, ViSTaDataModule(str(shards), scorer.frame_spec), verbose=False)  # nothing is left to score
    assert json.loads((run / "run.json").read_text("utf-8")) == before
