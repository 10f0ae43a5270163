"""The base of scorers that `fit` trains on videos and descriptions of problem sets."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from lightning_vista.metrics import macro_f1
from lightning_vista.scorers.dual.losses import PairBatch, across_sets, within_sets
from lightning_vista.scorers.dual.pretraining import one_cycle
from lightning_vista.scorers.embedding import EmbeddingScorer
from lightning_vista.vista.batch import VideoBatch


@runtime_checkable
class PairData(Protocol):
    """A datamodule whose batches are a `PairBatch`, such as `MiniTrainingDataModule`."""

    def sample_sets(self, types: Sequence[str], count: int, seed: int, size: int) -> list[PairBatch]:
        """Sample problem sets of some types that occur in no training batch, in batches of at most `size`."""
        ...


class PairTraining(EmbeddingScorer):
    """Base of embedding scorers with a contrastive training on problem sets.

    `fit` and `validate` take batches of problem sets, see `PairBatch`. `test` takes them as well and then logs
    `test/f1/<world>/<type>` and `test/f1/<world>/<type>/level_<n>`: macro F1 without rescaling.

    Attributes:
        learning_rate: Highest AdamW learning rate; it rises for a tenth of the steps and then falls as a cosine. None
            for frozen weights.
        out: File for the weights after training; None, as in copies that attacks train, writes no file.
    """

    learning_rate: float | None = None
    out: str | None = None

    def scale(self) -> Tensor:
        """Return the factor of dot products before the softmax, a scalar."""
        raise NotImplementedError

    def embed_pairs(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Return the embeddings of videos `(videos, dim)` and of descriptions `(texts, dim)`."""
        return self.embed_videos(batch.frames), self.embed_texts(batch.texts)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the terms of the loss: by default those over whole videos, see `dual.losses`."""
        videos, texts = self.embed_pairs(batch)
        logits = self.scale() * videos @ texts.T
        return {"within": within_sets(logits, batch), "across": 0.5 * across_sets(logits, batch)}

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """Return the sum of the losses.

        Args:
            batch: Problem sets of the train split.
            batch_idx: Unused.

        Returns:
            The loss, a scalar.
        """
        losses = self.losses(batch)
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, prog_bar=True)
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Log the macro F1 of problem sets, by level and over all.

        Args:
            batch: Problem sets of the validation split.
            batch_idx: Unused.
        """
        for _, level, f1 in self._macro_f1(batch):
            self.log_dict({"val/macro_f1": f1, f"val/macro_f1/level_{level}": f1}, on_epoch=True, batch_size=1)

    def test_step(self, batch: VideoBatch | PairBatch, batch_idx: int) -> Any:  # of two kinds
        """Return the checked scores of videos; for problem sets in the form of training, log their macro F1.

        Args:
            batch: Videos with candidates, or problem sets.
            batch_idx: Unused.
        """
        if isinstance(batch, VideoBatch):
            return super().test_step(batch, batch_idx)
        for kind, level, f1 in self._macro_f1(batch):
            figures = {f"test/f1/{kind}": f1, f"test/f1/{kind}/level_{level}": f1}
            self.log_dict(figures, on_step=False, on_epoch=True, batch_size=1)
        return None

    def tests_itself(self, datamodule: Any) -> bool:
        """Return whether the data are problem sets in the form of training, which need no `Evaluation`."""
        return isinstance(datamodule, PairData)

    def configure_optimizers(self) -> Any:  # one of Lightning's many forms
        """Return AdamW with one cycle of the learning rate."""
        if self.learning_rate is None:
            raise ValueError(f"`learning_rate`: expected a number to train {self.name}, got None. Set it.")
        return one_cycle(self, self.learning_rate)

    def _macro_f1(self, batch: PairBatch) -> Iterator[tuple[str, int, Tensor]]:
        """Yield the type, level and macro F1 of each problem set."""
        videos, texts = self.embed_pairs(batch)
        with torch.autocast(videos.device.type, enabled=False):  # which would round scores, and so make ties
            scores = videos @ texts.T
        for group in range(int(batch.video_groups.max()) + 1):
            shown = batch.video_groups == group
            asked = (batch.text_groups == group).nonzero().flatten()
            predicted = asked[scores[shown][:, asked].argmax(1)]
            f1 = macro_f1(predicted[:, None] == asked, batch.answers[shown][:, None] == asked).float()
            yield batch.text_types[int(asked[0])], int(batch.levels[asked[0]]), f1
