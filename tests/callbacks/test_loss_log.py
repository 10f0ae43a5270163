import csv
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from routed_run import Batches, Regression, make_trainer
from torch import Tensor

from lightning_vista.callbacks import LossLog
from lightning_vista.cli import main

Rows = list[dict[str, str]]


class Logging(Regression):
    """Logs in steps, at the end of epochs, and something that is not a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.seen.append(loss.item())
        self.log("train/loss", loss)
        self.log("train/both", loss, on_step=True, on_epoch=True)
        self.log("other", loss)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train/late", float(self.current_epoch))


class Kill(L.Callback):
    def __init__(self, step: int, error: type[BaseException]) -> None:
        self.step, self.error = step, error

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise self.error


def read(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def column(rows: Rows, name: str) -> list[tuple[int, Any]]:
    return [(int(row["step"]), float(row[name])) for row in rows if row[name]]


def test_what_is_logged_is_kept(tmp_path: Path) -> None:
    model = Logging()
    trainer = make_trainer(LossLog(), default_root_dir=tmp_path, max_epochs=2)
    trainer.fit(model, Batches())
    rows = read(tmp_path / "losses.csv")
    assert set(rows[0]) == {"step", "epoch", "train/loss", "train/both", "train/both_step", "train/both_epoch",
                            "train/late", "val/loss"}  # fmt: skip
    assert column(rows, "train/loss") == [(step + 1, pytest.approx(loss)) for step, loss in enumerate(model.seen)]
    means = [sum(model.seen[:4]) / 4, sum(model.seen[4:]) / 4]
    assert column(rows, "train/both_epoch") == [(4, pytest.approx(means[0])), (8, pytest.approx(means[1]))]
    assert column(rows, "train/late") == [(4, 0.0), (8, 1.0)]
    assert [step for step, _ in column(rows, "val/loss")] == [4, 8]
    assert column(rows, "val/loss")[-1][1] == pytest.approx(float(trainer.callback_metrics["val/loss"]))


def test_steps_between_are_left_out(tmp_path: Path) -> None:
    trainer = make_trainer(LossLog(), default_root_dir=tmp_path, max_epochs=3, accumulate_grad_batches=2)
    trainer.log_every_n_steps = 4  # type: ignore[attr-defined] # the helper sets 1
    trainer.fit(Logging(), Batches())
    assert [step for step, _ in column(read(tmp_path / "losses.csv"), "train/loss")] == [4]


@pytest.mark.filterwarnings("ignore:Checkpoint directory:UserWarning", "ignore:You're resuming from a checkpoint")
def test_a_resumed_run_drops_what_the_killed_one_did_later(tmp_path: Path) -> None:
    options: dict[str, Any] = {"default_root_dir": tmp_path, "max_epochs": 3, "enable_checkpointing": True}

    def callbacks() -> list[L.Callback]:
        return [LossLog(), ModelCheckpoint(tmp_path / "saved", filename="last", every_n_train_steps=5)]

    with pytest.raises(KeyError):
        make_trainer(*callbacks(), Kill(7, KeyError), **options).fit(Logging(), Batches())
    killed = read(tmp_path / "losses.csv")
    assert [step for step, _ in column(killed, "train/loss")][-1] == 7
    with (tmp_path / "losses.csv").open("a") as file:
        file.write("8,")  # torn
    model = Logging()
    make_trainer(*callbacks(), **options).fit(model, Batches(), ckpt_path=tmp_path / "saved/last.ckpt")
    assert not (tmp_path / "losses-2.csv").exists()
    rows = read(tmp_path / "losses.csv")
    ours = enumerate(model.seen, start=6)
    expected = [*column(killed, "train/loss")[:5], *((step, pytest.approx(loss)) for step, loss in ours)]
    assert column(rows, "train/loss") == expected
    assert [step for step, _ in expected] == list(range(1, 13))
    for name in ("val/loss", "train/late", "train/both_epoch"):
        assert [step for step, _ in column(rows, name)] == [4, 8, 12]


def test_other_runs_of_the_folder_keep_their_tables(tmp_path: Path) -> None:
    for _ in range(2):
        make_trainer(LossLog(), default_root_dir=tmp_path).fit(Logging(), Batches())
    first, second = (read(tmp_path / name) for name in ("losses.csv", "losses-2.csv"))
    assert first == second


def test_nothing_is_written_in_vain(tmp_path: Path) -> None:
    make_trainer(LossLog(), default_root_dir=tmp_path, fast_dev_run=True).fit(Logging(), Batches())
    assert not list(tmp_path.iterdir())
    make_trainer(LossLog(), logger=CSVLogger(tmp_path)).fit(Logging(), Batches())
    assert not list(tmp_path.rglob("losses*.csv"))


def test_few_rows_wait(tmp_path: Path) -> None:
    make_trainer(LossLog(), default_root_dir=tmp_path, max_epochs=40).fit(Logging(), Batches())
    rows = read(tmp_path / "losses.csv")
    assert [step for step, _ in column(rows, "train/loss")] == list(range(1, 161))


@pytest.mark.filterwarnings("ignore:Checkpoint directory:UserWarning", "ignore:You're resuming from a checkpoint")
def test_fit_keeps_losses_by_itself(tmp_path: Path) -> None:
    arguments = [
        "--model=lightning_vista.models.LanguageModelModule", "--model.model_type=gpt_neo", "--model.warmup_steps=1",
        "--model.sizes={hidden_size: 8, num_layers: 1, num_heads: 2, attention_types: [[[global], 1]],"
        " vocab_size: 1344, max_position_embeddings: 144}",
        "--data=lightning_vista.datamodules.StoriesDataModule",
        "--data.num_stories=100", "--data.batch_size=8", "--trainer.accelerator=cpu",
        f"--trainer.default_root_dir={tmp_path}", "--trainer.log_every_n_steps=2", "--trainer.val_check_interval=2",
        "--trainer.enable_progress_bar=false", "--trainer.logger=false",
    ]  # fmt: skip
    main(["fit", *arguments, "--trainer.max_steps=4"])
    rows = read(tmp_path / "losses.csv")
    assert [step for step, _ in column(rows, "train/loss")] == [2, 4]
    assert [step for step, _ in column(rows, "val/loss/retain")] == [2, 4]
    (checkpoint,) = tmp_path.glob("checkpoints/*.ckpt")
    main(["fit", *arguments, "--trainer.max_steps=6", f"--ckpt_path={checkpoint}"])
    assert [step for step, _ in column(read(tmp_path / "losses.csv"), "train/loss")] == [2, 4, 6]
    main(["validate", *arguments, f"--ckpt_path={checkpoint}"])
    main(["fit", *arguments, "--trainer.fast_dev_run=true"])
    assert [path.name for path in tmp_path.glob("losses*")] == ["losses.csv"]
