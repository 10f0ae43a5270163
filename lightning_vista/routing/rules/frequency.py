"""Soft groups of tokens by their frequency in forget and retain data."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from lightning_vista.options import check_word
from lightning_vista.routing.rules.rule import Rule, float_memberships
from lightning_vista.routing.rules.targets import Target
from lightning_vista.routing.rules.tokens import of_targets, read_tokens


class FrequencyRule(Rule):
    """A soft split of the tokens of forget sequences into two groups, by token frequency (arXiv 2410.04332, app. E).

    A target token that is about as frequent in retain sequences belongs to the retain group, a token typical of forget
    sequences to the forget group. Retain sequences belong entirely to the retain group.

    Args:
        split: The rule that separates forget from retain sequences `(batch, groups)`; it must have both groups.
        forget: The name of the forget group.
        retain: The name of the retain group.
        scale: The slope of the weight over the difference of frequency ratios.
        bias: The offset of the weight; -4 leaves equally frequent tokens in the retain group.
        forget_smoothing: Occurrences added to the count of each token in forget sequences.
        retain_smoothing: Occurrences added to the count of each token in retain sequences.
        num_sequences: The number of training sequences to count.
        field: The batch's field with the token ids.
        mask_field: The batch's field that is 0 at padding.
        target: The token that governs a position, see `TokenwiseRule`.

    Raises:
        ValueError: If `split` has other groups, or `target` is another word.
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
        target: Target = "next",
    ) -> None:
        check_word("target", target, get_args(Target))
        super().__init__([forget, retain])
        if set(self.groups) != set(split.groups):
            raise ValueError(f"`split`: expected the groups {list(self.groups)}, got {list(split.groups)}.")
        self.split = split
        self.scale = scale
        self.bias = bias
        self.smoothing = (forget_smoothing, retain_smoothing)
        self.num_sequences = num_sequences
        self.field = field
        self.mask_field = mask_field
        self.target = target
        self.retain_weights: Tensor | None = None

    def setup(self, datamodule: Any) -> None:
        """Count the tokens of the first training sequences.

        Args:
            datamodule: A datamodule with a tokenizer and training data.

        Raises:
            ValueError: If the datamodule is missing.
        """
        self.split.setup(datamodule)
        if datamodule is None:
            raise ValueError("`datamodule`: expected one, in whose training data FrequencyRule counts, got none.")
        before = self.split.state_dict()
        forget, retain = torch.zeros(2, len(datamodule.tokenizer), dtype=torch.float64)
        seen = 0
        for batch in datamodule.train_dataloader():
            tokens, mask = read_tokens(batch, self.field, self.mask_field)
            members = self._split(batch).double()
            for counts, member in zip((forget, retain), members.unbind(-1), strict=True):
                # Soft memberships count in part; padding counts 0.
                counts += torch.bincount(tokens.flatten(), (member.unsqueeze(1) * mask).flatten(), len(counts))
            seen += len(tokens)
            if seen >= self.num_sequences:
                break
        self.split.load_state_dict(before)  # batches that are counted are not batches of training
        self.retain_weights = retain_weights(forget, retain, self.scale, self.bias, self.smoothing).float()

    def memberships(self, batch: Any) -> Tensor:
        """Return soft memberships of the target token `(batch, tokens, 2)`.

        Raises:
            ValueError: If tokens were not counted, or the batch has no tokens.
        """
        if self.retain_weights is None:
            raise ValueError("`FrequencyRule`: expected counted tokens, got none. Call `rule.setup(datamodule)` first.")
        tokens, mask = read_tokens(batch, self.field, self.mask_field)
        forget, retain = self._split(batch).to(tokens.device).unsqueeze(1).unbind(-1)
        self.retain_weights = self.retain_weights.to(tokens.device)
        kept = self.retain_weights[tokens]
        return of_targets(torch.stack([forget * (1 - kept), forget * kept + retain], dim=-1), mask, self.target)

    def describe(self, batch: Any) -> Mapping[str, Sequence[str]]:
        """Return the values of the rule for sequences."""
        return self.split.describe(batch)

    def _split(self, batch: Any) -> Tensor:
        """Return the memberships of sequences, the forget group first."""
        members = float_memberships(self.split, batch)
        return members[:, [self.split.groups.index(group) for group in self.groups]]


def retain_weights(
    forget_counts: Tensor, retain_counts: Tensor, scale: float, bias: float, smoothing: tuple[float, float]
) -> Tensor:
    """Compute the share of each token that belongs to the retain data: `1 - sigmoid(scale * (f / r - r / f) + bias)`.

    Args:
        forget_counts: Occurrences in forget sequences `(vocabulary,)`.
        retain_counts: Occurrences in retain sequences `(vocabulary,)`.
        scale: The factor of the difference of ratios.
        bias: The offset added to it.
        smoothing: Occurrences added to each count, in forget and in retain sequences.

    Returns:
        Weights from 0 (typical of forget data) to 1 `(vocabulary,)`.

    Example:
        >>> retain_weights(torch.tensor([9.0, 9.0]), torch.tensor([0.0, 9.0]), 1.0, -4.0, (1.0, 1.0)).round(decimals=2)
        tensor([0.2100, 0.9900])
    """
    # The paper leaves the normalisation of f and r open; here both are shares of all occurrences.
    forget, retain = forget_counts + smoothing[0], retain_counts + smoothing[1]
    ratio = (forget / forget.sum()) / (retain / retain.sum())
    return 1 - torch.sigmoid(scale * (ratio - 1 / ratio) + bias)
