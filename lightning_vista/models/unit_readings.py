"""What is left in the units of a module: ablating them, and reading them with linear probes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def mean_ablated(module: nn.Module, units: Tensor, means: Tensor, dim: int = 1) -> Iterator[None]:
    """Within this context, units of a module's output are their means instead.

    Args:
        module: A module that returns one tensor.
        units: Which units, bool `(units,)`.
        means: A value for each unit, `(units,)`.
        dim: The dimension of the units.

    Example:
        >>> layer = nn.Identity()
        >>> with mean_ablated(layer, torch.tensor([True, False]), torch.tensor([5.0, 6.0])):
        ...     layer(torch.zeros(1, 2))
        tensor([[5., 0.]])
    """

    def replace(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return torch.where(units, means.to(output), output.movedim(dim, -1)).movedim(-1, dim)

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def pool_units(output: Tensor, dim: int = 1) -> Tensor:
    """Average a module's output over everything but samples and units.

    Args:
        output: `(batch, ...)` with the units at `dim`.
        dim: The dimension of the units.

    Returns:
        `(batch, units)`.

    Example:
        >>> pool_units(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3])
    """
    return output.movedim(dim, -1).reshape(len(output), -1, output.shape[dim]).mean(dim=1)


class LinearProbe:
    """Reads classes from features: ridge regression onto one-hot labels, in closed form.

    Args:
        features: `(samples, features)`.
        labels: The classes, `(samples,)`.
        num_classes: The number of classes.
        penalty: The ridge, in units of a standardized feature's variance.

    Example:
        >>> features = torch.tensor([[0.0], [0.1], [0.9], [1.0]])
        >>> LinearProbe(features, torch.tensor([0, 0, 1, 1]), num_classes=2).predict(features)
        tensor([0, 0, 1, 1])
    """

    def __init__(self, features: Tensor, labels: Tensor, num_classes: int, penalty: float = 1e-3) -> None:
        self._mean = features.double().mean(dim=0)
        self._scale = features.double().std(dim=0).clamp(min=1e-6)
        inputs = self._standardize(features)
        targets = torch.nn.functional.one_hot(labels, num_classes).to(inputs)
        self._bias = targets.mean(dim=0)
        ridge = penalty * len(inputs) * torch.eye(inputs.shape[1]).to(inputs)
        self._weight = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ (targets - self._bias))

    def predict(self, features: Tensor) -> Tensor:
        """The most probable class of each sample.

        Args:
            features: `(samples, features)`.

        Returns:
            Classes, `(samples,)`.
        """
        scores: Tensor = self._standardize(features) @ self._weight + self._bias
        return scores.argmax(dim=1)

    def _standardize(self, features: Tensor) -> Tensor:
        return (features.double() - self._mean) / self._scale
