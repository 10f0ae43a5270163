"""Branches: new units in a module of their own beside an MLP, so that the readers of old units can be routed too."""

import copy
from typing import Any

from torch import Tensor, nn

from lightning_vista.routing.place import At, Place
from lightning_vista.routing.surgery.resizing_units import ablate, expand_at
from lightning_vista.routing.units import find_units


class Branches(nn.Module):
    """A module and a smaller one of its kind beside it, whose outputs are added.

    Args:
        old: The original module.
        new: The branch.
    """

    def __init__(self, old: nn.Module, new: nn.Module) -> None:
        super().__init__()
        self.old, self.new = old, new

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the sum of both outputs for the same input."""
        total: Tensor = self.old(*args, **kwargs) + self.new(*args, **kwargs)
        return total


def add_branch(model: nn.Module, module: str, num_units: int, hidden: str = "act", at: At = "output") -> Branches:
    """Add units to an MLP as a branch of their own, in place.

    `expand` appends new units to the old ones: one layer reads both, and its columns for old units learn from all data.
    A branch has a reader of its own. `<module>.old` and `<module>.new` can be routed as a whole, each with its reader.

    At first the branch returns zero, so that the model computes the same as before.

    Args:
        model: The model; no optimizer may have its parameters yet.
        module: The plain name of the MLP.
        num_units: The number of hidden units of the branch.
        hidden: The module within the MLP that has the hidden units: its activation, or for gated MLPs the last
            projection with `at="input"`.
        at: Whether the units are in what `hidden` returns or in what it is given.

    Returns:
        The module that replaces the MLP and contains both.

    Raises:
        UnknownStructureError: If the parameters that make and read the hidden units are not known.
        ValueError: If the number of units is not positive, or the module already has a branch.

    Example:
        >>> model = nn.Sequential(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
        >>> add_branch(model, "0", num_units=2, hidden="1").new
        Sequential(
          (0): Linear(in_features=4, out_features=2, bias=True)
          (1): ReLU()
          (2): Linear(in_features=2, out_features=2, bias=True)
        )
    """
    old = model.get_submodule(module)
    if isinstance(old, Branches):
        raise ValueError(f"{module!r}: expected a module without a branch, got one with a branch.")
    if num_units < 1:
        raise ValueError(f"`num_units`: expected at least one unit for the branch of {module!r}, got {num_units}.")
    branches = Branches(old, _small_copy(old, num_units, hidden, Place((hidden,), at)))
    model.set_submodule(module, branches)
    return branches


def cut_branch(model: nn.Module, module: str) -> None:
    """Replace a module and its branch by the old module, in place.

    Args:
        model: The model.
        module: The plain name of a module that `add_branch` made.

    Raises:
        ValueError: If the module has no branch.
    """
    branches = model.get_submodule(module)
    if not isinstance(branches, Branches):
        raise ValueError(f"{module!r}: expected a module with a branch, got a {type(branches).__name__}.")
    model.set_submodule(module, branches.old)


def _small_copy(old: nn.Module, num_units: int, hidden: str, place: Place) -> nn.Module:
    """Return a copy with another number of units and new random weights, whose readers are zero."""
    new = copy.deepcopy(old)
    group = find_units(new, hidden, place)
    if num_units > group.size:
        group = expand_at(new, hidden, place, num_units - group.size)
    elif num_units < group.size:
        ablate(new, group, range(num_units, group.size), mode="slice")
    # Zero readers make the branch silent; its other weights are new, since a copy would learn the same as the old MLP.
    silent = {part.name for part in group.consumers} | set(group.shared)
    for name, parameter in new.named_parameters():
        std = 0.0 if name in silent else parameter.std(correction=0).item()
        nn.init.normal_(parameter, std=std)
    return new
