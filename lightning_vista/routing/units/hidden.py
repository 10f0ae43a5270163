"""Hidden units inside one module: those of an MLP, and the heads of an attention.

`HIDDEN` is the table of known modules; another model family needs one more line there.
"""

from typing import NamedTuple

from torch import nn

from lightning_vista.routing.units.group import ParameterSlice, UnitGroup, UnknownStructureError
from lightning_vista.routing.units.parameter_index import ModelIndex, Site, is_layer, join


class Hidden(NamedTuple):
    """Names of the children between which hidden units lie.

    Attributes:
        writers: The layers whose rows make the units.
        reader: The layer whose columns read them; its input is the routed tensor.
        outputs: Children whose output has the same units: layers and activations before the reader.
        parts: The number of copies of the units in a writer's rows, such as 3 in fused queries, keys and values.
        heads: Whether units are the heads of an attention; a writer may then have fewer rows, which heads share.
        unless: Children that, if they have parameters, make it another structure.
    """

    writers: tuple[str, ...]
    reader: str
    outputs: tuple[str, ...] = ()
    parts: int = 1
    heads: bool = False
    unless: tuple[str, ...] = ()

    def fits(self, index: ModelIndex, parent: str) -> bool:
        """Return whether a module has this structure."""
        children = [index.modules.get(join(parent, child)) for child in (*self.writers, self.reader)]
        others = [index.modules.get(join(parent, child)) for child in self.unless]
        if not all(map(is_layer, children)) or any(list(other.parameters()) for other in others if other):
            return False
        # Without a stated width of heads it is unknown which rows belong to one head.
        if self.heads and not hasattr(index.modules[parent], "head_dim"):
            return False
        if _between(index, parent, self):
            return False
        width = self.width(index, parent)
        rows = [index.length(index.rows(join(parent, writer))[0]) for writer in self.writers]
        # With grouped queries, keys and values have a fraction of the queries' rows.
        shares_rows = self.heads and self.parts == 1
        return all(count == width * self.parts or (shares_rows and width % count == 0) for count in rows)

    def width(self, index: ModelIndex, parent: str) -> int:
        """Return the number of entries of the routed tensor."""
        return index.length(index.columns(join(parent, self.reader))[0])

    def producers(self, index: ModelIndex, parent: str, unit_size: int) -> tuple[ParameterSlice, ...]:
        """Return the rows that make single units: those of all writers, unless a norm over all heads mixes them."""
        found: list[ParameterSlice] = []
        for writer in self.writers:
            path, norm = join(parent, writer), full_width_norm(index, parent, writer)
            part = index.length(index.rows(path)[0]) // self.parts
            # With 8 query heads and 2 key heads, 4 units share each block of the keys' rows.
            share = self.width(index, parent) // part
            for start in range(0, self.parts * part, part):
                found += index.rows(norm or path, unit_size, start, share)
        return tuple(found)

    def is_complete(self, index: ModelIndex, parent: str) -> bool:
        """Return whether nothing but the writers makes single units."""
        # Parameters of the module itself may belong to heads: sinks, tables of relative positions, biases of queries.
        has_own = any(True for _ in index.modules[parent].parameters(recurse=False))
        return not has_own and not any(full_width_norm(index, parent, writer) for writer in self.writers)


#: The first row that fits describes a module; shapes tell apart those with the same names, such as timm's MLPs.
HIDDEN = (
    Hidden(("c_fc",), "c_proj", outputs=("c_fc", "act")),  # GPT-2, GPT-Neo
    Hidden(("fc1",), "fc2", outputs=("fc1", "act", "drop1", "activation_fn"), unless=("norm",)),  # timm, CLIP
    Hidden(("linear1",), "linear2", outputs=("linear1", "dropout")),  # nn.TransformerEncoderLayer
    Hidden(("dense_h_to_4h",), "dense_4h_to_h", outputs=("dense_h_to_4h", "act")),  # GPT-NeoX
    Hidden(("gate_proj", "up_proj"), "down_proj"),  # Llama, Mistral, Qwen, Gemma
    Hidden(("gate_up_proj",), "down_proj", parts=2),  # Phi-3
    Hidden(("fc1_g", "fc1_x"), "fc2", unless=("norm",)),  # timm's SwiGLU
    Hidden(("fc1",), "fc2", parts=2, unless=("norm",)),  # timm's GluMlp
    Hidden(("q_proj", "k_proj", "v_proj"), "out_proj", heads=True),  # GPT-Neo, CLIP
    Hidden(("q_proj", "k_proj", "v_proj"), "o_proj", heads=True),  # Llama, Mistral, Qwen, Gemma
    Hidden(("c_attn",), "c_proj", parts=3, heads=True),  # GPT-2
    Hidden(("qkv",), "proj", parts=3, heads=True, unless=("norm", "gate")),  # timm
)


#: Norms of queries and keys, which act on each head by itself, or on all of them at once as in OLMo 2.
NORMS_OF_HEADS = ("q_norm", "k_norm")


def full_width_norm(index: ModelIndex, parent: str, writer: str) -> str | None:
    """Return the name of a norm that mixes all units of a writer, or None."""
    # OLMo 2 normalises all queries at once: rows of one head then act through the others, which its norm scales.
    norm = join(parent, f"{writer.removesuffix('_proj')}_norm")
    weights = list(index.modules[norm].parameters()) if norm in index.modules else []
    rows = index.length(index.rows(join(parent, writer))[0])
    is_full = bool(weights) and weights[0].numel() == rows != getattr(index.modules[parent], "head_dim", None)
    return norm if is_full else None


def _between(index: ModelIndex, parent: str, row: Hidden) -> list[str]:
    """Return the children that may act on the units between the writers and the reader, and are not known."""
    inside = f"{parent}." if parent else ""
    known = {*row.writers, row.reader, *row.outputs, *NORMS_OF_HEADS}
    width, found = row.width(index, parent), []
    outside = index.length(index.rows(join(parent, row.reader))[0])
    for name, child in index.modules[parent].named_children():
        sizes = {parameter.numel() for parameter in child.parameters()}
        # Parameters as wide as the units, such as those of ConvNeXt V2's response norm. Modules of the width of the
        # residual stream stand before the writers or behind the reader, as norms of whole transformer blocks do.
        acts_on_units = row.heads or width != outside
        if name not in known and acts_on_units and width in sizes:
            found.append(f"{inside}{name}")
    return found


def hidden_in(index: ModelIndex, parent: str) -> Hidden | None:
    """Return the row of the table that describes a module, or None."""
    return next((row for row in HIDDEN if row.fits(index, parent)), None)


def hidden_units(site: Site) -> UnitGroup | None:
    """Return the units of a tensor between the layers of an MLP or attention, or None if the module is neither.

    Raises:
        UnknownStructureError: If the module has heads and they are not the units.
    """
    index, parent = site.index, site.parent
    row = hidden_in(index, parent)
    if row is None or site.child not in ((row.reader,) if site.place.at == "input" else row.outputs):
        return None
    if row.heads:
        _check_heads(site)
    reader = join(parent, row.reader)
    return UnitGroup(
        site.count(row.width(index, parent)),
        row.producers(index, parent, site.place.unit_size),
        index.columns(reader, site.place.unit_size),
        index.biases(reader),
        row.is_complete(index, parent),
    )


def packed_heads(site: Site) -> UnitGroup | None:
    """Return the heads of `nn.MultiheadAttention`, whose queries, keys and values are rows of one parameter.

    Its output projection is never called as a module, so no hook can route its input. The units still serve parameter
    masking and ablation.

    Raises:
        UnknownStructureError: If heads are not the units.
    """
    index, attention = site.index, site.index.modules[site.parent]
    if not isinstance(attention, nn.MultiheadAttention) or (site.child, site.place.at) != ("out_proj", "input"):
        return None
    # Separate projections (other key widths) and added key biases are other structures.
    if attention.in_proj_weight is None or attention.bias_k is not None:
        return None
    _check_heads(site)
    leaves = [leaf for leaf in ("in_proj_weight", "in_proj_bias") if getattr(attention, leaf) is not None]
    starts = [part * attention.embed_dim for part in range(3)]
    rows = [
        ParameterSlice(join(site.parent, leaf), 0, site.place.unit_size, start) for leaf in leaves for start in starts
    ]
    columns = index.columns(site.path, site.place.unit_size)
    return UnitGroup(attention.num_heads, tuple(rows), columns, index.biases(site.path))


def _check_heads(site: Site) -> None:
    """Refuse units that are not whole heads."""
    head_dim = site.index.modules[site.parent].head_dim
    if site.place.unit_size != head_dim:
        raise UnknownStructureError(
            f"`unit_size`: expected {head_dim} for the {site.place.at} of {site.path!r}, since queries and keys act on "
            f"whole heads, got {site.place.unit_size}."
        )
