"""Hidden units inside one module: those of an MLP, and the heads of an attention.

`HIDDEN` is the table of known modules; another model family needs one more line there, or a function that its user
registers, see `unit_group.register`.
"""

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from torch import Tensor, nn

from lightning_vista.routing.units.attention_heads import (
    NORMS_OF_HEADS,
    Fused,
    Rows,
    check_heads,
    count_rows,
    full_width_norm,
    fused_rows,
    head_width,
)
from lightning_vista.routing.units.group import ParameterSlice, UnitGroup, UnknownStructureError
from lightning_vista.routing.units.parameter_index import MIXING, ModelIndex, Site, is_layer, join


class Hidden(NamedTuple):
    """Names of the layers between which hidden units lie, relative to the module that contains them.

    Attributes:
        writers: The layers whose rows make the units.
        reader: The layer whose columns read them; its input is the routed tensor.
        outputs: Children whose output has the same units, in the order in which they run: layers and activations before
            the reader.
        parts: The number of copies of the units in a writer's rows, such as 2 in fused gates and values.
        heads: Whether units are the heads of an attention; a writer may then have fewer rows, which heads share.
        fused: The order of rows in a writer that makes queries, keys and values at once; None if it makes one of them.
        per_unit: The module's own parameters with one entry for each unit.
        beside: Parameters, and children with parameters, that act before the writers or after the reader.
        unless: Children that, if they have parameters, make it another structure.
        fixed: The reason why the number of units cannot change; empty if it can.
    """

    writers: tuple[str, ...]
    reader: str
    outputs: tuple[str, ...] = ()
    parts: int = 1
    heads: bool = False
    fused: Fused | None = None
    per_unit: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    fixed: str = ""

    def fits(self, index: ModelIndex, parent: str) -> bool:
        """Return whether a module has this structure."""
        children = [index.modules.get(join(parent, child)) for child in (*self.writers, self.reader)]
        others = [index.modules.get(join(parent, child)) for child in self.unless]
        if not all(map(is_layer, children)) or any(list(other.parameters()) for other in others if other):
            return False
        if any(isinstance(index.modules.get(join(parent, child)), MIXING) for child in self.outputs):
            return False
        if not all(join(parent, name) in index.parameters for name in self.per_unit):
            return False
        # Without a stated width of heads it is unknown which rows belong to one head.
        if self.heads and not head_width(self.core(index, parent)):
            return False
        return not _between(index, parent, self) and all(self._has_rows(index, parent, name) for name in self.writers)

    def core(self, index: ModelIndex, parent: str) -> nn.Module:
        """Return the module that contains the writers, and states the sizes of heads."""
        return index.modules[join(parent, self.writers[0]).rpartition(".")[0]]

    def width(self, index: ModelIndex, parent: str) -> int:
        """Return the number of entries of the routed tensor."""
        return index.length(index.columns(join(parent, self.reader))[0])

    def producers(self, index: ModelIndex, parent: str, unit_size: int) -> tuple[ParameterSlice, ...]:
        """Return the rows that make single units: those of all writers, unless a norm over all heads mixes them."""
        found: list[ParameterSlice] = []
        for writer in self.writers:
            path = full_width_norm(index, parent, writer) or join(parent, writer)
            for part in self._parts(index, parent, writer):
                found += index.rows(path, unit_size, *part)
        return (*found, *(ParameterSlice(join(parent, name), dim=0) for name in self.per_unit))

    def between(self, index: ModelIndex, parent: str, child: str) -> tuple[Callable[[Tensor], Tensor], ...] | None:
        """Return what acts on the output of a child before the reader takes it, or None if that is not known."""
        if child == self.reader:
            return ()
        behind = [join(parent, name) for name in self.outputs[self.outputs.index(child) + 1 :]]
        # A child that contains a writer has run it already.
        found = [index.modules[path] for path in behind if path in index.modules and not _has_layers(index, path)]
        block = index.modules[parent]
        if child in self.writers and isinstance(block, _BLOCKS):
            return (block.activation, *found)
        # Between a writer and the reader there is an activation, which other modules call as a function.
        is_known = child not in self.writers or not all(isinstance(module, nn.Dropout) for module in found)
        return tuple(found) if is_known else None

    def is_complete(self, index: ModelIndex, parent: str) -> bool:
        """Return whether nothing but the writers makes single units."""
        known = (*self.writers, self.reader, *self.per_unit, *self.beside, *NORMS_OF_HEADS)
        # Any other parameter of an attention may belong to heads, such as a table of relative positions. Around an MLP
        # there may be a whole block, but parameters of the module itself may act on units.
        names = (name for name, _ in index.modules[parent].named_parameters(recurse=self.heads))
        has_unknown = any(not _is_within(name, known) for name in names)
        return not has_unknown and not any(full_width_norm(index, parent, writer) for writer in self.writers)

    def _parts(self, index: ModelIndex, parent: str, writer: str) -> tuple[Rows, ...]:
        """Return the positions of units in the rows of a writer."""
        width, rows = self.width(index, parent), index.length(index.rows(join(parent, writer))[0])
        if self.fused:
            core, size = self.core(index, parent), head_width(self.core(index, parent)) or 1
            return fused_rows(core, self.fused, width // size, size)
        # With 8 query heads and 2 key heads, 4 units share each block of the keys' rows.
        return tuple(Rows(part * width, max(width // rows, 1)) for part in range(self.parts))

    def _has_rows(self, index: ModelIndex, parent: str, writer: str) -> bool:
        """Return whether a writer has as many rows as its parts need."""
        width, rows = self.width(index, parent), index.length(index.rows(join(parent, writer))[0])
        if self.fused:
            size = head_width(self.core(index, parent)) or 1
            return rows == count_rows(self._parts(index, parent, writer), width // size, size)
        return rows == width * self.parts or (self.heads and width % rows == 0)


_BLOCKS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_T5_BIAS = "all layers add the position bias of the first one, which has an entry for each head"
_STATED = "the module reads the number of heads from the configuration, which states one for all layers"

#: The first row that fits describes a module; shapes tell apart those with the same names, such as timm's MLPs.
HIDDEN = (
    Hidden(("c_fc",), "c_proj", outputs=("c_fc", "act")),  # GPT-2, GPT-Neo
    # Numbers say that further layers of a user's own network stand behind the reader.
    Hidden(
        ("fc1",), "fc2", outputs=("fc1", "act", "drop1", "activation_fn"), beside=("fc3", "fc4"), unless=("norm",)
    ),  # timm, CLIP, OPT
    Hidden(
        ("linear1",), "linear2", outputs=("linear1", "dropout"), beside=("linear3", "linear4")
    ),  # nn.TransformerEncoderLayer
    Hidden(("dense_h_to_4h",), "dense_4h_to_h", outputs=("dense_h_to_4h", "act", "gelu_impl")),  # Pythia, Bloom, Falcon
    Hidden(("gate_proj", "up_proj"), "down_proj"),  # Llama, Mistral, Qwen, Gemma
    Hidden(("gate_up_proj",), "down_proj", parts=2),  # Phi-3
    Hidden(("fc1_g", "fc1_x"), "fc2", unless=("norm",)),  # timm's SwiGLU
    Hidden(("fc1",), "fc2", parts=2, unless=("norm",)),  # timm's GluMlp
    Hidden(("wi",), "wo", outputs=("wi", "act", "dropout")),  # T5
    Hidden(("wi_0", "wi_1"), "wo", outputs=("dropout",)),  # T5 1.1, Flan-T5
    Hidden(
        ("intermediate.dense",),
        "output.dense",
        outputs=("intermediate.dense", "intermediate.intermediate_act_fn", "intermediate"),
    ),  # BERT, ESM-2
    Hidden(
        ("pwconv1",), "pwconv2", outputs=("pwconv1", "act"), beside=("layer_scale_parameter",)
    ),  # ConvNeXt of transformers
    Hidden(("net.0.proj",), "net.2", outputs=("net.0", "net.1")),  # diffusers, GELU
    Hidden(("net.0.proj",), "net.2", outputs=("net.0", "net.1"), parts=2),  # diffusers, GEGLU and SwiGLU
    Hidden(("q_proj", "k_proj", "v_proj"), "out_proj", heads=True),  # GPT-Neo, CLIP, OPT
    Hidden(("q_proj", "k_proj", "v_proj"), "o_proj", heads=True, per_unit=("sinks",)),  # GPT-OSS
    Hidden(("q_proj", "k_proj", "v_proj"), "o_proj", heads=True),  # Llama, Mistral, Qwen, Gemma
    # T5's table of relative positions has a column for each head, but it serves the heads of all layers: with it in
    # the first layer, not everything that makes these heads acts through them alone.
    Hidden(("q", "k", "v"), "o", heads=True, fixed=_T5_BIAS),  # T5
    Hidden(
        ("self.query", "self.key", "self.value"),
        "output.dense",
        heads=True,
        beside=("LayerNorm", "output.LayerNorm"),
    ),  # BERT, ESM-2
    Hidden(
        ("to_q", "to_k", "to_v"),
        "to_out.0",
        heads=True,
        beside=("group_norm", "spatial_norm", "norm_cross"),
        unless=("norm_q", "norm_k", "add_k_proj", "add_q_proj", "to_qkv", "to_kv"),
    ),  # diffusers
    Hidden(("c_attn",), "c_proj", heads=True, fused="parts"),  # GPT-2
    Hidden(("qkv",), "proj", heads=True, fused="parts", unless=("norm", "gate")),  # timm
    Hidden(("qkv_proj",), "o_proj", heads=True, fused="parts", fixed=_STATED),  # Phi-3
    Hidden(("query_key_value",), "dense", heads=True, fused="heads"),  # Pythia, Bloom, Falcon
)

#: Functions that describe modules of the user's own, by the class of the module.
REGISTERED: dict[type[nn.Module], Callable[[nn.Module], Hidden | UnitGroup | None]] = {}


def _has_layers(index: ModelIndex, path: str) -> bool:
    """Return whether a module contains layers."""
    return any(map(is_layer, index.modules[path].modules()))


def _is_within(name: str, known: tuple[str, ...]) -> bool:
    """Return whether a name is one of the known ones, or lies within one."""
    return any(name == other or name.startswith(f"{other}.") for other in known)


def _between(index: ModelIndex, parent: str, row: Hidden) -> list[str]:
    """Return the modules that may act on the units between the writers and the reader, and are not known."""
    width = row.width(index, parent)
    if row.heads:
        return _vectors_between(index, parent, row, width)
    residual = index.length(index.rows(join(parent, row.reader))[0])
    # Where all widths are the same, they do not tell what stands where; the blocks of transformers are known.
    kind = index.modules[parent]
    if residual == width and (isinstance(kind, _BLOCKS) or type(kind).__module__.startswith("transformers.")):
        return []
    ends = {name: _ends(module) for name, module in _others(index, parent, row).items()}
    after = _reachable(width, ends.values())
    before = _reachable(width, [(outs, ins) for ins, outs in ends.values()])
    # What takes a vector made from units, and returns one from which the reader's input can be made.
    return [name for name, (ins, outs) in ends.items() if ins & after and outs & before]


#: The widths that a module may take, and those that it may return.
Ends = tuple[set[int], set[int]]


def _others(index: ModelIndex, parent: str, row: Hidden) -> dict[str, nn.Module]:
    """Return the modules within an MLP, or the block around it, that have a width and are not known."""
    known = (index.modules.get(join(parent, name)) for name in (*row.writers, row.reader, *row.beside))
    # By identity, since a module may have several names.
    ours = {id(part) for module in known if module for part in module.modules()}
    parts = ((name, part) for name, part in index.modules[parent].named_modules() if name and id(part) not in ours)
    return {name: part for name, part in parts if _widths(part)}


def _widths(module: nn.Module) -> set[int]:
    """Return the dimensions of a module's own parameters, and of statistics and shapes of a norm without any."""
    tensors = [*module.parameters(recurse=False), *(b for b in module.buffers(recurse=False) if b.dim() == 1)]
    stated = (getattr(module, name, ()) for name in ("normalized_shape", "num_channels"))
    sizes = (size for value in stated for size in (value if isinstance(value, tuple) else (value,)))
    return {size for tensor in tensors for size in tensor.shape} | {size for size in sizes if isinstance(size, int)}


def _ends(module: nn.Module) -> Ends:
    """Return the widths that a module may take and return; for an unknown kind, all that its parameters have."""
    if isinstance(module, nn.MultiheadAttention):
        return {module.embed_dim, module.kdim, module.vdim}, {module.embed_dim}
    if is_layer(module):
        index = ModelIndex(module)
        return {index.length(index.columns("")[0])}, {index.length(index.rows("")[0])}
    return _widths(module), _widths(module)


def _reachable(width: int, ends: Collection[Ends]) -> set[int]:
    """Return the widths of vectors that modules can make from those of one width, one after another."""
    found, size = {width}, 0
    while len(found) > size:
        size = len(found)
        found = found.union(*(outs for ins, outs in ends if ins & found))
    return found


def _vectors_between(index: ModelIndex, parent: str, row: Hidden, width: int) -> list[str]:
    """Return the vectors as wide as all heads that may act between them and the reader, and are not known."""
    known = (*row.writers, row.reader, *row.outputs, *row.beside, *NORMS_OF_HEADS)
    # Of any other parameter `is_complete` tells that it may belong to heads.
    return [
        name
        for name, parameter in index.modules[parent].named_parameters()
        if "." in name and parameter.numel() == max(parameter.shape) == width and not _is_within(name, known)
    ]


def hidden_in(index: ModelIndex, parent: str) -> Hidden | None:
    """Return the row that describes a module, or None.

    Raises:
        UnknownStructureError: If a function that is registered for the module's class describes other layers.
    """
    row = registered(index.modules[parent])
    if not isinstance(row, Hidden):
        return next((row for row in HIDDEN if row.fits(index, parent)), None)
    if not row.fits(index, parent):
        raise UnknownStructureError(
            f"{parent!r}: expected the layers registered for {type(index.modules[parent]).__name__}, each with as many "
            f"rows or columns as there are units, and nothing that may act on units between them, got {row}. Check "
            "names and `parts`, and name children that act before the writers or behind the reader in `beside`."
        )
    return row


def registered(module: nn.Module) -> Hidden | UnitGroup | None:
    """Return what a registered function says of a module; one for a subclass comes first."""
    found = next((REGISTERED[kind] for kind in type(module).__mro__ if kind in REGISTERED), None)
    return found(module) if found else None


def _around(site: Site) -> Iterator[tuple[str, str]]:
    """Yield the modules around the routed one, with its name relative to each."""
    parts = site.path.split(".")
    # Rows name layers at most two levels down.
    for depth in range(1, min(len(parts), 3) + 1):
        yield ".".join(parts[:-depth]), ".".join(parts[-depth:])


def hidden_units(site: Site) -> UnitGroup | None:
    """Return the units of a tensor between the layers of an MLP or attention, or None if the module is neither.

    Raises:
        UnknownStructureError: If the module has heads and they are not the units.
    """
    index = site.index
    for parent, child in _around(site):
        row = hidden_in(index, parent)
        if row is None or child not in ((row.reader,) if site.place.at == "input" else row.outputs):
            continue
        if row.heads:
            check_heads(site, head_width(row.core(index, parent)))
        reader = join(parent, row.reader)
        return UnitGroup(
            site.count(row.width(index, parent)),
            row.producers(index, parent, site.place.unit_size),
            index.columns(reader, site.place.unit_size),
            index.biases(reader),
            row.is_complete(index, parent),
            fixed=row.fixed,
            between=row.between(index, parent, child),
        )
    return None


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
    check_heads(site, attention.head_dim)
    leaves = [leaf for leaf in ("in_proj_weight", "in_proj_bias") if getattr(attention, leaf) is not None]
    starts = [part * attention.embed_dim for part in range(3)]
    rows = [
        ParameterSlice(join(site.parent, leaf), 0, site.place.unit_size, start) for leaf in leaves for start in starts
    ]
    columns = index.columns(site.path, site.place.unit_size)
    return UnitGroup(attention.num_heads, tuple(rows), columns, index.biases(site.path))
