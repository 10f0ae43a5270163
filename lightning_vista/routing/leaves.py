"""Hooks on the leaves of the autograd graph: the parameters of a model."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_vista.routing.sharding import whole_parameter


def hook_leaf(parameter: nn.Parameter, change: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Register a function that sees, and may replace, what one backward pass adds to a parameter's gradient.

    It runs once in each backward pass that reaches the parameter, before the gradient is accumulated and before data
    parallel strategies average it. A frozen parameter is hooked too, since it may be trained later.

    Args:
        parameter: The parameter.
        change: The function from the gradient of one backward pass to its replacement, or to None to keep it.

    Returns:
        The handle that removes the hook.

    Example:
        >>> import torch
        >>> weight = nn.Parameter(torch.ones(1))
        >>> handle = hook_leaf(weight, lambda gradient: 2 * gradient)
        >>> (3 * weight).backward()
        >>> weight.grad
        tensor([6.])
        >>> handle.remove()
    """
    leaf = whole_parameter(parameter)
    is_trained = leaf.requires_grad
    try:
        handle: RemovableHandle = leaf.requires_grad_().register_hook(change)
        return handle
    finally:
        leaf.requires_grad_(is_trained)
