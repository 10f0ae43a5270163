"""Routes: which data trains which units of which layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_vista.routing.place import At, BatchDim, Place, as_patterns
from lightning_vista.routing.regions import RegionSpec
from lightning_vista.routing.rules.rule import Rule


@dataclass
class Route:
    """One route: a layer, a rule that groups data, and regions of the layer's units that the groups train.

    The gradient that reaches unit `u` of the layer from position `t` of sample `b` is multiplied by
    `m[b, t, u] = sum_g member[b, t, g] * weight[g, region(u)] + (1 - sum_g member[b, t, g])` (arXiv 2410.04332,
    section 3). Everything upstream of the layer is trained by what passes; the layer's readers are trained by all data.

    Attributes:
        module: The layer's name in `named_modules()`, or a pattern (`*` stands for one part between dots), or several.
        rule: Tells to which groups data belongs.
        regions: Region -> its units, see `Regions.parse`.
        at: The tensor that is masked: what the module returns, or what it is given. Attention heads are the input of
            the output projection with `unit_size` the width of a head; the hidden units of a gated MLP are the input of
            its last projection. Of several tensors the first is taken.
        dim: The dimension of units: -1, or 1 for channels.
        unit_size: Entries of a unit along `dim`.
        weights: Group -> region -> weight: 1 lets the gradient through, 0 blocks it, negative values ascend. Where not
            given, a group trains the region of its own name (weight 1) and no other (0).
        forward: Group -> regions whose activations are zero in the forward pass of its rows (SGTM does so on retain
            data). Only rows that belong to the group entirely are zeroed.
        batch_dim: The dimension of samples; tokens, where a rule has them, are the other one of 0 and 1.

    Raises:
        ValueError: If `at` or `batch_dim` has another value, or `unit_size` is below 1.
    """

    module: str | list[str]
    rule: Rule
    regions: dict[str, RegionSpec]
    at: At = "output"
    dim: int = -1
    unit_size: int = 1
    weights: dict[str, dict[str, float]] | None = None
    forward: dict[str, list[str]] | None = None
    batch_dim: BatchDim = 0

    def __post_init__(self) -> None:
        """Check the values that tell the place; everything that depends on others is in `faults`."""
        _ = self.place

    @property
    def place(self) -> Place:
        """Where the units lie, as one object."""
        return Place(as_patterns(self.module), self.at, self.dim, self.batch_dim, self.unit_size)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The modules, as patterns."""
        return as_patterns(self.module)

    def faults(self) -> list[str]:
        """What is wrong with the route, whatever the model.

        Returns:
            A sentence for each fault.
        """
        groups, faults = list(self.rule.groups), []
        for what, table in (("weights", self.weights), ("forward", self.forward)):
            for group, regions in (table or {}).items():
                if group not in groups:
                    faults.append(f"`{what}` names the group {group!r}, but the rule has {groups}.")
                unknown = [region for region in regions if region not in self.regions]
                faults += [f"`{what}` names the region {r!r}, but there are {list(self.regions)}." for r in unknown]
        if not self.weights and not self.forward and not set(groups) & set(self.regions):
            faults.append(
                f"no group has a region of its own name, so all groups {groups} would train nothing: name regions "
                f"{list(self.regions)} after groups, or give `weights`."
            )
        return faults

    def weight_table(self) -> Tensor:
        """The weights as a matrix `(groups, regions)`; what `weights` leaves out has the default."""
        given = self.weights or {}
        return torch.tensor(
            [
                [given.get(group, {}).get(region, float(group == region)) for region in self.regions]
                for group in self.rule.groups
            ],
            dtype=torch.float64,
        )

    def zero_table(self) -> Tensor | None:
        """Which regions are zeroed in the forward pass of which groups, 0 or 1 `(groups, regions)`; None for none."""
        if not self.forward:
            return None
        return torch.tensor(
            [[float(region in self.forward.get(group, [])) for region in self.regions] for group in self.rule.groups]
        )
