"""Branches: new units in modules of their own beside an MLP, so that the readers of old units can be routed too."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.place import At, Place
from lightning_vista.routing.surgery.resizing_units import ablate, expand_at
from lightning_vista.routing.units import UnitGroup, UnknownStructureError, find_units
from lightning_vista.routing.units.group import check_known
from lightning_vista.routing.units.parameter_index import ModelIndex, is_layer

#: The name of a branch where none is given.
NEW_BRANCH = "new"


class Branches(nn.Module):
    """A module and smaller ones of its kind beside it, whose outputs are added.

    The original module is `old`; each branch is a child of its own name.

    Args:
        old: The original module.
        place: The place of the hidden units within each of them; None for modules without such, which are cut whole.
    """

    def __init__(self, old: nn.Module, place: Place | None = None) -> None:
        super().__init__()
        self.old, self._place = old, place

    @property
    def place(self) -> Place:
        """The place of the hidden units within each of the modules.

        Raises:
            UnknownStructureError: If they have no such units.
        """
        if self._place is None:
            raise UnknownStructureError(
                f"{', '.join(self.names)}: expected branches with hidden units, got modules that can only be cut whole."
            )
        return self._place

    @property
    def names(self) -> list[str]:
        """The names of the branches, in the order in which they were added."""
        return [name for name, _ in self.named_children() if name != "old"]

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the sum of all outputs for the same input."""
        total: Tensor = self.old(*args, **kwargs)
        for name, branch in self.named_children():
            if name != "old":
                total = total + branch(*args, **kwargs)
        return total

    def units(self, name: str) -> UnitGroup:
        """Return the hidden units of a branch or of `old`, with names of parameters within that module."""
        return find_units(self.get_submodule(name), self.place.patterns[0], self.place)


def add_branch(
    model: nn.Module,
    module: str,
    num_units: int,
    hidden: str = "act",
    at: At = "output",
    branch: str = NEW_BRANCH,
    bias: bool = False,
) -> Branches:
    """Add units to an MLP as a branch of their own, in place; several branches of different names may stand together.

    `expand` appends new units to the old ones: one layer reads both, and its columns for old units learn from all data.
    A branch has a reader of its own. `<module>.old` and `<module>.<branch>` can be routed as a whole, each with its
    reader.

    At first the branch returns zero, so that the model computes the same as before.

    Args:
        model: The model; no optimizer may have its parameters yet.
        module: The plain name of the MLP.
        num_units: The number of hidden units of the branch.
        hidden: The module within the MLP that has the hidden units: its activation, or for gated MLPs the last
            projection with `at="input"`.
        at: Whether the units are in what `hidden` returns or in what it is given.
        branch: The name of the branch.
        bias: Whether layers of the branch have biases where those of the MLP have none, as in Llama. Layers whose
            originals have biases always have their own.

    Returns:
        The module that replaces the MLP and contains all of them.

    Raises:
        UnknownStructureError: If the parameters that make and read the hidden units are not known.
        ValueError: If the number of units is not positive, or the name is taken or cannot be that of a module.

    Example:
        >>> model = nn.Sequential(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
        >>> add_branch(model, "0", num_units=2, hidden="1").new
        Sequential(
          (0): Linear(in_features=4, out_features=2, bias=True)
          (1): ReLU()
          (2): Linear(in_features=2, out_features=2, bias=True)
        )
        >>> add_branch(model, "0", num_units=1, hidden="1", branch="bio").names
        ['new', 'bio']
    """
    if num_units < 1:
        raise ValueError(f"`num_units`: expected at least one unit for the branch of {module!r}, got {num_units}.")
    place, old = Place((hidden,), at), model.get_submodule(module)
    branches = old if isinstance(old, Branches) else Branches(old, place)
    _check_hidden(branches.old, module, hidden)
    # Children are attributes: a branch must not hide one, such as `old` or `forward`.
    if not branch.isidentifier() or hasattr(branches, branch):
        raise ValueError(
            f"`branch`: expected an identifier that {module!r} does not use yet, got {branch!r}. It has "
            f"{['old', *branches.names]}. Choose another name."
        )
    branches.add_module(branch, _small_copy(branches.old, num_units, hidden, place, bias))
    model.set_submodule(module, branches)
    return branches


def _check_hidden(mlp: nn.Module, module: str, hidden: str) -> None:
    """Refuse a name of hidden units that the MLP does not have; families differ in it."""
    names = [name for name in ModelIndex(mlp).modules if name]
    if hidden not in names:
        raise UnknownStructureError(
            f"`hidden`: expected one of {names}, the modules of {module!r}, a {type(mlp).__name__}, got {hidden!r}. "
            "Name its activation, or in a gated MLP the last projection with `at='input'`."
        )


def cut_branch(model: nn.Module, module: str, branch: str = NEW_BRANCH) -> None:
    """Remove a branch, in place; after the last one the original module stands in its place again.

    Args:
        model: The model.
        module: The plain name of a module that `add_branch` made.
        branch: The name of the branch.

    Raises:
        ValueError: If the module has no such branch.
    """
    branches = find_branches(model, module, branch)
    if branches.names == [branch]:
        model.set_submodule(module, branches.old)
    else:
        delattr(branches, branch)


@torch.no_grad()
def scale_branch(model: nn.Module, module: str, branch: str, scale: float) -> None:
    """Multiply what a branch returns, in its parameters, in place.

    Args:
        model: The model.
        module: The plain name of a module that `add_branch` made.
        branch: The name of the branch.
        scale: The factor.

    Raises:
        ValueError: If the module has no such branch.
    """
    branches = find_branches(model, module, branch)
    units, parameters = branches.units(branch), ModelIndex(branches.get_submodule(branch)).parameters
    for name in (units.consumers[-1].name, *units.shared):
        parameters[name].mul_(scale)


def find_branches(model: nn.Module, module: str, branch: str) -> Branches:
    """Return the module that contains a branch.

    Args:
        model: The model.
        module: The plain name of the MLP.
        branch: The name of the branch.

    Raises:
        ValueError: If the module has no such branch.
    """
    branches = model.get_submodule(module)
    if not isinstance(branches, Branches):
        raise ValueError(f"{module!r}: expected a module with a branch, got a {type(branches).__name__}.")
    if branch not in branches.names:
        raise ValueError(f"`branch`: expected one of {branches.names}, the branches of {module!r}, got {branch!r}.")
    return branches


def _small_copy(old: nn.Module, num_units: int, hidden: str, place: Place, bias: bool) -> nn.Module:
    """Return a copy with another number of units and new random weights, whose readers are zero."""
    new = copy.deepcopy(old)
    if bias:
        add_biases(new, find_units(new, hidden, place))
    group = find_units(new, hidden, place)
    check_known(group)
    if num_units > group.size:
        group = expand_at(new, hidden, place, num_units - group.size)
    elif num_units < group.size:
        ablate(new, group, range(num_units, group.size), mode="slice")
    # Zero readers make the branch silent; its other weights are new, since a copy would learn the same as the old MLP.
    # Norms before the reader are not zero too: two zeros in a row get no gradient.
    silent = {group.consumers[-1].name, *group.shared}
    index = ModelIndex(new)
    for name, parameter in new.named_parameters():
        # The scale of a norm, a slope or a factor by unit is a constant, whose standard deviation of 0 would silence
        # the branch for ever: such vectors stay as in the old MLP.
        is_matrix = sum(size > 1 for size in parameter.shape) > 1
        if is_matrix or is_layer(index.modules[plain_name(name).rpartition(".")[0]]) or name in silent:
            std = 0.0 if name in silent else parameter.std(correction=0).item()
            nn.init.normal_(parameter, std=std)
    return new


def add_biases(mlp: nn.Module, group: UnitGroup) -> None:
    """Give the layers that make and read units biases of zero, where they have none, in place.

    Args:
        mlp: The module.
        group: The units.
    """
    index = ModelIndex(mlp)
    for piece in (*group.producers, *group.consumers):
        layer = index.modules[piece.name.rpartition(".")[0]]
        if getattr(layer, "bias", None) is None:
            weight = layer.get_parameter("weight")
            (rows,) = {row.dim for row in index.rows(piece.name.rpartition(".")[0])}
            layer.bias = nn.Parameter(torch.zeros(weight.shape[rows], dtype=weight.dtype, device=weight.device))
