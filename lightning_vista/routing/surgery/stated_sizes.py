"""Sizes that modules and configurations state beside those of their parameters."""

from typing import Any

from torch import nn

from lightning_vista.routing.units import UnitGroup
from lightning_vista.routing.units.attention_heads import head_width
from lightning_vista.routing.units.parameter_index import ModelIndex, join

#: Size attributes of layers, in the order of the weight's dimensions: linear, GPT-2's, convolution, norm.
_LAYER_SIZES = (("out_features", "in_features"), ("nx", "nf"), ("out_channels", "in_channels"), ("num_features",))
#: Names of the width of MLPs: GPT-2, most others, OPT, Falcon, T5.
_HIDDEN_SIZES = ("n_inner", "intermediate_size", "ffn_dim", "ffn_hidden_size", "d_ff")


def update_modules(index: ModelIndex, group: UnitGroup) -> None:
    """Update the sizes that modules state to those of their new parameters.

    Args:
        index: The model; the parameters of the units are read from its modules.
        group: The units that were resized.
    """
    for owner in {piece.name.rpartition(".")[0] for piece in (*group.producers, *group.consumers)}:
        _update_layer(index.modules[owner])
    attention, columns = _writers_parent(index, group), group.consumers[-1]
    if _has_heads(attention, group):
        weight = index.modules[columns.name.rpartition(".")[0]].get_parameter("weight")
        share = max(piece.share for piece in group.producers)
        _update_attention(attention, weight.shape[columns.dim], columns.unit_size, share)


def update_config(index: ModelIndex, group: UnitGroup, width: int) -> None:
    """Write the size that all layers have in common into their configuration.

    A configuration has one size for all layers. While layers differ, it keeps its size, and plain transformers cannot
    load a checkpoint of the model; once layers agree, it gets their size. Only configurations that state a `head_dim`
    (Llama's) get the number of heads: others derive the width of heads from it. So do those that state the width of an
    MLP as a ratio (Qwen2-VL's vision), and those of experts, which state several widths.

    Args:
        index: The model, with its new parameters.
        group: The units that were resized.
        width: The number of entries of the routed tensor before.
    """
    parent, reader = _parent(group), group.consumers[-1].name.split(".")[-2]
    around = _modules_of_config(index, parent)
    if around is None:
        return
    configs, modules = around
    kind = type(index.modules[parent])
    peers = [join(path, reader) for path in modules if type(index.modules[path]) is kind]
    # The configuration can state one size only; if layers differ it keeps the old one.
    new, *others = {index.length(index.columns(path)[0]) for path in peers if path in index.modules}
    if others:
        return
    for config in configs:
        if not _has_heads(_writers_parent(index, group), group):
            if name := _name_of_width(config, width):
                setattr(config, name, new)
        # A property is derived from the number of heads (Falcon's), which would then say another width.
        elif getattr(config, "head_dim", None) and not isinstance(getattr(type(config), "head_dim", None), property):
            config.num_attention_heads = new // config.head_dim
            config.num_key_value_heads = config.num_attention_heads // max(piece.share for piece in group.producers)


def _writers_parent(index: ModelIndex, group: UnitGroup) -> nn.Module:
    """Return the module that contains the first layer that makes the units; an attention states its sizes there."""
    return index.modules[group.producers[0].name.rpartition(".")[0].rpartition(".")[0]]


def _parent(group: UnitGroup) -> str:
    """Return the name of the module that contains the layer that reads the units."""
    return group.consumers[-1].name.rpartition(".")[0].rpartition(".")[0]


def _has_heads(module: nn.Module, group: UnitGroup) -> bool:
    """Return whether the units are the heads of an attention."""
    return head_width(module) == group.consumers[-1].unit_size


def _update_layer(layer: nn.Module) -> None:
    """Set the sizes of a layer to the shape of its weight; a group norm gets more groups of the same size."""
    if isinstance(layer, nn.GroupNorm):
        channels = len(layer.weight)
        layer.num_groups = channels * layer.num_groups // layer.num_channels
        layer.num_channels = channels
    for names in _LAYER_SIZES:
        if hasattr(layer, names[0]):
            shape = layer.get_parameter("weight").shape
            for name, size in zip(names, shape, strict=False):  # a convolution's kernel comes after
                setattr(layer, name, size)


def _update_attention(attention: nn.Module, width: int, head_dim: int, share: int) -> None:
    """Set an attention's sizes: most count heads, some (Falcon) also keys; GPT-2, timm and BERT also keep the width."""
    # The names of GPT-Neo, timm and Falcon, of BERT, and of diffusers; then of widths in the same order.
    sizes = dict.fromkeys(("num_heads", "num_attention_heads", "heads", "sliceable_head_dim"), width // head_dim)
    sizes |= dict.fromkeys(("split_size", "attn_dim", "all_head_size", "inner_dim"), width)
    sizes |= {"num_kv_heads": width // head_dim // share, "inner_kv_dim": width // share}
    for name, size in sizes.items():
        if hasattr(attention, name):
            setattr(attention, name, size)


def _modules_of_config(index: ModelIndex, path: str) -> tuple[list[Any], list[str]] | None:
    """Return the configuration of a transformers module with its copies, and the names of all modules described."""
    # From the inside outwards: in a composite model, such as CLIP, text and vision have configurations of their own.
    parts = path.split(".") if path else []
    around = [".".join(parts[:length]) for length in range(len(parts), -1, -1)]
    configs = (getattr(index.modules[name], "config", None) for name in around)
    config = next((config for config in configs if hasattr(config, "to_dict")), None)
    if config is None:
        return None
    # Modules around it hold the same object or, in T5, a copy for each of encoder and decoder. Neighbours do not count:
    # LLaVA's two models may have equal sizes.
    holders = [name for name in around if type(getattr(index.modules[name], "config", None)) is type(config)]
    inside = f"{holders[-1]}." if holders[-1] else ""
    modules = [name for name in index.modules if name.startswith(inside) or name == holders[-1]]
    held = (getattr(index.modules[name], "config", None) for name in modules)
    return list({id(other): other for other in held if type(other) is type(config)}.values()), modules


def _name_of_width(config: Any, width: int) -> str | None:
    """Return the name under which a configuration states the width of an MLP, or None."""
    names = [name for name in _HIDDEN_SIZES if hasattr(config, name)]
    # Experts have widths of their own, and a shared expert may have the class of a plain MLP.
    states_experts = any("expert" in name for name, value in vars(config).items() if type(value) is int)
    stated = [name for name in names if getattr(config, name) == width]
    if states_experts or len(names) > 1:
        return stated[0] if len(stated) == 1 and not states_experts else None
    return names[0] if names else None
