"""Losses of a language model's tokens, and the output bias that fits their counts."""

from collections.abc import Callable, Iterable

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


#: How often the bias is corrected.
_ROUNDS = 10


def fit_output_bias(
    observed: Tensor, expect: Callable[[Tensor], Tensor], rounds: int = _ROUNDS, smoothing: float = 1.0
) -> Tensor:
    """The bias with which a model expects each token as often as it occurs: that of the lowest loss.

    Iterative scaling: `bias += log(observed / expected)`, which never raises the loss (Darroch and Ratcliff, 1972).

    Args:
        observed: How often each token occurs, `(vocabulary,)`.
        expect: From a bias `(vocabulary,)` to how often the model expects each token in the same places.
        rounds: How often the bias is corrected.
        smoothing: Added to both, so that tokens that do not occur are not ruled out.

    Returns:
        The bias, `(vocabulary,)`.

    Example:
        >>> observed = torch.tensor([6.0, 2.0])
        >>> bias = fit_output_bias(observed, lambda bias: 8 * bias.softmax(0), smoothing=0)
        >>> (8 * bias.softmax(0)).round(decimals=3)
        tensor([6., 2.])
    """
    bias = torch.zeros_like(observed)
    for _ in range(rounds):
        bias = bias + ((observed + smoothing) / (expect(bias) + smoothing)).log()
    return bias


def expected_counts(logits: Tensor, bias: Tensor) -> Tensor:
    """How often a model expects each token.

    Args:
        logits: Of each place, `(places, vocabulary)`.
        bias: Added to them, `(vocabulary,)`.

    Returns:
        The sum of probabilities over places, `(vocabulary,)`.

    Example:
        >>> expected_counts(torch.zeros(4, 2), torch.zeros(2))
        tensor([2., 2.])
    """
    return (logits.float() + bias).softmax(dim=-1).sum(dim=0)
