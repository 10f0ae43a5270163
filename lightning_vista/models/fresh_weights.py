"""Freshly initialized weights of a trained module, and its corruption towards them (UNDO, arXiv 2506.06278)."""

import copy
import math
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class InitializesWeights(Protocol):
    """A model that initializes the weights of all its parts, as in transformers; it is known without their import."""

    def initialize_weights(self) -> None:
        """Initialize those weights that are not marked as initialized."""


@torch.no_grad()
def fresh_weights(module: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Draw the weights that a module of the same sizes would begin with.

    Layers of torch initialize themselves by `reset_parameters`; models of transformers initialize all their parts.
    The weights are drawn on the CPU, so that they are the same for every device, and other random numbers stay as they
    are.

    Args:
        module: The module, which does not change.
        seed: Random seed of the weights.

    Returns:
        The weights by the names of `named_parameters`, on the CPU.

    Raises:
        ValueError: If some parameters are initialized by neither.

    Example:
        >>> weights = fresh_weights(nn.Linear(4, 2))
        >>> {name: tuple(weight.shape) for name, weight in weights.items()}
        {'weight': (2, 4), 'bias': (2,)}
    """
    fresh = copy.deepcopy(module).cpu()
    for parameter in fresh.parameters():
        parameter.fill_(math.nan)  # shows afterwards what nothing has initialized
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in fresh.modules():
            if callable(reset := getattr(part, "reset_parameters", None)):
                reset()
        for part in fresh.modules():
            if isinstance(part, InitializesWeights):
                _forget_marks(part)
                part.initialize_weights()
    weights = dict(fresh.named_parameters())
    if missing := sorted(name for name, weight in weights.items() if weight.isnan().any()):
        raise ValueError(
            f"`module`: expected layers with `reset_parameters` or a model of transformers, got parameters without "
            f"either: {missing}. Add the method `reset_parameters` to the modules that hold them."
        )
    return {name: weight.detach() for name, weight in weights.items()}


@torch.no_grad()
def corrupt(module: nn.Module, noise: Mapping[str, Tensor], alpha: float, beta: float) -> None:
    """Move the parameters of a module towards noise: weight <- (1 - alpha) weight + alpha beta noise.

    Frozen parameters stay as they are, since no training could bring back what they lose.

    Args:
        module: The module, changed in place.
        noise: The noise of each parameter, such as `fresh_weights`.
        alpha: The share of the old weights to remove, from 0 for none to 1 for all.
        beta: The scale of the noise.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> nn.init.constant_(layer.weight, 4.0).item()
        4.0
        >>> corrupt(layer, {"weight": torch.tensor([[2.0]])}, alpha=0.5, beta=0.1)
        >>> layer.weight.item()
        2.0999999046325684
    """
    trained = ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)
    for name, parameter in trained:
        parameter.mul_(1 - alpha).add_(noise[name].to(parameter), alpha=alpha * beta)


def _forget_marks(model: nn.Module) -> None:
    """Remove the marks by which transformers spares what is already initialized or loaded."""
    for marked in (*model.modules(), *model.parameters()):
        vars(marked).pop("_is_hf_initialized", None)
