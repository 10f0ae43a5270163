"""Calibrates the output bias of a language model, so that losses tell what it knows rather than what it expects."""

from collections.abc import Callable

import torch
from torch import Tensor

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
