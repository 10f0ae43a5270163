"""Bounds of the weights that samples have: what all of them block, and what is zero for all of them."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class WeightBounds:
    """The lowest and highest weights of regions over some samples, in one tensor.

    Five numbers for each region instead of the weights of every sample. Each is a minimum, so that bounds of several
    batches, backward passes and processes add up by one more minimum.

    Attributes:
        values: `(5, regions)`: the lowest weight that reaches the parameters (the route's weight, times 0 for zeros in
            the forward pass), the negative of the highest one, the same two of the route's weight alone, and the
            negative of the highest factor of activations. Without any sample all are infinite.

    Example:
        >>> weights, factors = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
        >>> bounds = WeightBounds.of(weights, factors)
        >>> bounds.untrained(), bounds.masked(), bounds.silent()
        (tensor([False,  True]), tensor([False, False]), tensor([False, False]))
    """

    values: Tensor

    @classmethod
    def of(cls, weights: Tensor, factors: Tensor | None = None) -> "WeightBounds":
        """Measure the bounds of a batch.

        Args:
            weights: The weights of gradients `(batch[, tokens], regions)`.
            factors: The factors of activations of the same shape; None for ones.
        """
        rows = weights.flatten(0, -2)
        if not len(rows):
            return cls.empty(weights.shape[-1], weights)
        low, high = rows.aminmax(dim=0)
        if factors is None:
            return cls(torch.stack([low, -high, low, -high, -torch.ones_like(low)]))
        kept = factors.flatten(0, -2)
        least, most = (rows * kept).aminmax(dim=0)
        return cls(torch.stack([least, -most, low, -high, -kept.amax(dim=0)]))

    @classmethod
    def empty(cls, num_regions: int, like: Tensor) -> "WeightBounds":
        """Return the bounds of no sample, with the device and the type of a tensor."""
        return cls(like.new_full((5, num_regions), float("inf")))

    @classmethod
    def unrouted(cls, num_regions: int, like: Tensor) -> "WeightBounds":
        """Return the bounds of samples that are not routed, with the device and the type of a tensor."""
        return cls(like.new_tensor([1, -1, 1, -1, -1]).unsqueeze(1).repeat(1, num_regions))

    def merge(self, other: "WeightBounds") -> "WeightBounds":
        """Return the bounds of both sets of samples."""
        return WeightBounds(torch.minimum(self.values, other.values))

    def untrained(self) -> Tensor:
        """Return the regions to which no sample gives a gradient `(regions,)`."""
        # Both ends: with weights of -0.5 and 0 the highest is 0, and yet the units are trained.
        return (self.values[0] == 0) & (self.values[1] == 0)

    def masked(self) -> Tensor:
        """Return the regions in which the route's weight is 0 for all samples `(regions,)`."""
        return (self.values[2] == 0) & (self.values[3] == 0)

    def silent(self) -> Tensor:
        """Return the regions that are zero in the forward pass for all samples `(regions,)`."""
        return self.values[4] == 0

    def shared_weights(self) -> Tensor | None:
        """Return the route's weights if all samples have the same ones `(regions,)`, else None."""
        return self.values[2] if torch.equal(self.values[2], -self.values[3]) else None
