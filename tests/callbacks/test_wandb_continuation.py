import pickle
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from routed_run import Batches, Regression, make_trainer, routing
from wandb_runs import offline_runs, records

from lightning_vista.callbacks import WandbContinuation, continue_wandb_run
from lightning_vista.cli import main


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


class Touching:
    """An object whose pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_runs_no_code(tmp_path: Path, wandb_dir: Path) -> None:
    torch.save({"x": Touching(tmp_path / "touched")}, tmp_path / "evil.ckpt")
    trainer = make_trainer(routing(), logger=WandbLogger(save_dir=wandb_dir, project="p", offline=True))
    with pytest.raises(pickle.UnpicklingError):
        continue_wandb_run(trainer, Regression(), tmp_path / "evil.ckpt")
    assert not (tmp_path / "touched").exists()


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
    assert first == second == (tmp_path / "run" / "wandb_run.txt").read_text().strip()
