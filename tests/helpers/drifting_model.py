"""A model whose weights depend on every batch so far, on their order, and on the noise of its dropout."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn


class DriftingModel(L.LightningModule):
    """A small network on the mean colours of frames, with dropout, noise and momentum."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(9, 16), nn.Dropout(0.5), nn.Tanh(), nn.Linear(16, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        pixels = batch.frames if hasattr(batch, "frames") else batch["image"]
        colours = pixels.float().flatten(1)[:, :9] / 255
        loss: Tensor = (self.layers(colours + 0.1 * torch.randn_like(colours)) - 1).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.05)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)]
