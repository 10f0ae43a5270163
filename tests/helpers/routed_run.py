"""A small routed LightningModule, data of two groups, and a trainer that says nothing."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_vista.callbacks import GradientRouting
from lightning_vista.routing import LabelRule, Route

RULE = LabelRule("label", {"low": [0], "high": [1]})
ROUTE = Route("encoder.1", RULE, {"low": "0:3", "high": "rest"})


class Regression(L.LightningModule):
    """Two layers; the 8 hidden units are routed behind their activation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The mean square of what the encoder returns."""
        outputs: Tensor = self.encoder(batch["x"])
        return outputs.square().mean()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log_dict({"train/loss": loss}, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch))

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("test/loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Batches(L.LightningDataModule):
    """Four mixed batches to train on, two others to validate, one to test."""

    def batches(self, count: int, seed: int) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.tensor([0, 1, 1, 0, 1])
        items: Any = [{"x": torch.randn(5, 3, generator=generator), "label": labels} for _ in range(count)]
        return DataLoader(items, batch_size=None)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.batches(4, seed=1)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.batches(2, seed=2)

    def test_dataloader(self) -> DataLoader[Any]:
        return self.batches(1, seed=3)


def routing(**options: Any) -> GradientRouting:
    """The callback with the one route."""
    return GradientRouting([ROUTE], **options)


def make_trainer(*callbacks: L.Callback, **options: Any) -> L.Trainer:
    """A trainer on the CPU for one epoch, without logger and checkpoints unless given."""
    usual: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "max_epochs": 1, "accelerator": "cpu"}
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    return L.Trainer(**usual | options, **quiet, callbacks=list(callbacks))
