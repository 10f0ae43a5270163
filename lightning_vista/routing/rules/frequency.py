"""Soft groups by how much more often a token occurs in the data to forget."""

from typing import Any

import torch
from torch import Tensor

from lightning_vista.routing.rules.rule import Rule
from lightning_vista.routing.rules.tokens import of_targets, read_tokens


class FrequencyRule(Rule):
    """Splits the tokens of forget sequences softly between two groups, by token frequency (arXiv 2410.04332, app. E).

    A target token that is about as frequent in retain sequences belongs to the retain group, one that is typical of
    forget sequences to the forget group. Retain sequences belong to the retain group entirely.

    Args:
        split: Tells forget from retain sequences `(batch, groups)`; must have both groups.
        forget: The name of the forget group.
        retain: The name of the retain group.
        scale: How steeply the weight falls with the ratio of frequencies.
        bias: Added to the ratio's term; -4 leaves equally frequent tokens with the retain group.
        forget_smoothing: Occurrences added to each token's in forget sequences.
        retain_smoothing: Occurrences added to each token's in retain sequences.
        num_sequences: The number of training sequences that are counted.
        field: The batch's field with the token ids.
        mask_field: The batch's field that is 0 at padding.
    """

    def __init__(
        self,
        split: Rule,
        forget: str = "forget",
        retain: str = "retain",
        scale: float = 1.0,
        bias: float = -4.0,
        forget_smoothing: float = 1.0,
        retain_smoothing: float = 20.0,
        num_sequences: int = 25_000,
        field: str | int = "input_ids",
        mask_field: str | int = "attention_mask",
    ) -> None:
        super().__init__([forget, retain])
        if set(self.groups) != set(split.groups):
            raise ValueError(f"Expected `split` to tell the groups {list(self.groups)}, it has {list(split.groups)}.")
        self.split = split
        self.scale = scale
        self.bias = bias
        self.smoothing = (forget_smoothing, retain_smoothing)
        self.num_sequences = num_sequences
        self.field = field
        self.mask_field = mask_field
        self.retain_weights: Tensor | None = None

    def setup(self, datamodule: Any) -> None:
        """Count the tokens of the first training sequences.

        Raises:
            ValueError: If there is no datamodule to count in.
        """
        self.split.setup(datamodule)
        if datamodule is None:
            raise ValueError("FrequencyRule counts tokens in a datamodule's training data, but there is none.")
        forget, retain = torch.zeros(2, len(datamodule.tokenizer), dtype=torch.float64)
        seen = 0
        for batch in datamodule.train_dataloader():
            tokens, mask = read_tokens(batch, self.field, self.mask_field)
            members = self._split(batch).double()
            for counts, member in zip((forget, retain), members.unbind(-1), strict=True):
                counts += torch.bincount(tokens.flatten(), (member.unsqueeze(1) * mask).flatten(), len(counts))
            seen += len(tokens)
            if seen >= self.num_sequences:
                break
        self.retain_weights = retain_weights(forget, retain, self.scale, self.bias, self.smoothing).float()

    def memberships(self, batch: Any) -> Tensor:
        """Soft memberships of the target token `(batch, tokens, 2)`."""
        if self.retain_weights is None:
            raise ValueError("FrequencyRule has not counted tokens yet: call `rule.setup(datamodule)` first.")
        tokens, mask = read_tokens(batch, self.field, self.mask_field)
        forget, retain = self._split(batch).to(tokens.device).unsqueeze(1).unbind(-1)
        self.retain_weights = self.retain_weights.to(tokens.device)
        kept = self.retain_weights[tokens]
        return of_targets(torch.stack([forget * (1 - kept), forget * kept + retain], dim=-1), mask)

    def _split(self, batch: Any) -> Tensor:
        """The memberships of sequences, the forget group first."""
        members = self.split.memberships(batch)
        return members[:, [self.split.groups.index(group) for group in self.groups]]


def retain_weights(
    forget_counts: Tensor, retain_counts: Tensor, scale: float, bias: float, smoothing: tuple[float, float]
) -> Tensor:
    """How much each token belongs to the retain data: `1 - sigmoid(scale * (f / r - r / f) + bias)`.

    Args:
        forget_counts: Occurrences in forget sequences `(vocabulary,)`.
        retain_counts: Occurrences in retain sequences `(vocabulary,)`.
        scale: The factor of the difference.
        bias: Added to it.
        smoothing: Occurrences added to each token's, in forget and in retain sequences.

    Returns:
        Weights from 0 (typical of forget data) to 1 `(vocabulary,)`.

    Example:
        >>> retain_weights(torch.tensor([9.0, 9.0]), torch.tensor([0.0, 9.0]), 1.0, -4.0, (1.0, 1.0)).round(decimals=2)
        tensor([0.2100, 0.9900])
    """
    forget, retain = forget_counts + smoothing[0], retain_counts + smoothing[1]
    ratio = (forget / forget.sum()) / (retain / retain.sum())
    return 1 - torch.sigmoid(scale * (ratio - 1 / ratio) + bias)
