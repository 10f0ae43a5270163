"""The mathematics of routing: region weights, and the operation that weighs gradients but not activations."""

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lightning_vista.options import check_word

Entries = slice | list[int]
MaskWeightMode = Literal["anneal", "scale"]


class Layout(NamedTuple):
    """The position of regions in a tensor.

    Attributes:
        entries: The index of each region along `dim`.
        dim: The dimension of units.
        batch_dim: The dimension of samples, 0 or 1.
    """

    entries: tuple[Entries, ...]
    dim: int
    batch_dim: int = 0


def region_weights(members: Tensor, table: Tensor) -> Tensor:
    """Compute the weight of each region for each sample or token: `sum_g member * weight + (1 - sum_g member)`.

    Args:
        members: Memberships `(batch[, tokens], groups)`.
        table: Weights `(groups, regions)`.

    Returns:
        Weights `(batch[, tokens], regions)`.

    Example:
        >>> region_weights(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor([[1., 0.],
                [1., 1.]])
    """
    # Not `1 + members @ (table - 1)`, which rounds a weight such as the paper's -5e-8 to 0; nor a matrix product, which
    # accelerators may do with fewer digits. Rounded sums of soft memberships may exceed 1 by a little.
    return (members.unsqueeze(-1) * table).sum(-2) + (1 - members.sum(-1, keepdim=True)).clamp(min=0)


def anneal(weights: Tensor, mask_weight: float, mode: MaskWeightMode = "anneal") -> Tensor:
    """Introduce a mask gradually.

    Args:
        weights: Any weights `m`.
        mask_weight: The share `w` of the mask, from 0 to 1.
        mode: "anneal" for `1 + w * (m - 1)`, from ordinary backpropagation to the mask; "scale" for `w * m`, which at 0
            blocks all gradients (the authors').

    Returns:
        Weights of the same shape.

    Raises:
        ValueError: If `mode` is another word.

    Example:
        >>> anneal(torch.tensor([1.0, 0.0]), 0.25), anneal(torch.tensor([1.0, 0.0]), 0.25, "scale")
        (tensor([1.0000, 0.7500]), tensor([0.2500, 0.0000]))
    """
    check_word("mode", mode, get_args(MaskWeightMode))
    if mode == "scale":
        return mask_weight * weights
    return weights if mask_weight == 1 else 1 + mask_weight * (weights - 1)


def check_annealing(mask_weight: float, warmup_steps: int = 0) -> None:
    """Refuse options of annealing that are out of range.

    Args:
        mask_weight: The share of the mask, from 0 to 1.
        warmup_steps: The number of optimizer steps in which the share rises, at least 0.

    Raises:
        ValueError: If one of them is out of its range.
    """
    if not 0 <= mask_weight <= 1:
        raise ValueError(f"`mask_weight`: expected a number from 0 to 1, got {mask_weight}.")
    if warmup_steps < 0:
        raise ValueError(f"`warmup_steps`: expected at least 0, got {warmup_steps}.")


def warmup(step: int, warmup_steps: int) -> float:
    """Return the share of the mask weight at a step, from 0 to 1.

    Args:
        step: The optimizer step.
        warmup_steps: The number of steps in which the share rises evenly; 0 for none.

    Returns:
        The share.

    Example:
        >>> [warmup(step, 4) for step in (0, 2, 4, 8)]
        [0.0, 0.5, 1.0, 1.0]
    """
    return min(1.0, step / warmup_steps) if warmup_steps else 1.0


def zero_factors(members: Tensor, zeros: Tensor) -> Tensor:
    """Compute the factors of activations: 0 in regions that are zero for the row's group, else 1.

    Args:
        members: Memberships `(batch[, tokens], groups)`; only rows that belong entirely to one group count.
        zeros: 1 where a group's rows have zeros `(groups, regions)`.

    Returns:
        Factors `(batch[, tokens], regions)`.

    Example:
        >>> zero_factors(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
        tensor([[1., 0.],
                [1., 1.]])
    """
    # A row that is half forget and half retain keeps its activations: zeros cannot be mixed.
    return 1 - (members == 1).to(members) @ zeros


def scale_regions(x: Tensor, weights: Tensor, layout: Layout) -> Tensor:
    """Multiply the regions of a tensor by weights, without a mask of the tensor's size.

    Args:
        x: Any tensor with a dimension of samples, one of units, and, for weights of tokens, one of tokens.
        weights: The weights of regions `(batch[, tokens], regions)`.
        layout: The position of the regions in `x`.

    Returns:
        A tensor of the shape and dtype of `x`.

    Example:
        >>> scale_regions(torch.ones(1, 4), torch.tensor([[2.0, 3.0]]), Layout((slice(0, 1), slice(1, 4)), dim=-1))
        tensor([[2., 3., 3., 3.]])
    """
    # Regions cover every unit, so each entry of the result is written exactly once.
    scaled = torch.empty_like(x)
    # A backward pass without `create_graph` runs without gradients: one kernel for each region, no temporary tensor.
    in_one_pass = not torch.is_grad_enabled() and not torch.compiler.is_compiling()  # `out` has no derivative
    before = (slice(None),) * (layout.dim % x.dim())
    for entries, weight in zip(
        layout.entries, align(weights, x.dim(), layout.batch_dim).to(x.dtype).unbind(-1), strict=True
    ):
        index = (*before, entries)
        if in_one_pass and isinstance(entries, slice):
            torch.mul(x[index], weight, out=scaled[index])
        else:
            scaled[index] = x[index] * weight
    return scaled


def flatten_tokens(values: Tensor, tokens: int, batch_dim: int = 0) -> Tensor:
    """Turn values of samples or tokens into those of the rows of a flattened tensor.

    Args:
        values: Any values `(batch[, tokens], n)`.
        tokens: The number of tokens of each sample.
        batch_dim: 0 where the tokens of a sample are side by side, 1 where the samples of a token are.

    Returns:
        Values `(batch * tokens, n)`.

    Example:
        >>> flatten_tokens(torch.tensor([[1.0], [0.0]]), tokens=2).flatten()
        tensor([1., 1., 0., 0.])
    """
    if values.dim() == 2:
        values = values.unsqueeze(1).expand(-1, tokens, -1)
    return (values.transpose(0, 1) if batch_dim == 1 else values).reshape(-1, values.shape[-1])


def align(weights: Tensor, num_dims: int, batch_dim: int) -> Tensor:
    """Shape weights so that each region's broadcasts over a tensor.

    Args:
        weights: The weights of regions `(batch[, tokens], regions)`.
        num_dims: The number of dimensions of the tensor.
        batch_dim: Its dimension of samples, 0 or 1.

    Returns:
        Weights `(batch, 1 or tokens, 1, ..., regions)`, with the first two swapped where `batch_dim` is 1.
    """
    # Memberships of samples broadcast over tokens; dimensions after those, such as height and width, over both.
    samples, *tokens, regions = weights.shape
    shape = [samples, *tokens, *[1] * (num_dims - 1 - len(tokens)), regions]
    weights = weights.reshape(shape)
    return weights.transpose(0, 1) if batch_dim == 1 else weights


def region_energies(grad: Tensor, members: Tensor, layout: Layout) -> Tensor:
    """Sum the squared gradient of each region, divided among the groups of its samples or tokens.

    Args:
        grad: The gradient of the routed tensor.
        members: Memberships `(batch[, tokens], groups)`.
        layout: The position of the regions in `grad`.

    Returns:
        Sums of squares `(groups, regions)`, float32.
    """
    grad = grad.transpose(0, 1) if layout.batch_dim == 1 else grad
    before = (slice(None),) * (layout.dim % grad.dim())
    kept = members.dim() - 1  # leading dimensions that memberships tell apart; all others are summed
    squares = [grad[(*before, entries)].float().square().flatten(kept).sum(-1) for entries in layout.entries]
    return torch.einsum("ng,nr->gr", members.flatten(0, -2).float(), torch.stack(squares, dim=-1).flatten(0, -2))


def probe_energies(weighed: Tensor, grad: Tensor, members: Tensor, layout: Layout) -> Tensor:
    """Sum squared gradients behind a mask and before it.

    Args:
        weighed: The weighed gradient of the routed tensor.
        grad: The gradient before it was weighed.
        members: Memberships `(batch[, tokens], groups)`.
        layout: The position of the regions.

    Returns:
        Sums of squares `(2, groups, regions)`, float32: behind the mask, then before it.
    """
    return torch.stack([region_energies(part, members, layout) for part in (weighed, grad)])


def with_unlabelled(members: Tensor, kinds: Tensor) -> Tensor:
    """Append the memberships of data in default mode, which is in no group, in their true kinds.

    Args:
        members: Memberships `(batch[, tokens], groups)`.
        kinds: How much each sample, or token, truly is of each kind `(batch[, tokens], kinds)`.

    Returns:
        Memberships `(batch[, tokens], groups + kinds)`, of tokens if either has tokens.

    Example:
        >>> with_unlabelled(torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor([[1., 0., 0.],
                [0., 0., 1.]])
    """
    if members.dim() < kinds.dim():
        members = members.unsqueeze(1).expand(-1, kinds.shape[1], -1)
    kinds = kinds.to(members).view(len(kinds), *[1] * (members.dim() - kinds.dim()), *kinds.shape[1:])
    # Rounded sums of soft memberships may exceed 1 by a little.
    remainder = (1 - members.sum(-1, keepdim=True)).clamp(min=0)
    return torch.cat([members, remainder * kinds], dim=-1)


def energy_shares(energies: Tensor) -> Tensor:
    """Divide each row by its sum; a row of zeros stays zero.

    Args:
        energies: Sums of squares `(groups, regions)`.

    Returns:
        Shares from 0 to 1 of the same shape.

    Example:
        >>> energy_shares(torch.tensor([[1.0, 3.0], [0.0, 0.0]]))
        tensor([[0.2500, 0.7500],
                [0.0000, 0.0000]])
    """
    totals = energies.sum(-1, keepdim=True)
    return torch.where(totals > 0, energies / totals, 0.0)


class RoutedIdentity(torch.autograd.Function):
    """The operation `m * x + (1 - m) * stop_gradient(x)`: it returns its input and multiplies the gradient by `m`.

    An operation of autograd rather than a hook on the tensor: a hook on a view, such as the output of a linear layer on
    tokens, is lost when the view is changed in place.

    `probe` is a tensor of zeros `(2, groups, regions)`, or None. Its gradient is defined as the energies of the
    weighted gradient, then of the gradient before it was weighed, so that they add up over calls and micro-batches like
    any other gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weights: Tensor, layout: Layout, members: Tensor | None, probe: Tensor | None
    ) -> Tensor:
        """Return `x` as a tensor of its own."""
        ctx.save_for_backward(weights, members)
        ctx.layout = layout
        # Autograd needs a new tensor; `detach` shares the memory, so that the forward pass costs nothing.
        return x.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, Tensor | None]:
        """Weigh the gradient, and give the probe its energies."""
        weights, members = ctx.saved_tensors
        weighed = scale_regions(grad, weights, ctx.layout)
        # Behind the mask, where the gradient trains, and before it; without a probe nothing is computed.
        energies = probe_energies(weighed, grad, members, ctx.layout) if ctx.needs_input_grad[4] else None
        return weighed, None, None, None, energies
