"""Steering: a constant added to one unit (arXiv 2410.04332, section 4.2.1)."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.functional import normalize

from lightning_vista.routing.hooking import hook_tensor
from lightning_vista.routing.place import At


@contextmanager
def steering(model: nn.Module, module: str, amount: float, unit: int = 0, at: At = "output") -> Iterator[None]:
    """Add a constant to one unit of a layer at all positions, within the context.

    Args:
        model: The model.
        module: The plain name of the layer, such as a transformer block for its residual stream.
        amount: The constant to add.
        unit: The index of the unit along the last dimension.
        at: Whether the unit is in what the module returns or in what it is given.

    Raises:
        AttributeError: If the module does not exist.
        ValueError: If `at` is another word.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Identity())
        >>> with steering(model, "0", amount=2.0, unit=1):
        ...     model(torch.zeros(3))
        tensor([0., 2., 0.])
    """

    def add(x: Tensor) -> Tensor:
        # Added as a new tensor: `x` may be a view, or be read by others.
        change = x.new_zeros(x.shape[-1])
        change[unit] = amount
        return x + change

    handle = hook_tensor(model.get_submodule(module), at, add, module)
    try:
        yield
    finally:
        handle.remove()


def unembedding_ranks(unembedding: Tensor, unit: int = 0, sign: int = 1) -> Tensor:
    """Rank all tokens by the cosine between their row of the unembedding and a unit.

    Args:
        unembedding: The rows of all tokens `(vocabulary, width)`.
        unit: The index of the unit in the residual stream.
        sign: 1 for the unit's direction, -1 for the opposite one.

    Returns:
        The rank of each token, from 1 for the row most aligned with the unit `(vocabulary,)`.

    Example:
        >>> import torch
        >>> unembedding_ranks(torch.tensor([[1.0, 1.0], [-1.0, 0.0], [5.0, 1.0]]))
        tensor([2, 3, 1])
    """
    cosines = sign * normalize(unembedding.float(), dim=-1)[:, unit]
    # The argsort of a permutation is its inverse: position -> token becomes token -> position.
    return cosines.argsort(descending=True, stable=True).argsort() + 1
