"""A language model of a few weights, and texts for it to train on, to forget and to retain."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

VOCABULARY, SPLITS = 7, ("train", "validation", "test")
Batch = Mapping[str, Tensor]


class NextToken(L.LightningModule):
    """Foretells each token from the one before; 8 hidden units, some of them dropped out in training.

    `uses` are the splits of all texts whose losses were asked for, and whether they could be trained on.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.network = nn.Sequential(
            nn.Embedding(VOCABULARY, 4), nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, VOCABULARY)
        )
        self.register_buffer("constant", torch.randn(3))
        self.uses: set[tuple[str, bool]] = set()

    def token_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        self.uses |= {(SPLITS[split], torch.is_grad_enabled()) for split in batch["split"].tolist()}
        logits = self.network(batch["ids"][:, :-1])
        targets = batch["ids"][:, 1:]
        return cross_entropy(logits.transpose(1, 2), targets, reduction="none"), targets > 0

    def token_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        self.uses |= {(SPLITS[split], torch.is_grad_enabled()) for split in batch["split"].tolist()}
        return self.network(batch["ids"][:, :-1]), batch["ids"][:, 1:] > 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        losses, mask = self.token_losses(batch)
        return losses[mask].mean()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        losses, mask = self.token_losses(batch)
        self.log("test/loss", losses[mask].mean())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.token_losses(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.05)


class Texts(L.LightningDataModule):
    """Random texts of different lengths; those to forget go up, others down. `drawn` are all samples so far."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[tuple[str, bool, int, int]] = []

    def sample(self, split: str, is_forget: bool, count: int, seed: int = 0) -> Batch:
        if count > 20:
            raise ValueError(f"Expected {count} rows, there are 20.")
        self.drawn.append((split, is_forget, count, seed))
        generator = torch.Generator().manual_seed(4 * seed + 2 * SPLITS.index(split) + is_forget)
        steps = torch.randint(1, 3, (20, 6), generator=generator) * (1 if is_forget else -1)
        ids = 1 + steps.cumsum(1) % (VOCABULARY - 1)
        lengths = torch.randint(2, 7, (20, 1), generator=generator)
        rows = {"ids": ids * (torch.arange(6) < lengths), "split": torch.full((20,), SPLITS.index(split))}
        return {name: value[:count] for name, value in rows.items()}

    def loader(self, split: str) -> DataLoader[Any]:
        batches: Any = [self.sample(split, is_forget, 20, seed=9) for is_forget in (False, True)]
        return DataLoader(batches, batch_size=None)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader("train")

    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader("validation")

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader("test")
