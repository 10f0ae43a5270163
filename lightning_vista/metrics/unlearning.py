"""Figures of the unlearning studies: the degree of forgetting, and its cost.

All losses are mean cross-entropies over held-out tokens, in nats. A forget loss is that of texts to forget, a retain
loss that of other texts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lightning_vista.metrics.aggregation import SeedMean, seed_mean


def shallow_unlearning(relearning: Tensor) -> Tensor:
    """Return the forget loss after ablation, before relearning (gradient routing, section 4.2.2).

    Args:
        relearning: Held-out forget losses before relearning and after each of its steps `(..., steps + 1)`, float; for
            example one row for each draw of texts to relearn from.

    Returns:
        The loss `(...)`.

    Raises:
        ValueError: If `relearning` does not hold a loss.

    Example:
        >>> shallow_unlearning(torch.tensor([2.5, 1.0, 1.2]))
        tensor(2.5000)
    """
    return _curves(relearning)[..., 0]


def robust_unlearning(relearning: Tensor) -> Tensor:
    """Return the lowest forget loss that relearning reaches (gradient routing, section 4.2.2).

    Report the retain loss beside it: a model that has become worse at everything relearns slowly as well.

    Args:
        relearning: Held-out forget losses `(..., steps + 1)`, as for `shallow_unlearning`.

    Returns:
        The loss `(...)`.

    Raises:
        ValueError: If `relearning` does not hold a loss.

    Example:
        >>> robust_unlearning(torch.tensor([[2.5, 1.0, 1.2], [2.5, 1.5, 1.4]]))
        tensor([1.0000, 1.4000])
    """
    return _curves(relearning).amin(dim=-1)


def alignment_tax(retain: float, base_retain: float) -> float:
    """Compute the cost of forgetting on other texts (gradient routing, section 4.2.2).

    Args:
        retain: Retain loss of the model after forgetting.
        base_retain: Retain loss of a model trained on the same data in the ordinary way.

    Returns:
        The difference in nats; 0 if forgetting is free.

    Example:
        >>> alignment_tax(0.75, 0.5)
        0.25
    """
    return retain - base_retain


def retain_forget_frontier(retain: Tensor, forget: Tensor) -> Tensor:
    """Return the models on the Pareto frontier of low retain loss and high forget loss.

    Args:
        retain: Retain losses `(models,)`, float.
        forget: Forget losses `(models,)`, float.

    Returns:
        Positions of these models by rising retain loss `(models on the frontier,)`, int64; the first of equal models.

    Raises:
        ValueError: If a loss is NaN, or the shapes differ.

    Example:
        >>> retain_forget_frontier(torch.tensor([0.7, 0.6, 0.8]), torch.tensor([2.0, 1.0, 1.5]))
        tensor([1, 0])
    """
    if retain.shape != forget.shape or retain.dim() != 1 or torch.stack([retain, forget]).isnan().any():
        raise ValueError(
            f"`retain`, `forget`: expected two losses of each model, all of them numbers, got {retain} and {forget}."
        )
    # By rising retain loss, a model is on the frontier if its forget loss exceeds that of all models before it.
    order = sorted(range(len(retain)), key=lambda place: (float(retain[place]), -float(forget[place])))
    frontier: list[int] = []
    for place in order:
        if not frontier or forget[place] > forget[frontier[-1]]:
            frontier.append(place)
    return torch.tensor(frontier, dtype=torch.long)


def leakage(
    forget: float, exposure_losses: Sequence[float], exposure_tokens: Sequence[float], undiscovered_tokens: float
) -> float:
    """Compute the share of undiscovered forget data that the ablated model has learned (selective gradient masking).

    Ordinary models, trained on the retain data mixed with more and more forget data, convert a forget loss into
    tokens: the number of forget tokens that a model must see openly to reach it. Losses are noisy, so the models count
    by the lowest loss up to each of them. Between two of them the loss is linear in the logarithm of the tokens, or in
    the tokens themselves between none and the lowest positive number.

    Args:
        forget: Forget loss of the ablated model.
        exposure_losses: Forget losses of the ordinary models.
        exposure_tokens: Numbers of forget tokens that the ordinary models have seen, or their shares of all forget
            tokens, rising from 0.
        undiscovered_tokens: Number, or share, of unlabelled or wrongly labelled forget tokens that the ablated model
            has seen; 1 to get what the loss is equivalent to, undivided.

    Returns:
        Tokens that the forget loss is equivalent to, divided by the undiscovered tokens: 0 if nothing leaked, 1 if
        everything did. A loss outside the range of the ordinary models counts as the nearest end of the range: below
        their lowest loss, that is a lower bound.

    Raises:
        ValueError: If there are fewer than two ordinary models, a loss is not a finite number, the tokens do not rise
            from at least 0, or `undiscovered_tokens` is not positive.

    Example:
        >>> leakage(2.0, exposure_losses=[2.5, 1.5, 0.5], exposure_tokens=[0, 100, 1000], undiscovered_tokens=200)
        0.25
        >>> round(leakage(1.0, [2.5, 1.5, 0.5], [0, 100, 1000], undiscovered_tokens=1000), 3)  # halfway from 100
        0.316
    """
    losses, tokens = torch.tensor([list(exposure_losses), list(exposure_tokens)], dtype=torch.float64)
    numbers = torch.cat([losses, losses.new_tensor([forget])])
    is_usable = len(losses) >= 2 and bool(numbers.isfinite().all()) and undiscovered_tokens > 0
    if not is_usable or tokens[0] < 0 or (tokens.diff() <= 0).any():
        raise ValueError(
            "`forget`, `exposure_losses`, `exposure_tokens`, `undiscovered_tokens`: expected finite losses at no fewer "
            f"than two rising numbers of tokens, and a positive number, got {forget}, {losses.tolist()}, "
            f"{tokens.tolist()} and {undiscovered_tokens}."
        )
    # A scale that is linear up to the lowest positive number, where it is 1, and logarithmic above.
    lowest = tokens[tokens > 0][0]
    scaled = torch.where(tokens < lowest, tokens / lowest, 1 + (tokens / lowest).log())
    found = _reached_at(forget, losses.cummin(0).values, scaled)
    equivalent = float(lowest) * (found if found < 1 else math.exp(found - 1))
    return equivalent / undiscovered_tokens


def compute_ratio(loss: float, curve_losses: Sequence[float], curve_compute: Sequence[float]) -> float:
    """Compute the share of an ordinary model's training at which it had the same loss (GRAM, arXiv 2607.08077).

    A model that has forgotten half a training's worth has a ratio of one half. A validation loss is noisy, so the curve
    counts by the lowest loss so far; between two of its points it is interpolated.

    Args:
        loss: Forget loss of the model in question, after unlearning or after relearning.
        curve_losses: Forget losses of the ordinary model over its training, from the first to the last point.
        curve_compute: Training compute at these points, such as steps or tokens, rising.

    Returns:
        The share of the last point's compute. A loss outside the range of the curve counts as the nearest end of the
        range: above its first loss the ratio is the share of the first point, which is an upper bound; at or below its
        lowest loss it is that of the first point with the lowest loss, at most 1, which is a lower bound if the loss is
        lower still.

    Raises:
        ValueError: If the curve has fewer than two points, a loss is not a finite number, or the compute does not rise
            from at least 0.

    Example:
        >>> compute_ratio(2.0, curve_losses=[3.0, 1.0, 1.5, 0.5], curve_compute=[100, 200, 300, 400])
        0.375
    """
    losses, compute = torch.tensor([list(curve_losses), list(curve_compute)], dtype=torch.float64)
    numbers = torch.cat([losses, losses.new_tensor([loss])])
    if len(losses) < 2 or not numbers.isfinite().all() or compute[0] < 0 or (compute.diff() <= 0).any():
        raise ValueError(
            "`loss`, `curve_losses`, `curve_compute`: expected finite losses over at least two rising numbers, got "
            f"{loss}, {losses.tolist()} and {compute.tolist()}."
        )
    return _reached_at(loss, losses.cummin(0).values, compute) / float(compute[-1])


def summarize_seeds(runs: Iterable[Mapping[str, float]]) -> dict[str, SeedMean]:
    """Compute the mean and the 95% interval over seeds of each figure.

    Args:
        runs: Figures by name, one mapping per seed.

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


def _reached_at(loss: float, losses: Tensor, amounts: Tensor) -> float:
    """Return the amount at which losses that never rise `(points,)` first reach a loss, or the nearest end."""
    place = int((losses > loss).sum())  # the first point that reaches it
    if place == 0:
        return float(amounts[0])
    if place == len(losses):
        return float(amounts[(losses > losses[-1]).sum()])
    share = (losses[place - 1] - loss) / (losses[place - 1] - losses[place])
    return float(torch.lerp(amounts[place - 1], amounts[place], share))


def _curves(relearning: Tensor) -> Tensor:
    if relearning.dim() == 0 or relearning.shape[-1] == 0:
        raise ValueError(
            f"`relearning`: expected the losses of at least one step, got the shape {tuple(relearning.shape)}."
        )
    return relearning
