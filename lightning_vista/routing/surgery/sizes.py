"""The sizes that modules and Hugging Face configurations keep beside their parameters."""

from typing import Any

from torch import nn

from lightning_vista.routing.units import UnitGroup
from lightning_vista.routing.units.index import ModelIndex, join

#: The sizes of a layer, in the order of its weight's dimensions: linear, GPT-2's, convolution, batch norm.
_LAYER_SIZES = (("out_features", "in_features"), ("nx", "nf"), ("out_channels", "in_channels"), ("num_features",))
_HIDDEN_SIZES = ("n_inner", "intermediate_size")


def update_sizes(index: ModelIndex, group: UnitGroup) -> None:
    """Let modules and configurations say the sizes that parameters have.

    A configuration has one size for all layers. While layers differ, it keeps the size that it has, and a checkpoint of
    the model cannot be loaded by plain transformers; once they agree, it is given their size. The number of heads
    is given to configurations with a `head_dim` only (Llama's): others derive the width of heads from it.

    Args:
        index: The model, with its new parameters.
        group: The units that were added or taken away.
    """
    for owner in {piece.name.rpartition(".")[0] for piece in (*group.producers, *group.consumers)}:
        _update_layer(index.modules[owner])
    columns = group.consumers[-1]
    parent, _, reader = columns.name.rpartition(".")[0].rpartition(".")
    if _has_heads(index.modules[parent], group):
        _update_attention(index.modules[parent], index.length(columns), columns.unit_size)
    _update_config(index, parent, reader, group)


def _has_heads(module: nn.Module, group: UnitGroup) -> bool:
    return getattr(module, "head_dim", None) == group.consumers[-1].unit_size


def _update_layer(layer: nn.Module) -> None:
    for names in _LAYER_SIZES:
        if hasattr(layer, names[0]):
            shape = layer.get_parameter("weight").shape
            for name, size in zip(names, shape, strict=False):  # a convolution's kernel comes after
                setattr(layer, name, size)


def _update_attention(attention: nn.Module, width: int, head_dim: int) -> None:
    """GPT-Neo and timm count heads, GPT-2 splits its fused projection by the width, timm joins heads by it."""
    sizes = {"num_heads": width // head_dim, "split_size": width, "attn_dim": width}
    for name, size in sizes.items():
        if hasattr(attention, name):
            setattr(attention, name, size)


def _update_config(index: ModelIndex, parent: str, reader: str, group: UnitGroup) -> None:
    """Write the size that all layers of a transformers model have in common."""
    holder = _holder_of_config(index, parent)
    if holder is None:
        return
    config: Any = index.modules[holder].config
    kind, inside = type(index.modules[parent]), f"{holder}." if holder else ""
    peers = [path for path, module in index.modules.items() if type(module) is kind and path.startswith(inside)]
    width, *others = {index.length(index.columns(join(path, reader))[0]) for path in peers}
    if others:
        return
    if not _has_heads(index.modules[parent], group):
        setattr(config, next(name for name in _HIDDEN_SIZES if hasattr(config, name)), width)
    elif getattr(config, "head_dim", None):
        config.num_attention_heads = width // config.head_dim
        config.num_key_value_heads = config.num_attention_heads // max(piece.share for piece in group.producers)


def _holder_of_config(index: ModelIndex, path: str) -> str | None:
    """The outermost transformers model that a module is in."""
    parts = path.split(".") if path else []
    around = [".".join(parts[:length]) for length in range(len(parts) + 1)]
    return next((name for name in around if hasattr(getattr(index.modules[name], "config", None), "to_dict")), None)
