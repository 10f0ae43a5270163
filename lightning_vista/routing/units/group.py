"""Units of a routed tensor, and the entries of parameters that belong to each."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor


class UnknownStructureError(ValueError):
    """A structure in which the parameters of units are unknown, so that routing or surgery would be wrong."""


class WrongDimensionError(UnknownStructureError):
    """A dimension that does not have the units of the structure, such as the columns of an image."""


@dataclass(frozen=True)
class ParameterSlice:
    """A mapping from the units of one tensor to rows or columns of one parameter.

    The entries of unit `u` are `unit_size` consecutive ones along `dim`. With block `b = u // share`, they start at
    `start + b * unit_size`, or, where blocks lie in runs, at `start + (b // run) * stride + (b % run) * unit_size`.

    Attributes:
        name: The plain name of the parameter in the model, e.g. `"transformer.h.0.mlp.c_fc.weight"`.
        dim: The dimension of the parameter along which units lie.
        unit_size: Consecutive entries of a unit, such as the width of an attention head.
        start: The first entry of unit 0: in fused queries, keys and values 0, width and 2 * width.
        share: Units that share one block of entries: with grouped queries several heads read the same keys.
        run: Blocks that lie side by side before entries of another kind follow: the queries of one key in Falcon; 0 if
            all do.
        stride: The entries from the start of one run to the start of the next.
    """

    name: str
    dim: int
    unit_size: int = 1
    start: int = 0
    share: int = 1
    run: int = 0
    stride: int = 0

    def first(self, block: int) -> int:
        """Return the first entry of a block of units."""
        runs, rest = divmod(block, self.run) if self.run else (0, block)
        return self.start + runs * self.stride + rest * self.unit_size

    def end(self, size: int) -> int:
        """Return the entry behind those of all units, which is where new units begin.

        Args:
            size: The number of units.

        Example:
            >>> keys = ParameterSlice("query_key_value.weight", dim=0, unit_size=2, start=2, run=1, stride=6)
            >>> keys.end(size=3)  # behind the values of the last head
            18
        """
        blocks = size // self.share
        # New units of interleaved parts form runs of their own, behind the last entry of any part.
        return blocks // self.run * self.stride if self.run else self.first(blocks)

    def entries(self, units: Sequence[int]) -> list[int]:
        """Return the indices along `dim` that belong to some units alone.

        Args:
            units: The units, in any order.

        Returns:
            The indices in ascending order. Entries that units share are included if all of these units are given.

        Example:
            >>> keys = ParameterSlice("k_proj.weight", dim=0, unit_size=2, share=2)
            >>> keys.entries([0, 1, 2])  # unit 3 shares the entries of unit 2
            [0, 1]
        """
        # Shared keys still serve the heads that stay, so they go only with the last of these heads.
        counts = Counter(unit // self.share for unit in set(units))
        whole = sorted(block for block, count in counts.items() if count == self.share)
        return [self.first(block) + offset for block in whole for offset in range(self.unit_size)]

    def select(self, tensor: Tensor, units: Sequence[int]) -> Tensor:
        """Copy the entries of some units.

        Args:
            tensor: Any tensor shaped like the parameter, such as its gradient or the optimizer's state.
            units: The units.

        Returns:
            The tensor with `entries(units)` along `dim`.
        """
        return tensor.index_select(self.dim, torch.tensor(self.entries(units), device=tensor.device))

    def scale(self, tensor: Tensor, weights: Tensor) -> None:
        """Multiply the entries of each unit by its weight, in place.

        Args:
            tensor: Any tensor shaped like the parameter.
            weights: One weight for each unit `(size,)`; entries that units share take the largest of their weights.

        Example:
            >>> gradient = torch.ones(4)
            >>> ParameterSlice("bias", dim=0, unit_size=2).scale(gradient, torch.tensor([0.0, 0.5]))
            >>> gradient
            tensor([0.0000, 0.0000, 0.5000, 0.5000])
        """
        # The largest weight, since shared entries may be trained as long as one of their units may.
        of_entries = weights.view(-1, self.share).amax(dim=1).repeat_interleave(self.unit_size).to(tensor)
        of_entries = of_entries.view(-1, *[1] * (tensor.dim() - self.dim - 1))
        if not self.run:
            tensor.narrow(self.dim, self.start, len(of_entries)).mul_(of_entries)
            return
        entries = torch.tensor(self.entries(range(len(weights))), device=tensor.device)
        tensor.index_copy_(self.dim, entries, tensor.index_select(self.dim, entries) * of_entries)


@dataclass(frozen=True)
class UnitGroup:
    """The units of one routed tensor.

    Attributes:
        size: The number of units.
        producers: The rows (weights and biases) that make the units and act through them alone: with the gradient of a
            unit blocked, exactly its rows get none. Rows that also act through other units are excluded. Behind the
            output of a transformer block this is the attention's projection, since the block's MLP reads it too.
        consumers: The columns that read the units; empty if not all of them are known.
        shared: The names of the consumers' biases, which serve all units together.
        complete: Whether the producers are all parameters that make single units. Where only a layer that reads the
            units is known, or a module of an unknown kind stands before them, other parameters make them too: nothing
            can mask, isolate, add or cut those.
        read_by: "parameters" if consumers read the units. Whole experts are added up ("sum"): without their rows they
            contribute nothing. Logits of a gate choose experts ("choice"): none of their values stands for nothing.
        fixed: The reason why the number of units cannot change; empty if it can.
        between: What acts on the routed tensor before the last consumer takes it, in order: modules or functions, such
            as an activation. None if that is not known.
    """

    size: int
    producers: tuple[ParameterSlice, ...]
    consumers: tuple[ParameterSlice, ...] = ()
    shared: tuple[str, ...] = ()
    complete: bool = True
    read_by: Literal["parameters", "sum", "choice"] = "parameters"
    fixed: str = ""
    # The same units may be routed before and after an activation, so this does not tell them apart.
    between: tuple[Callable[[Tensor], Tensor], ...] | None = field(default=(), compare=False, repr=False)

    def names(self) -> list[str]:
        """Return the names of all parameters of the units, each once."""
        pieces = [piece.name for piece in (*self.producers, *self.consumers)]
        return list(dict.fromkeys([*pieces, *self.shared]))

    def missing(self, readers: bool = False) -> str:
        """Describe what is not known of the units, for an error.

        Args:
            readers: Whether the consumers are needed too.

        Returns:
            A phrase such as "the parameters that make the units"; empty if all that is needed is known.

        Example:
            >>> UnitGroup(2, producers=(ParameterSlice("weight", dim=0),)).missing(readers=True)
            'the parameters that read the units'
        """
        unknown = [
            *(["make"] if not self.complete or not self.producers else []),
            *(["read"] if readers and not self.consumers and self.read_by == "parameters" else []),
        ]
        return f"the parameters that {' and '.join(unknown)} the units" if unknown else ""


def check_known(group: UnitGroup, readers: bool = True) -> None:
    """Refuse units of which not all parameters are known, before anything acts on a part of them.

    Args:
        group: The units.
        readers: Whether the consumers are needed too.

    Raises:
        UnknownStructureError: If something is unknown; names what is known.
    """
    if missing := group.missing(readers):
        known = list(dict.fromkeys(piece.name for piece in (*group.producers, *group.consumers)))
        raise UnknownStructureError(
            f"`units`: expected units whose parameters are known, got {known}, beside which {missing} are not known "
            "completely. Name hidden units or attention heads of a known structure."
        )


def check_resizable(group: UnitGroup) -> None:
    """Refuse units whose number cannot change, before anything is changed.

    Args:
        group: The units.

    Raises:
        UnknownStructureError: If not all of their parameters are known, or something beside them states their number.
    """
    if group.fixed:
        raise UnknownStructureError(
            f"`units`: expected a number of units that can change, got a fixed one: {group.fixed}. To ablate "
            "such units, use the mode 'zero'."
        )
    check_known(group)
