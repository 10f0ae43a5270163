"""How well a model has forgotten, and at what cost: the figures of the unlearning studies.

All losses are mean cross-entropies over held-out tokens, in nats; `forget` of texts to forget, `retain` of others.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lightning_vista.metrics.aggregation import SeedMean, seed_mean


def shallow_unlearning(relearning: Tensor) -> Tensor:
    """The forget loss after ablation, before anything is relearned (gradient routing, 4.2.2).

    Args:
        relearning: The held-out forget loss before relearning and after each of its steps, `(..., steps + 1)`; such as
            one row for each draw of texts to relearn from.

    Returns:
        The loss, `(...)`.

    Example:
        >>> shallow_unlearning(torch.tensor([2.5, 1.0, 1.2]))
        tensor(2.5000)
    """
    return _curves(relearning)[..., 0]


def robust_unlearning(relearning: Tensor) -> Tensor:
    """The lowest forget loss that relearning reaches (gradient routing, 4.2.2).

    It says little alone: a model that has become worse at everything relearns slowly too, so print its retain loss
    beside it.

    Args:
        relearning: As for `shallow_unlearning`.

    Returns:
        The loss, `(...)`.

    Example:
        >>> robust_unlearning(torch.tensor([[2.5, 1.0, 1.2], [2.5, 1.5, 1.4]]))
        tensor([1.0000, 1.4000])
    """
    return _curves(relearning).amin(dim=-1)


def alignment_tax(retain: float, base_retain: float) -> float:
    """How much forgetting costs on other texts (gradient routing, 4.2.2).

    Args:
        retain: The retain loss of the model after it has forgotten.
        base_retain: That of a model trained on the same data in the ordinary way.

    Returns:
        Their difference: 0 where it costs nothing.

    Example:
        >>> alignment_tax(0.75, 0.5)
        0.25
    """
    return retain - base_retain


def retain_forget_frontier(retain: Tensor, forget: Tensor) -> Tensor:
    """Which models are not surpassed: none has a lower retain loss at a forget loss as high, nor the other way round.

    Args:
        retain: Retain losses, `(models,)`.
        forget: Forget losses, `(models,)`.

    Returns:
        The places of these models by rising retain loss, `(models on the frontier,)`; of equal models the first.

    Raises:
        ValueError: If a loss is not a number, or there are not as many of both.

    Example:
        >>> retain_forget_frontier(torch.tensor([0.7, 0.6, 0.8]), torch.tensor([2.0, 1.0, 1.5]))
        tensor([1, 0])
    """
    if retain.shape != forget.shape or retain.dim() != 1 or torch.stack([retain, forget]).isnan().any():
        raise ValueError(f"Expected two losses of each model, all of them numbers, got {retain} and {forget}.")
    order = sorted(range(len(retain)), key=lambda place: (float(retain[place]), -float(forget[place])))
    frontier: list[int] = []
    for place in order:
        if not frontier or forget[place] > forget[frontier[-1]]:
            frontier.append(place)
    return torch.tensor(frontier, dtype=torch.long)


def leakage(
    forget: float, exposure_losses: Sequence[float], exposure_tokens: Sequence[float], undiscovered_tokens: float
) -> float:
    """How much of undiscovered forget data was learned by what stays after ablation (selective gradient masking).

    Ordinary models, trained on the retain data with more and more forget data among it, tell what a forget loss is
    worth: the number of forget tokens to which a model must be exposed to reach it, between two models by
    interpolation.

    Args:
        forget: The forget loss of the ablated model.
        exposure_losses: Forget losses of the ordinary models, falling.
        exposure_tokens: How many forget tokens each has seen, rising from 0.
        undiscovered_tokens: How many unlabelled, or wrongly labelled, forget tokens the ablated model has seen.

    Returns:
        The tokens that the forget loss is worth over those that were undiscovered: 0 if nothing leaked, 1 if all did.
        A loss outside those of the ordinary models counts as the nearest of them.

    Raises:
        ValueError: If there are fewer than two ordinary models, losses do not fall with rising tokens, or nothing was
            undiscovered.

    Example:
        >>> leakage(2.0, exposure_losses=[2.5, 1.5, 0.5], exposure_tokens=[0, 100, 1000], undiscovered_tokens=200)
        0.25
    """
    losses, tokens = torch.tensor([list(exposure_losses), list(exposure_tokens)], dtype=torch.float64)
    if len(losses) < 2 or (losses.diff() >= 0).any() or (tokens.diff() <= 0).any() or undiscovered_tokens <= 0:
        raise ValueError(
            "Expected losses that fall over at least two rising numbers of tokens, and more than 0 undiscovered "
            f"tokens, got {losses.tolist()}, {tokens.tolist()} and {undiscovered_tokens}."
        )
    place = int((losses[1:-1] > forget).sum())
    share = ((losses[place] - forget) / (losses[place] - losses[place + 1])).clamp(0, 1)
    return float(torch.lerp(tokens[place], tokens[place + 1], share)) / undiscovered_tokens


def summarize_seeds(runs: Iterable[Mapping[str, float]]) -> dict[str, SeedMean]:
    """Mean and 95% interval over seeds of each figure.

    Args:
        runs: The figures of each seed, by name.

    Returns:
        Name -> mean and interval, over the seeds that have the figure.

    Example:
        >>> summarize_seeds([{"tax": 0.1}, {"tax": 0.3}])["tax"].mean
        0.2
    """
    values: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.items():
            values.setdefault(name, []).append(value)
    return {name: seed_mean(seen) for name, seen in values.items()}


def _curves(relearning: Tensor) -> Tensor:
    if relearning.dim() == 0 or relearning.shape[-1] == 0:
        raise ValueError(f"Expected the losses of at least one step, got the shape {tuple(relearning.shape)}.")
    return relearning
