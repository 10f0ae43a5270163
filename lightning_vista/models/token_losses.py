"""The losses of language models."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def next_token_losses(logits: Tensor, input_ids: Tensor) -> Tensor:
    """How badly each token was foretold from those before it.

    Args:
        logits: Of the token after each position, `(batch, tokens, vocabulary)`.
        input_ids: The tokens, `(batch, tokens)`.

    Returns:
        The cross-entropy of each token but the first, in nats, `(batch, tokens - 1)`.

    Example:
        >>> next_token_losses(torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]]))
        tensor([[1.3863, 1.3863]])
    """
    return cross_entropy(logits[:, :-1].float().transpose(1, 2), input_ids[:, 1:], reduction="none")


def activation_l1(activations: Iterable[Tensor], attention_mask: Tensor) -> Tensor:
    """The sum over units and modules of their absolute values, averaged over tokens (gradient routing, section 4.2.2).

    Args:
        activations: Of each module, `(batch, tokens, units)`.
        attention_mask: 0 at padding, which does not count, `(batch, tokens)`.

    Returns:
        A scalar, at least 0.

    Example:
        >>> activation_l1([torch.tensor([[[1.0, -2.0], [5.0, 5.0]]])], torch.tensor([[1, 0]]))
        tensor(3.)
    """
    sums = torch.stack([units.abs().sum(dim=-1) for units in activations]).sum(dim=0)
    return (sums * attention_mask).sum() / attention_mask.sum()
