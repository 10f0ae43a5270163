"""Branches merged into their MLPs, so that a model with branches becomes a plain model with wider MLPs."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lightning_vista.routing.place import Place
from lightning_vista.routing.surgery.branches import Branches, add_biases, cut_branch, find_branches, scale_branch
from lightning_vista.routing.surgery.parameters import resize, sources_with_new
from lightning_vista.routing.units import UnitGroup, find_units
from lightning_vista.routing.units.parameter_index import ModelIndex, join


@torch.no_grad()
def merge_branch(model: nn.Module, module: str, branch: str, scale: float = 1.0) -> None:
    """Turn a branch into hidden units of its MLP, in place; the model computes the same up to rounding.

    `W_old f(V_old x) + s W_new f(V_new x)` is one MLP whose rows are those of both, and whose columns are `W_old` and
    `s W_new`. Biases of outputs add up. Once all MLPs have one width, the configuration of a transformers model states
    it, see `pad_units` for MLPs without a branch.

    Args:
        model: The model.
        module: The plain name of a module that `add_branch` made.
        branch: The name of the branch.
        scale: The factor of what the branch returns.

    Raises:
        ValueError: If the module has no such branch.

    Example:
        >>> from lightning_vista.routing.surgery import add_branch
        >>> model = nn.Sequential(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
        >>> _ = add_branch(model, "0", num_units=2, hidden="1", branch="bio")
        >>> merge_branch(model, "0", "bio")
        >>> model[0]
        Sequential(
          (0): Linear(in_features=4, out_features=5, bias=True)
          (1): ReLU()
          (2): Linear(in_features=5, out_features=2, bias=True)
        )
    """
    branches = find_branches(model, module, branch)
    new, place = branches.get_submodule(branch), branches.place
    if len(branches.units(branch).consumers) > 1:
        raise ValueError(f"{module!r}: expected hidden units that one layer reads, got norms before it too.")
    scale_branch(model, module, branch, scale)
    _share_biases(branches, new)
    added, theirs = branches.units(branch), ModelIndex(new).parameters
    # Cut first: the configuration follows the widths of all modules of a kind, to which branches belong.
    cut_branch(model, module, branch)
    inside = join(module, "old") if isinstance(model.get_submodule(module), Branches) else module
    hidden = join(inside, place.patterns[0])
    old = find_units(model, hidden, place)
    append_silent_units(model, old, added.size)
    both, ours = find_units(model, hidden, place), ModelIndex(model).parameters
    for to, source in zip(both.producers + both.consumers, added.producers + added.consumers, strict=True):
        entries = torch.tensor(to.entries(range(old.size, both.size)), device=ours[to.name].device)
        ours[to.name].index_copy_(to.dim, entries, source.select(theirs[source.name], range(added.size)))
    for to_name, name in zip(both.shared, added.shared, strict=True):
        ours[to_name].add_(theirs[name])


def merge_branches(model: nn.Module) -> None:
    """Turn all branches into hidden units of their MLPs, in place, and bring MLPs of one kind to one width.

    Args:
        model: A transformers model, whose configuration has one width for all MLPs of a kind.

    Raises:
        UnknownStructureError: If the units of an MLP cannot be resized.
    """
    places: dict[type[nn.Module], Place] = {}
    for module, branches in dict(model.named_modules()).items():
        if isinstance(branches, Branches):
            places[type(branches.old)] = branches.place
            for branch in branches.names:
                merge_branch(model, module, branch)
    for kind, place in places.items():
        pad_units(model, [name for name, module in model.named_modules() if type(module) is kind], place)


def unplain_weights(model: Any) -> list[str]:
    """Return the names of weights with which a transformers model differs from a new one of its configuration.

    Args:
        model: The model.

    Returns:
        The names of weights that only one of the two has, or that differ in shape.
    """
    with torch.device("meta"):
        plain = type(model)(copy.deepcopy(model.config))
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in (model, plain)]
    ours, theirs = shapes
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def _share_biases(branches: Branches, new: nn.Module) -> None:
    """Give an MLP and a branch biases of zero where only one of them has biases."""
    groups = {module: find_units(module, branches.place.patterns[0], branches.place) for module in (branches.old, new)}
    if len({bool(group.shared) for group in groups.values()}) > 1:
        for module, group in groups.items():
            add_biases(module, group)


def append_silent_units(model: nn.Module, group: UnitGroup, num_units: int) -> None:
    """Append units whose parameters are all zero, in place; the model computes the same.

    Args:
        model: The model.
        group: The units of a layer.
        num_units: The number of new units.

    Raises:
        UnknownStructureError: If the units cannot be resized.
    """
    resize(
        model,
        group,
        lambda length, pieces: sources_with_new(length, pieces, group.size, num_units),
        stds={},
        optimizer=None,
        is_exact=True,
    )


def pad_units(model: nn.Module, modules: Sequence[str], place: Place) -> None:
    """Bring MLPs to the width of the widest by units of zeros, in place; the model computes the same.

    The configuration of a transformers model states one width for all MLPs.

    Args:
        model: The model.
        modules: The plain names of the MLPs.
        place: The place of the hidden units within each of them.

    Raises:
        UnknownStructureError: If the units of an MLP cannot be resized.
    """
    groups = [find_units(model, join(module, place.patterns[0]), place) for module in modules]
    width = max(group.size for group in groups)
    for group in groups:
        if group.size < width:
            append_silent_units(model, group, width - group.size)
