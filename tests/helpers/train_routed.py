"""Trains a routed model on one or two processes: `python train_routed.py DEVICES OUT [SETTING=VALUE...]`."""

import sys
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from lightning_vista.callbacks import GradientRouting
from lightning_vista.routing import LabelRule, Route


class Net(L.LightningModule):
    """A regression on batches of (inputs, label)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.layers(batch[0]).square().mean()  # type: ignore[no-any-return]

    def train_dataloader(self) -> DataLoader[Any]:
        """Three batches of 8 in all: one half blocked for all samples, then for some of them."""
        labels = torch.tensor([1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 1])
        data = TensorDataset(torch.randn(24, 3, generator=torch.Generator().manual_seed(1)), labels)
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        return DataLoader(Subset(data, range(rank, 24, ranks)), batch_size=8 // ranks)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1, weight_decay=0.1)


def main(devices: int, out: str, options: dict[str, Any]) -> None:
    """Train, and let the first process save the weights."""
    route = Route("layers.0", LabelRule(1, {"low": [0], "high": [1]}), {"low": "0:3", "high": "rest"})
    net = Net()
    trainer = L.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", max_epochs=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, callbacks=[GradientRouting([route], **options)],
    )  # fmt: skip
    trainer.fit(net)
    if trainer.is_global_zero:
        torch.save(net.state_dict(), out)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], {"isolate_optimizer": "isolate" in sys.argv})
