"""Fits that are stopped and resumed: every weight is that of the fit that nobody stopped."""

import random
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from drifting_model import DriftingModel
from lightning.fabric.utilities.data import _auto_add_worker_init_fn
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_vista.datamodules import ImagesDataModule, ViSTaDataModule
from lightning_vista.processes.resumable_loader import ResumableLoader, init_worker
from lightning_vista.video import FrameSpec

pytestmark = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no `validation_step`"),  # it is off
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]


class Noisy(DriftingModel):
    """The model with numbers of all generators in its training."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        noise = random.random() + np.random.random()
        return super().training_step(batch, batch_idx) * (1 + noise)


def fit(
    data: L.LightningDataModule, folder: Path, at: dict[str, Any], checkpoint: Path | None = None, **options: Any
) -> tuple[dict[str, torch.Tensor], list[Path]]:
    """Fit for three epochs; return the weights and the checkpoints, of which `at` says when."""
    L.seed_everything(3, verbose=False)
    model = Noisy()
    if checkpoint is not None:
        L.seed_everything(4, verbose=False)  # a resumed run must not owe its numbers to the seed
    saving = ModelCheckpoint(folder, filename="{step}", save_top_k=-1, **at)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        max_epochs=3, limit_val_batches=0, callbacks=[saving], **options,
    )  # fmt: skip
    trainer.fit(model, data, ckpt_path=checkpoint)
    return model.state_dict(), sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)


def videos(shards: Path, num_workers: int) -> ViSTaDataModule:
    return ViSTaDataModule(
        frame_spec=FrameSpec(2, size=8), train_shards=str(shards), val_shards=str(shards), batch_size=2,
        num_workers=num_workers, shuffle_buffer=4,
    )  # fmt: skip


def images() -> ImagesDataModule:
    return ImagesDataModule(train_images=300, batch_size=64)


@pytest.mark.parametrize(
    "at", [{"every_n_train_steps": 1}, {"every_n_epochs": 1, "save_on_train_epoch_end": True}], ids=["steps", "epochs"]
)
@pytest.mark.parametrize("kind", ["images", "stream", "stream, 2 workers"])
def test_a_fit_resumed_anywhere_ends_with_the_same_weights(
    kind: str, at: dict[str, Any], shards: Path, tmp_path: Path
) -> None:
    def data() -> L.LightningDataModule:
        return images() if kind == "images" else videos(shards, 2 * ("workers" in kind))

    whole, checkpoints = fit(data(), tmp_path / "whole", at)
    assert len(checkpoints) >= 3
    few = checkpoints[:-1] if kind == "images" else checkpoints[:-1:3]
    for number, checkpoint in enumerate(few):
        resumed, _ = fit(data(), tmp_path / str(number), at, checkpoint)
        assert {name: value.tolist() for name, value in resumed.items()} == {
            name: value.tolist() for name, value in whole.items()
        }, checkpoint.name


@pytest.mark.parametrize("kind", ["images", "stream"])
def test_a_fit_resumed_at_the_end_of_an_epoch_and_within_the_next_ends_with_the_same_weights(
    kind: str, shards: Path, tmp_path: Path
) -> None:
    def data() -> L.LightningDataModule:
        return images() if kind == "images" else videos(shards, 0)

    at = {"every_n_train_steps": 1}
    whole, checkpoints = fit(data(), tmp_path / "whole", at)
    per_epoch = len(checkpoints) // 3
    _, later = fit(data(), tmp_path / "once", at, checkpoints[per_epoch - 1])
    assert len(later) == 2 * per_epoch
    for number, checkpoint in enumerate(later[:per_epoch]):
        twice, _ = fit(data(), tmp_path / f"twice_{number}", at, checkpoint)
        assert {name: value.tolist() for name, value in twice.items()} == {
            name: value.tolist() for name, value in whole.items()
        }, checkpoint.name


def test_another_order_gives_other_weights(shards: Path, tmp_path: Path) -> None:
    """The test above can fail."""
    whole, checkpoints = fit(images(), tmp_path / "whole", {"every_n_train_steps": 1})
    state = torch.load(checkpoints[1], weights_only=False)
    del state["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    torch.save(state, checkpoints[1])
    resumed, _ = fit(images(), tmp_path / "resumed", {"every_n_train_steps": 1}, checkpoints[1])
    assert any(not torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_fit_that_nobody_resumes_draws_what_an_ordinary_loader_draws() -> None:
    rows = TensorDataset(torch.arange(20))
    orders = []
    for kind in (DataLoader, ResumableLoader):
        torch.manual_seed(1)
        loader: Any = kind(rows, batch_size=3, shuffle=True)
        orders.append([[batch[0].tolist() for batch in loader] for _ in range(2)] + [torch.rand(2).tolist()])
    assert orders[0] == orders[1]


class Draws(Dataset[list[float]]):
    """Numbers of all generators."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> list[float]:
        return [float(torch.rand(())), float(np.random.random()), random.random()]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_workers_are_seeded_as_lightning_seeds_them(rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", int(rank))
    drawn = []
    for init in (init_worker, None):
        L.seed_everything(5, workers=True, verbose=False)
        loader: DataLoader[list[float]] = DataLoader(Draws(), batch_size=None, num_workers=2, worker_init_fn=init)
        _auto_add_worker_init_fn(loader, int(rank))
        drawn.append(list(loader))
    assert drawn[0] == drawn[1]
    assert len({number for numbers in drawn[0] for number in numbers}) == 12
