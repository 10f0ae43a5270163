"""Units between two modules that run one after the other: in an `nn.Sequential`, or in a ResNet's block."""

from torch import nn

from lightning_vista.routing.units.endings import (
    is_unitwise,
    is_unitwise_scale,
    residual_branch,
    steps_of,
    written_by_chain,
)
from lightning_vista.routing.units.group import ParameterSlice, UnitGroup
from lightning_vista.routing.units.index import Site, is_layer, is_sequential


def chain_units(site: Site) -> UnitGroup | None:
    """The group of a tensor in a chain of modules.

    Its consumers are the next layer's columns, and the norms on the way there that treat each unit by itself.
    """
    steps = _chain_around(site)
    own = [number for number, path in enumerate(steps) if f"{path}.".startswith(f"{site.path}.") or not site.path]
    if not own:
        return None
    cut = own[-1] + 1 if site.at == "output" else own[0]
    producers = written_by_chain(site.index, steps[:cut], site.unit_size)
    if not producers:
        return None
    length = site.index.length(producers[0])
    consumers, shared = _readers(site, steps[cut:], length)
    return UnitGroup(site.count(length), producers, consumers, shared)


def _chain_around(site: Site) -> list[str]:
    """The steps of the outermost `nn.Sequential`, or of the ResNet block, that a module is in."""
    modules, top = site.index.modules, site.path
    if branch := residual_branch(site.index, site.parent):
        return branch
    while top and is_sequential(modules[top.rpartition(".")[0]]):
        top = top.rpartition(".")[0]
    return steps_of(site.index, top) if is_sequential(modules[top]) else []


def _readers(site: Site, steps: list[str], length: int) -> tuple[tuple[ParameterSlice, ...], tuple[str, ...]]:
    """The consumers of `length` entries in the next steps and what they share; none if not all are known."""
    index, found = site.index, list[ParameterSlice]()
    for path in steps:
        module = index.modules[path]
        if is_layer(module):
            positions, rest = divmod(index.length(index.columns(path)[0]), length)
            if rest or (positions > 1 and site.dim == -1):  # only channels lie side by side once flattened
                break
            return (*found, *index.columns(path, positions * site.unit_size)), index.biases(path)
        if is_unitwise_scale(module) and index.length(index.rows(path)[0]) == length:
            found += index.rows(path, site.unit_size)
        elif not is_unitwise(module) and not isinstance(module, nn.Flatten):
            break
    return (), ()
