"""Paths of a layer's units through a model, to the parameters that make and read them."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.units.attention_heads import NORMS_OF_HEADS
from lightning_vista.routing.units.group import ParameterSlice, UnitGroup
from lightning_vista.routing.units.hidden import hidden_in
from lightning_vista.routing.units.parameter_index import (
    MIXING,
    ModelIndex,
    Site,
    is_layer,
    is_scale,
    is_sequential,
    join,
)


def chain_units(site: Site) -> UnitGroup | None:
    """Return the units of a tensor in a chain of modules, or None if they do not form a chain.

    Its consumers are the columns of the next layer, and the norms on the way there that treat each unit separately.
    """
    steps = _chain_around(site)
    own = [number for number, path in enumerate(steps) if f"{path}.".startswith(f"{site.path}.") or not site.path]
    if not own:
        return None
    # What runs up to the tensor makes its units, what runs after it reads them.
    cut = own[-1] + 1 if site.place.at == "output" else own[0]
    producers, complete = written_by_chain(site.index, steps[:cut], site.place.unit_size)
    if not producers:
        return None
    length = site.index.length(producers[0])
    consumers, shared, passed = _readers(site, steps[cut:], length)
    between = tuple(site.index.modules[path] for path in passed)
    return UnitGroup(site.count(length), producers, consumers, shared, complete, between=between)


def _chain_around(site: Site) -> list[str]:
    """Return the steps of the outermost `nn.Sequential`, or of the ResNet block, around a module."""
    modules, top = site.index.modules, site.path
    if branch := residual_branch(site.index, site.parent):
        return branch
    # The outermost one, since the readers of a nested chain's units may stand behind its end.
    while top and is_sequential(modules[top.rpartition(".")[0]]):
        top = top.rpartition(".")[0]
    return steps_of(site.index, top) if is_sequential(modules[top]) else []


class _Readers(NamedTuple):
    """The consumers of units, the names of their biases, and the steps before the last of them."""

    consumers: tuple[ParameterSlice, ...] = ()
    shared: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()


def _readers(site: Site, steps: list[str], length: int) -> _Readers:
    """Return the readers of `length` entries in the next steps; none if not all are known."""
    index, found = site.index, list[ParameterSlice]()
    for number, path in enumerate(steps):
        module = index.modules[path]
        if is_layer(module):
            positions, rest = divmod(index.length(index.columns(path)[0]), length)
            # After flattening an image the entries of a channel are consecutive; those of a token's unit are not.
            if rest or (positions > 1 and site.place.dim == -1):
                break
            consumers = (*found, *index.columns(path, positions * site.place.unit_size))
            return _Readers(consumers, index.biases(path), tuple(steps[:number]))
        # A batch norm on the way reads each unit by itself: its scale and shift belong to the unit.
        if is_unitwise_scale(module) and index.length(index.rows(path)[0]) == length:
            found += index.rows(path, site.place.unit_size)
        elif not is_unitwise(module) and not isinstance(module, nn.Flatten):
            break
    return _Readers()


#: Known by their source rather than listed: activations of transformers and timm are many, and all are elementwise.
#: Source modules of classes without parameters that treat each unit separately, except for `MIXING`.
_UNITWISE = (
    "torch.nn.modules.activation",
    "torch.nn.modules.dropout",
    "torch.nn.modules.pooling",
    "torch.nn.modules.batchnorm",
    "torch.nn.modules.instancenorm",
    "transformers.activations",
    "timm.layers.activations",
    "timm.layers.drop",
)
_NORMS_OF_UNITS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)

#: The children of a pre-norm transformer block -> those that run last before its output. The attention is not among
#: them: its output also passes through the MLP.
_TRANSFORMER_BLOCKS = {
    ("ln_1", "attn", "ln_2", "mlp"): ("mlp",),  # GPT-2, GPT-Neo
    ("self_attn", "mlp", "input_layernorm", "post_attention_layernorm"): ("mlp",),  # Llama, Mistral, Qwen
    ("self_attn", "layer_norm1", "mlp", "layer_norm2"): ("mlp",),  # CLIP
    ("norm1", "attn", "ls1", "drop_path1", "norm2", "mlp", "ls2", "drop_path2"): ("mlp", "ls2"),  # timm
}


def is_unitwise(module: nn.Module) -> bool:
    """Return whether a module has no parameters and treats each unit separately: activations, dropout, pooling."""
    from_known = type(module).__module__ in _UNITWISE or isinstance(module, nn.Identity)
    return from_known and not isinstance(module, MIXING) and not list(module.parameters())


def is_unitwise_scale(module: nn.Module) -> bool:
    """Return whether a module with parameters treats each unit separately: batch norm, `LayerScale`; not layer norm."""
    scales_only = isinstance(module, _NORMS_OF_UNITS) or type(module).__name__.startswith("LayerScale")
    return scales_only and is_scale(module)


class KnownRows(NamedTuple):
    """The rows that make units and act through them alone.

    Attributes:
        rows: Rows of weights and biases; none if they are not known.
        complete: Whether `rows` are all rows of this kind.
    """

    rows: tuple[ParameterSlice, ...]
    complete: bool


def written(index: ModelIndex, path: str, unit_size: int) -> KnownRows:
    """Return the rows that make the units of a module's output and act through them alone.

    Args:
        index: The model.
        path: The name of the module.
        unit_size: Consecutive entries of a unit.

    Returns:
        The rows.
    """
    module = index.modules[path]
    if is_layer(module) or is_scale(module) or isinstance(module, nn.Embedding):
        return KnownRows(index.rows(path, unit_size), complete=True)
    # What several branches write is added up: it is known only if each of them is.
    parts = [written_by_chain(index, steps, unit_size) for steps in _endings(index, path)]
    return KnownRows(tuple(row for part in parts for row in part.rows), bool(parts) and all(p.complete for p in parts))


def written_by_chain(index: ModelIndex, steps: Sequence[str], unit_size: int) -> KnownRows:
    """Return the rows through which alone the units of the last of several modules are made.

    Args:
        index: The model.
        steps: The names of the modules, in the order in which they run.
        unit_size: Consecutive entries of a unit.

    Returns:
        The rows of the last module, and of those before it as long as units are not mixed.
    """
    found: list[ParameterSlice] = []
    for path in reversed(steps):
        module = index.modules[path]
        if is_unitwise(module):
            continue
        # Behind a batch norm both its own rows and those of the layer before it act through the unit alone; any other
        # module mixes units, and nothing before it belongs to one of them.
        part = written(index, path, unit_size)
        found += part.rows
        if not is_unitwise_scale(module):
            return KnownRows(tuple(found), part.complete)
    # Units that come from before the first module are made by something unknown as well.
    return KnownRows(tuple(found), complete=False)


def steps_of(index: ModelIndex, path: str) -> list[str]:
    """Return the modules that run in turn in an `nn.Sequential`, also in nested ones; for any other module, itself.

    Args:
        index: The model.
        path: The name of the module.

    Returns:
        Their names.
    """
    if not is_sequential(index.modules[path]):
        return [path]
    # With every position of a module that stands there more than once.
    names = [name for name, _ in index.modules[path].named_modules(remove_duplicate=False)]
    children = [join(path, name) for name in dict.fromkeys(map(plain_name, names)) if name and "." not in name]
    return [step for child in children for step in steps_of(index, child)]


def residual_branch(index: ModelIndex, path: str) -> list[str]:
    """Return the convolutions and norms of a ResNet block (timm, torchvision), in the order in which they run.

    Args:
        index: The model.
        path: The name of the block.

    Returns:
        Their names; none for any other module, or if channels are mixed after them (squeeze and excitation).
    """
    names = [name for name, _ in index.modules[path].named_children()]
    if type(index.modules[path]).__name__ not in ("BasicBlock", "Bottleneck") or "se" in names:
        return []
    # After the last norm the block adds its input: the channels of the branch end there.
    last = max(name for name in names if name.startswith("bn"))
    return [join(path, name) for name in names[: names.index(last) + 1] if name != "relu"]  # torchvision runs it twice


def _endings(index: ModelIndex, path: str) -> list[list[str]]:
    """Return the chains of modules whose outputs a module adds up last."""
    module = index.modules[path]
    names = tuple(name for name, _ in module.named_children())
    if is_sequential(module):
        return [steps_of(index, path)]
    if branch := residual_branch(index, path):
        return [branch, steps_of(index, join(path, "downsample"))] if "downsample" in names else [branch]
    # With post-norm, the last norm mixes units, so only its own scale and shift act through one of them.
    if isinstance(module, nn.TransformerEncoderLayer):
        return [[join(path, "linear2" if module.norm_first else "norm2")]]
    if isinstance(module, nn.MultiheadAttention):
        return [[join(path, "out_proj")]]
    if names in _TRANSFORMER_BLOCKS:
        return [[join(path, name) for name in _TRANSFORMER_BLOCKS[names]]]
    return _ending_of_hidden(index, path)


def _ending_of_hidden(index: ModelIndex, path: str) -> list[list[str]]:
    """Return the reader of an MLP's or attention's hidden units, if no parameters can follow it."""
    row = hidden_in(index, path)
    # Norms of queries and keys act before the reader; any other child with parameters may act after it.
    known = {*row.writers, row.reader, *row.per_unit, *NORMS_OF_HEADS} if row else set()
    trained = {name for name, child in index.modules[path].named_children() if list(child.parameters())}
    trained |= {name for name, _ in index.modules[path].named_parameters(recurse=False)}
    return [[join(path, row.reader)]] if row and trained <= known else []
