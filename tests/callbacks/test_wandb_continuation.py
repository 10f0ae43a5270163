import json
import os
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger
from routed_run import Batches, Regression, make_trainer, routing
from wandb_runs import offline_runs, records

from lightning_vista.callbacks import WandbContinuation, continue_wandb_run
from lightning_vista.callbacks.wandb_continuation import own_wandb_run
from lightning_vista.cli import main
from lightning_vista.evaluation import Evaluation
from lightning_vista.files.own_files import to_sealed_json
from lightning_vista.scorers import RandomScorer


def ids(wandb_dir: Path) -> list[str]:
    """The ids of all offline runs, from their run files."""
    return [records(run, "run")[0]["run_id"] for run in offline_runs(wandb_dir)]


def test_training_from_a_checkpoint_continues_its_wandb_run(tmp_path: Path, wandb_dir: Path) -> None:
    def train(epochs: int, checkpoint: Path | None, **options: Any) -> L.Trainer:
        logger = WandbLogger(save_dir=wandb_dir, project="p", offline=True, **options)
        trainer = make_trainer(routing(), WandbContinuation(), max_epochs=epochs, logger=logger)
        model = Regression()
        continue_wandb_run(trainer, model, checkpoint)
        trainer.fit(model, Batches(), ckpt_path=checkpoint)
        logger.experiment.finish()
        return trainer

    path = tmp_path / "half.ckpt"
    train(1, None).save_checkpoint(path)
    train(2, path)
    train(1, None)
    train(2, path, id="chosen")
    first, second, third, fourth = ids(wandb_dir)
    assert first == second
    assert third not in (first, "chosen")
    assert fourth == "chosen"


class Running:
    """An object whose unpickling makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_looking_for_the_wandb_run_of_a_checkpoint_runs_nothing_in_it(tmp_path: Path, wandb_dir: Path) -> None:
    torch.save({"wandb_run_id": "theirs", "x": Running(tmp_path / "mark")}, tmp_path / "theirs.ckpt")
    trainer = make_trainer(routing(), logger=WandbLogger(save_dir=wandb_dir, project="p", offline=True))
    with pytest.warns(UserWarning, match=r"theirs\.ckpt is not continued"):
        assert continue_wandb_run(trainer, Regression(), tmp_path / "theirs.ckpt") is None
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_an_evaluation_continues_its_wandb_run(shards: Path, tmp_path: Path, wandb_dir: Path, finished: bool) -> None:
    arguments = [
        "test",
        "--model=RandomScorer",
        f"--evaluation.run_dir={tmp_path / 'run'}",
        "--data=ViSTaDataModule",
        f"--data.shards={shards}",
        "--data.num_workers=0",
        "--trainer.accelerator=cpu",
        "--trainer.logger=WandbLogger",
        f"--trainer.logger.save_dir={wandb_dir}",
        "--trainer.logger.offline=true",
        "--trainer.enable_progress_bar=false",
    ]
    main([*arguments, *([] if finished else ["--data.batch_size=2", "--trainer.limit_test_batches=1"])])
    main(arguments)
    first, second = ids(wandb_dir)
    assert first == second == json.loads((tmp_path / "run" / "wandb_run.json").read_text())["wandb_run_id"]


def kept_id(run: Path) -> str | None:
    """The id of the wandb run that an evaluation in this folder would continue."""
    logger = WandbLogger(save_dir=run, offline=True)
    trainer = L.Trainer(accelerator="cpu", logger=logger, callbacks=[Evaluation(str(run))])
    return continue_wandb_run(trainer, RandomScorer())


def test_a_damaged_id_is_refused_and_one_of_an_earlier_release_read(tmp_path: Path) -> None:
    assert kept_id(tmp_path) is None
    (tmp_path / "wandb_run.txt").write_text("first\n")
    assert kept_id(tmp_path) == "first"
    path = tmp_path / "wandb_run.json"
    path.write_bytes(to_sealed_json({"wandb_run_id": "second"}, 1))
    assert kept_id(tmp_path) == "second"
    for damaged in (path.read_bytes().replace(b"second", b"socond"), path.read_bytes()[:30], b"", b"\xff"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"wandb_run\.json is damaged.* begins another wandb run"):
            kept_id(tmp_path)


@pytest.mark.parametrize(
    "options", [["--model.parameters.api_key", "hunter2Zq"], ["--model.parameters", "{extra: {password: hunter2Zq}}"]]
)
def test_wandb_keeps_no_command_line_with_a_secret(
    wandb_dir: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["lightning-vista", "test", *options])
    wandb.setup()  # as an earlier run of the process does, which reads the settings of the environment
    logger = WandbLogger(save_dir=wandb_dir, project="p", offline=True)
    with own_wandb_run(make_trainer(routing(), logger=logger)):
        logger.experiment.log({"a": 1})
    files = [path for path in wandb_dir.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"hunter2Zq" in path.read_bytes()]
