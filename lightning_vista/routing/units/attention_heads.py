"""Heads of attentions: their width, and their rows in layers that make queries, keys and values."""

from typing import Literal, NamedTuple

from torch import nn

from lightning_vista.routing.units.group import UnknownStructureError
from lightning_vista.routing.units.parameter_index import ModelIndex, Site, join

#: Names under which attentions state the width of a head: most, GPT-NeoX, T5, BERT and ESM.
_WIDTHS = ("head_dim", "head_size", "key_value_proj_dim", "attention_head_size")
#: Names under which they state the number of keys, if several heads share one: most, Falcon.
_NUM_KEYS = ("num_key_value_heads", "num_kv_heads")

#: Norms of queries and keys, which act on each head by itself, or on all of them at once as in OLMo 2.
NORMS_OF_HEADS = ("q_norm", "k_norm")

#: The order of rows in a layer that makes queries, keys and values at once: all queries, then keys, then values; or
#: the queries of the first key, this key and its value, then those of the second.
Fused = Literal["parts", "heads"]


class Rows(NamedTuple):
    """The position of one part in the rows of a layer, see `ParameterSlice`."""

    start: int = 0
    share: int = 1
    run: int = 0
    stride: int = 0


def head_width(attention: nn.Module) -> int | None:
    """Return the width of a head, or None if the module states none."""
    stated = (getattr(attention, name, None) for name in _WIDTHS)
    if width := next((value for value in stated if isinstance(value, int)), None):
        return width
    # diffusers states the number of heads instead.
    heads, inner = getattr(attention, "heads", None), getattr(attention, "inner_dim", None)
    return inner // heads if isinstance(heads, int) and isinstance(inner, int) else None


def fused_rows(attention: nn.Module, order: Fused, heads: int, width: int) -> tuple[Rows, Rows, Rows]:
    """Return the positions of queries, keys and values in the rows of one layer.

    Args:
        attention: The module that contains the layer, which states the number of its keys.
        order: The order of the rows.
        heads: The number of heads.
        width: The width of a head.

    Returns:
        The positions of the three parts.

    Example:
        >>> attention = nn.Module()
        >>> attention.num_kv_heads = 2
        >>> fused_rows(attention, "heads", heads=4, width=8)[1]  # keys, each behind two queries
        Rows(start=16, share=2, run=1, stride=32)
    """
    keys = next((getattr(attention, name) for name in _NUM_KEYS if hasattr(attention, name)), heads)
    share = heads // keys
    if order == "parts":
        return Rows(), Rows(heads * width, share), Rows((heads + keys) * width, share)
    stride = (share + 2) * width
    return (
        Rows(0, 1, share, stride),
        Rows(share * width, share, 1, stride),
        Rows((share + 1) * width, share, 1, stride),
    )


def count_rows(parts: tuple[Rows, ...], heads: int, width: int) -> int:
    """Return the number of rows that parts have together."""
    return sum(heads // part.share * width for part in parts)


def full_width_norm(index: ModelIndex, parent: str, writer: str) -> str | None:
    """Return the name of a norm that mixes all units of a writer, or None."""
    # OLMo 2 normalises all queries at once: rows of one head then act through the others, which its norm scales.
    norm = join(parent, f"{writer.removesuffix('_proj')}_norm")
    weights = list(index.modules[norm].parameters()) if norm in index.modules else []
    rows = index.length(index.rows(join(parent, writer))[0])
    is_full = bool(weights) and weights[0].numel() == rows != getattr(index.modules[parent], "head_dim", None)
    return norm if is_full else None


def check_heads(site: Site, width: int | None) -> None:
    """Refuse units that are not whole heads.

    Args:
        site: The routed tensor.
        width: The width of a head.

    Raises:
        UnknownStructureError: If units have another width.
    """
    if site.place.unit_size != width:
        raise UnknownStructureError(
            f"`unit_size`: expected {width} for the {site.place.at} of {site.path!r}, since queries and keys act on "
            f"whole heads, got {site.place.unit_size}."
        )
