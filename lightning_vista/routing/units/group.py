"""The units of a routed tensor, and which entries of which parameters belong to each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class UnknownStructureError(ValueError):
    """It is not known which parameters produce the units of a tensor."""


@dataclass(frozen=True)
class ParameterSlice:
    """How the units of a group map to rows or columns of one parameter.

    The entries of unit `u` begin at `start + (u // share) * unit_size` along `dim`; there are `unit_size` of them.

    Attributes:
        name: The plain name of the parameter in the model, e.g. `"transformer.h.0.mlp.c_fc.weight"`.
        dim: The dimension of the parameter along which units lie.
        unit_size: Consecutive entries of a unit: the width of a head, for heads.
        start: Where the entries of unit 0 begin: in fused queries, keys and values 0, width and 2 * width.
        share: Units that share one block of entries: with grouped queries several heads read the same keys.
    """

    name: str
    dim: int
    unit_size: int = 1
    start: int = 0
    share: int = 1

    def entries(self, units: Sequence[int]) -> list[int]:
        """The indices along `dim` that belong to some units alone.

        Args:
            units: The units, in any order.

        Returns:
            The indices in ascending order; those that units share are among them if all of these units are given.

        Example:
            >>> keys = ParameterSlice("k_proj.weight", dim=0, unit_size=2, share=2)
            >>> keys.entries([0, 1, 2])  # unit 3 shares the entries of unit 2
            [0, 1]
        """
        counts = Counter(unit // self.share for unit in set(units))
        whole = sorted(block for block, count in counts.items() if count == self.share)
        firsts = [self.start + block * self.unit_size for block in whole]
        return [first + offset for first in firsts for offset in range(self.unit_size)]

    def select(self, tensor: Tensor, units: Sequence[int]) -> Tensor:
        """A copy of the entries of some units.

        Args:
            tensor: Any tensor shaped like the parameter: its gradient, the optimizer's state.
            units: The units.

        Returns:
            The tensor with `entries(units)` along `dim`.
        """
        return tensor.index_select(self.dim, torch.tensor(self.entries(units), device=tensor.device))

    def scale(self, tensor: Tensor, weights: Tensor) -> None:
        """Multiply the entries of each unit by its weight, in place.

        Args:
            tensor: Any tensor shaped like the parameter.
            weights: One weight for each unit of the group `(size,)`; what units share takes the largest of theirs.

        Example:
            >>> gradient = torch.ones(4)
            >>> ParameterSlice("bias", dim=0, unit_size=2).scale(gradient, torch.tensor([0.0, 0.5]))
            >>> gradient
            tensor([0.0000, 0.0000, 0.5000, 0.5000])
        """
        of_entries = weights.view(-1, self.share).amax(dim=1).repeat_interleave(self.unit_size).to(tensor)
        trailing = [1] * (tensor.dim() - self.dim - 1)
        tensor.narrow(self.dim, self.start, len(of_entries)).mul_(of_entries.view(-1, *trailing))


@dataclass(frozen=True)
class UnitGroup:
    """The units of one routed tensor.

    Attributes:
        size: The number of units.
        producers: The rows (weights and biases) that make the units and act through them alone: with the gradient of
            a unit blocked, exactly its rows get none. What acts through other units as well is not among them, such
            as, behind the output of a transformer block, the attention's projection, which the block's MLP reads.
        consumers: The columns that read the units; empty if not all of them are known.
        shared: The names of what the consumers add for all units together: their biases.
    """

    size: int
    producers: tuple[ParameterSlice, ...]
    consumers: tuple[ParameterSlice, ...] = ()
    shared: tuple[str, ...] = ()
