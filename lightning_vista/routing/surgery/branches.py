"""New units as a branch of their own beside a module: with them, also what reads old units can be routed."""

import copy
from typing import Any

from torch import Tensor, nn

from lightning_vista.routing.place import At, Place
from lightning_vista.routing.surgery.resizing_units import ablate, expand_at
from lightning_vista.routing.units import find_units


class Branches(nn.Module):
    """A module and a smaller one of its kind beside it: what they return is added.

    Args:
        old: The module that was there.
        new: The branch.
    """

    def __init__(self, old: nn.Module, new: nn.Module) -> None:
        super().__init__()
        self.old, self.new = old, new

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The sum of what both return; they take the same."""
        total: Tensor = self.old(*args, **kwargs) + self.new(*args, **kwargs)
        return total


def add_branch(model: nn.Module, module: str, num_units: int, hidden: str = "act", at: At = "output") -> Branches:
    """Add units to an MLP as a branch of their own, in place.

    Where `expand` appends new units to the old ones, both are read by the same layer, whose columns for old units learn
    from all data. Here `<module>.old` and `<module>.new` can be routed as a whole, each with what reads its units.

    The branch begins with returning zero, so that the model computes what it did.

    Args:
        model: The model; not yet given to an optimizer.
        module: The plain name of the MLP.
        num_units: Hidden units of the branch.
        hidden: The module within the MLP that has the hidden units: its activation, or for gated MLPs the last
            projection with `at="input"`.
        at: Whether units are in what `hidden` returns or in what it is given.

    Returns:
        Both, which have taken the place of the MLP.

    Raises:
        UnknownStructureError: If it is not known which parameters make and read the hidden units.
        ValueError: If the number of units is not positive, or the module has a branch already.

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
        raise ValueError(f"{module!r} has a branch already.")
    if num_units < 1:
        raise ValueError(f"Expected at least one unit for the branch of {module!r}, got {num_units}.")
    branches = Branches(old, _small_copy(old, num_units, hidden, Place((hidden,), at)))
    model.set_submodule(module, branches)
    return branches


def cut_branch(model: nn.Module, module: str) -> None:
    """Put the old module in the place of both, in place.

    Args:
        model: The model.
        module: The plain name of what `add_branch` made.

    Raises:
        ValueError: If that has no branch.
    """
    branches = model.get_submodule(module)
    if not isinstance(branches, Branches):
        raise ValueError(f"Expected {module!r} to have a branch, it is a {type(branches).__name__}.")
    model.set_submodule(module, branches.old)


def _small_copy(old: nn.Module, num_units: int, hidden: str, place: Place) -> nn.Module:
    """A copy with another number of units, drawn anew, whose readers are zero."""
    new = copy.deepcopy(old)
    group = find_units(new, hidden, place)
    if num_units > group.size:
        group = expand_at(new, hidden, place, num_units - group.size)
    elif num_units < group.size:
        ablate(new, group, range(num_units, group.size), mode="slice")
    silent = {part.name for part in group.consumers} | set(group.shared)
    for name, parameter in new.named_parameters():
        std = 0.0 if name in silent else parameter.std(correction=0).item()
        nn.init.normal_(parameter, std=std)
    return new
