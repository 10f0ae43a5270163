"""Routes: the data that trains which units of which layer."""

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
        module: The layer's name in `named_modules()`, a pattern (`*` stands for one part between dots), or several.
        rule: The rule that assigns data to groups.
        regions: Region -> its units, see `Regions.parse`.
        at: Whether the masked tensor is what the module returns or what it is given; of several tensors, the first.
            Attention heads are the input of the output projection, with `unit_size` set to the width of a head. The
            hidden units of a gated MLP are the input of its last projection. With "experts" the units are the whole
            experts of a mixture: what each of them adds is masked, and so are its parameters.
        dim: The dimension of units: -1, or 1 for channels.
        unit_size: Consecutive entries of a unit along `dim`.
        weights: Group -> region -> weight: 1 lets the gradient through, 0 blocks it, negative values ascend. By
            default a group trains the region of its own name (weight 1) and no other (0).
        forward: Group -> regions whose activations are zero in the forward pass of its rows, as in SGTM for retain
            data. Only rows that belong entirely to the group are zeroed.
        batch_dim: The dimension of samples; tokens, where a rule has them, are the other one of 0 and 1.
        flattened: Whether the masked tensor is a matrix `(batch * tokens, width)`, as some MLPs see it. By default the
            number of rows tells; memberships of samples need True.

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
    flattened: bool | None = None

    def __post_init__(self) -> None:
        """Check the place; what depends on the rule or the regions is checked in `faults`."""
        _ = self.place

    @property
    def place(self) -> Place:
        """The units' place in a model, as one object."""
        return Place(as_patterns(self.module), self.at, self.dim, self.batch_dim, self.unit_size, self.flattened)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The names of modules, as patterns."""
        return as_patterns(self.module)

    @property
    def key(self) -> str:
        """Text that distinguishes the route from others."""
        return f"{','.join(self.patterns)}:{self.at}:{self.regions}"

    def faults(self) -> list[str]:
        """List what is wrong with the route for any model.

        Returns:
            One sentence for each fault.
        """
        groups, faults = list(self.rule.groups), []
        for what, table in (("weights", self.weights), ("forward", self.forward)):
            for group, regions in (table or {}).items():
                if group not in groups:
                    faults.append(f"`{what}`: expected groups of the rule, {groups}, got {group!r}.")
                unknown = [region for region in regions if region not in self.regions]
                known = list(self.regions)
                faults += [f"`{what}`: expected regions of the route, {known}, got {region!r}." for region in unknown]
        # Without a common name the default table is all zeros, and all labelled data would train nothing.
        if not self.weights and not self.forward and not set(groups) & set(self.regions):
            faults.append(
                f"`regions`: expected a region with the name of a group, {groups}, got {list(self.regions)}. "
                "No group would train anything. Name regions after groups, or set `weights`."
            )
        return faults

    def weight_table(self) -> Tensor:
        """Return the weights as a matrix `(groups, regions)`, with defaults where `weights` has no entry."""
        given = self.weights or {}
        return torch.tensor(
            [
                [given.get(group, {}).get(region, float(group == region)) for region in self.regions]
                for group in self.rule.groups
            ],
            dtype=torch.float64,
        )

    def zero_table(self) -> Tensor | None:
        """Return 1 where a group's rows zero a region, else 0 `(groups, regions)`; None if no group zeroes any."""
        if not self.forward:
            return None
        return torch.tensor(
            [[float(region in self.forward.get(group, [])) for region in self.regions] for group in self.rule.groups]
        )
