"""Pretraining of the frame encoder: to say what is true in a single image."""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lightning_vista.metrics import macro_f1
from lightning_vista.scorers.dual.frames import SMALL_CNN, FrameEncoder
from lightning_vista.scorers.dual.weights import save_weights
from lightning_vista.video import FrameSpec


class FramePretraining(L.LightningModule):
    """Trains a `FrameEncoder` to tell which facts are true in an image; batches are (images, facts).

    Args:
        num_facts: The number of facts.
        out: Where the encoder's weights are written when training ends; nowhere if None.
        tower: See `FrameEncoder`.
        size: See `FrameEncoder`.
        dim: See `FrameEncoder`.
        learning_rate: The highest rate of AdamW; it rises for a tenth of the steps and then falls as a cosine.
        positive_weight: How much a true fact counts, where a false one counts 1: few are true.
        noise: Standard deviation of the noise on pixels, in grey levels, in place of compression.

    Example:
        >>> FramePretraining(num_facts=10).frame_spec.num_frames
        1
    """

    positive_weight: Tensor

    def __init__(
        self,
        num_facts: int,
        out: str | None = None,
        tower: str = SMALL_CNN,
        size: int = 96,
        dim: int = 192,
        learning_rate: float = 3e-3,
        positive_weight: float = 5.0,
        noise: float = 4.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["out"])
        self.frame_spec = FrameSpec(num_frames=1, size=size)
        self.settings = {"tower": tower, "size": size, "dim": dim}
        self.encoder = FrameEncoder(tower, size, dim)
        self.facts = nn.Linear(dim, num_facts)
        self.out = out
        self.learning_rate, self.noise = learning_rate, noise
        self.register_buffer("positive_weight", torch.tensor(positive_weight))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The binary cross-entropy of all facts.

        Args:
            batch: Images, uint8 `(images, 3, size, size)`, and facts, bool `(images, facts)`.
            batch_idx: Not used.
        """
        images, facts = batch
        pixels = images.float()
        pixels = pixels + self.noise * torch.randn_like(pixels)
        loss = self._loss(self.facts(self.encoder(pixels)), facts)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the loss and the macro F1 over facts that occur; arguments as in `training_step`."""
        images, facts = batch
        logits = self.facts(self.encoder(images))
        self.log("val/loss", self._loss(logits, facts), prog_bar=True)
        self.log("val/macro_f1", macro_f1(logits > self.positive_weight.log(), facts).float(), prog_bar=True)

    def configure_optimizers(self) -> Any:  # one of Lightning's many forms
        """AdamW with one cycle of the learning rate."""
        return one_cycle(self, self.learning_rate)

    def on_train_end(self) -> None:
        """Write the encoder's weights."""
        if self.out is not None and self.trainer.is_global_zero:
            save_weights(self.encoder, self.settings, self.out)

    def _loss(self, logits: Tensor, facts: Tensor) -> Tensor:
        weight = torch.where(facts, self.positive_weight, 1.0)
        return binary_cross_entropy_with_logits(logits.float(), facts.float(), weight)


def one_cycle(module: L.LightningModule, learning_rate: float) -> Any:  # one of Lightning's many forms
    """AdamW whose learning rate rises for a tenth of all steps and then falls as a cosine."""
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], learning_rate, weight_decay=0.01)
    steps = max(int(module.trainer.estimated_stepping_batches), 2)

    def share(step: int) -> float:
        rise, progress = (step + 1) / (0.1 * steps), min(step / steps, 1.0)
        return min(rise, 0.5 + 0.5 * math.cos(math.pi * progress))

    # Not OneCycleLR: it keeps the number of steps in the checkpoint, so that a run could not be made longer.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
