"""Losses of a language model's tokens, and the output bias that fits their counts."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div


def next_token_losses(logits: Tensor, input_ids: Tensor) -> Tensor:
    """Return the cross-entropy of each token, predicted from the tokens before it.

    Args:
        logits: Logits of the token after each position, `(batch, tokens, vocabulary)`.
        input_ids: The tokens, `(batch, tokens)`.

    Returns:
        The cross-entropy of each token but the first, in nats, `(batch, tokens - 1)`.

    Example:
        >>> next_token_losses(torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]]))
        tensor([[1.3863, 1.3863]])
    """
    return token_cross_entropy(logits[:, :-1], input_ids[:, 1:])


def token_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each token, in nats, in single precision.

    Args:
        logits: Logits of each token, `(batch, tokens, vocabulary)`.
        targets: The tokens, `(batch, tokens)`.

    Returns:
        The cross-entropy `(batch, tokens)`.
    """
    return cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")


def divergence_from_uniform(logits: Tensor) -> Tensor:
    """Return how far each prediction is from the uniform one: KL(model || uniform) = log(vocabulary) - entropy.

    Args:
        logits: Logits of each prediction `(..., vocabulary)`.

    Returns:
        The divergences `(...)`, in nats: from 0, where all tokens are equally likely, to the logarithm of their number.

    Example:
        >>> divergence_from_uniform(torch.tensor([[0.0, 0.0], [100.0, 0.0]]))
        tensor([0.0000, 0.6931])
    """
    log_probabilities = logits.float().log_softmax(dim=-1)
    return math.log(logits.shape[-1]) + (log_probabilities.exp() * log_probabilities).sum(dim=-1)


def divergence_from_teacher(student: Tensor, teacher: Tensor) -> Tensor:
    """Return how far each prediction of a student is from that of its teacher: KL(teacher || student).

    Args:
        student: Logits of the student `(..., vocabulary)`.
        teacher: Logits of the teacher `(..., vocabulary)`.

    Returns:
        The divergences `(...)`, in nats, at least 0.

    Example:
        >>> divergence_from_teacher(torch.tensor([0.0, 0.0]), torch.tensor([100.0, 0.0]))
        tensor(0.6931)
    """
    student, teacher = student.float().log_softmax(dim=-1), teacher.float().log_softmax(dim=-1)
    return kl_div(student, teacher, reduction="none", log_target=True).sum(dim=-1)


def activation_l1(activations: Iterable[Tensor], attention_mask: Tensor) -> Tensor:
    """Return the sum of absolute activations, averaged over tokens (gradient routing, section 4.2.2).

    Args:
        activations: Activations of each module, `(batch, tokens, units)`.
        attention_mask: Mask that is 0 at padding, which does not count, `(batch, tokens)`.

    Returns:
        A scalar, at least 0.

    Example:
        >>> activation_l1([torch.tensor([[[1.0, -2.0], [5.0, 5.0]]])], torch.tensor([[1, 0]]))
        tensor(3.)
    """
    sums = torch.stack([units.abs().sum(dim=-1) for units in activations]).sum(dim=0)
    return (sums * attention_mask).sum() / attention_mask.sum()


#: Number of tokens whose mean loss counts as 1 until the tokens of a step are known. A power of two rounds nothing; the
#: number of a small batch keeps gradients in the range of half precision.
_TOKENS = 1024


def token_weight(count: Tensor) -> Tensor:
    """Return the weight of a batch's mean loss among the batches of an optimizer step.

    Args:
        count: Number of tokens with a loss in the batch.
    """
    return count / _TOKENS


def step_factor(count: Tensor, parts: int) -> Tensor:
    """Return the factor that turns an average of weighted losses into the mean over all tokens.

    Args:
        count: Number of tokens with a loss in all batches of the optimizer step.
        parts: Number by which the sum over batches was divided.

    Returns:
        The factor; also of the gradients.

    Example:
        >>> means, counts = torch.tensor([1.0, 3.0]), torch.tensor([3, 1])
        >>> (means * token_weight(counts)).mean() * step_factor(counts.sum(), parts=2)
        tensor(1.5000)
    """
    return parts * _TOKENS / count


#: Number of corrections of the bias.
_ROUNDS = 10


def fit_output_bias(
    observed: Tensor, expect: Callable[[Tensor], Tensor], rounds: int = _ROUNDS, smoothing: float = 1.0
) -> Tensor:
    """Fit the bias of the lowest loss, with which a model expects each token as often as it occurs.

    Iterative scaling: `bias += log(observed / expected)`, which never raises the loss (Darroch and Ratcliff, 1972).

    Args:
        observed: Observed count of each token, `(vocabulary,)`.
        expect: Function from a bias `(vocabulary,)` to the expected count of each token in the same places.
        rounds: Number of corrections of the bias.
        smoothing: Number added to both counts, so that absent tokens stay possible.

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
    """Return the expected count of each token.

    Args:
        logits: Logits of each place, `(places, vocabulary)`.
        bias: Bias of the logits, `(vocabulary,)`.

    Returns:
        The sum of probabilities over places, `(vocabulary,)`.

    Example:
        >>> expected_counts(torch.zeros(4, 2), torch.zeros(2))
        tensor([2., 2.])
    """
    return (logits.float() + bias).softmax(dim=-1).sum(dim=0)
