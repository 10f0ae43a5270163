"""Mixtures of experts: whole experts as units, and the logits of the gates that choose them."""

from typing import Any

from torch import nn

from lightning_vista.routing.units.group import ParameterSlice, UnitGroup
from lightning_vista.routing.units.parameter_index import Site, join

_COMPETE = "experts compete for tokens, so that one more or less changes which tokens the others get"


def are_experts(module: nn.Module) -> bool:
    """Return whether a module holds all experts of a mixture, as transformers builds it.

    The parameters of such a module have experts along dimension 0. It takes rows of tokens, the experts that a gate
    chose for each, and their scores, with which it weighs what they return.
    """
    # transformers marks these classes in a decorator, which gives all of them the same interface.
    is_marked = hasattr(module, "_apply_gate") and hasattr(module, "is_transposed")
    return is_marked and isinstance(getattr(module, "num_experts", None), int)


def is_gate(module: nn.Module) -> bool:
    """Return whether a module is a gate of transformers, which returns logits, scores and the chosen experts."""
    weight = dict(module.named_parameters(recurse=False)).get("weight")
    return type(module).__name__.lower().endswith("topkrouter") and weight is not None and weight.ndim == 2


def expert_units(site: Site) -> UnitGroup | None:
    """Return whole experts as units: all of their parameters, along dimension 0; None for another module."""
    if site.place.at != "experts" or not are_experts(site.module):
        return None
    size: Any = site.module.num_experts
    names = [name for name, leaf in site.module.named_parameters(recurse=False) if len(leaf) == size]
    producers = tuple(ParameterSlice(join(site.path, name), dim=0) for name in names)
    return UnitGroup(size, producers, read_by="sum", fixed=_COMPETE)


def gate_units(site: Site) -> UnitGroup | None:
    """Return the logits of a gate as units, one for each expert; None for another module."""
    if site.place.at != "output" or not is_gate(site.module):
        return None
    own = dict(site.module.named_parameters(recurse=False))
    rows = tuple(ParameterSlice(join(site.path, name), dim=0) for name in ("weight", "bias") if name in own)
    # A correction bias acts on the choice only, behind the logits.
    is_complete = all(name in ("weight", "bias") or "correction" in name for name in own)
    return UnitGroup(site.count(len(own["weight"])), rows, complete=is_complete, read_by="choice", fixed=_COMPETE)
