"""Channels and heads of state space models: Mamba and Mamba 2 of transformers."""

from torch import nn

from lightning_vista.routing.units.group import ParameterSlice, UnitGroup, UnknownStructureError
from lightning_vista.routing.units.parameter_index import ModelIndex, Site, join

_FIXED = "the depthwise convolution and the parts of the first projection are built for one number of channels"

_NORMED = "the norm behind the heads divides by a mean over all of them"


def state_space_units(site: Site) -> UnitGroup | None:
    """Return the channels or heads of a Mamba mixer, or None if the tensor is not one of its own.

    Mamba, input of `out_proj`: a channel is made by its rows of `in_proj` (gate), `dt_proj`, `A_log` and `D`. Its other
    rows of `in_proj` and `conv1d` act through all channels, since `x_proj` computes time steps, B and C from them.

    Mamba 2, input of `norm`: a head is made by its rows of `in_proj` (values and time step), `conv1d`, `dt_bias`,
    `A_log` and `D`; the heads of a group share its B and C. The norm divides by the mean over a group, so behind it, at
    the input of `out_proj`, only whole groups have parameters of their own: all of these, their B, C and gate, and the
    entries of `norm`.

    Raises:
        UnknownStructureError: If heads are divided.
    """
    own = {name for name, _ in site.index.modules[site.parent].named_parameters(recurse=False)}
    children = {name for name, _ in site.index.modules[site.parent].named_children()}
    if site.place.at == "output" or not {"in_proj", "conv1d", "out_proj"} <= children:
        return None
    if own == {"A_log", "D"} and {"x_proj", "dt_proj"} <= children and site.child == "out_proj":
        return _channels(site)
    if own == {"A_log", "D", "dt_bias"} and "norm" in children and site.child in ("norm", "out_proj"):
        return _heads(site)
    return None


def _channels(site: Site) -> UnitGroup:
    """Return the channels that Mamba's last projection reads."""
    index, mixer, size = site.index, site.parent, site.place.unit_size
    columns = index.columns(site.path, size)
    width = index.length(columns[0])
    producers = (
        *index.rows(join(mixer, "in_proj"), size, width),
        *index.rows(join(mixer, "dt_proj"), size),
        *(ParameterSlice(join(mixer, name), 0, size) for name in ("A_log", "D")),
    )
    biases = index.biases(site.path)
    return UnitGroup(site.count(width), producers, columns, biases, complete=False, fixed=_FIXED)


def _heads(site: Site) -> UnitGroup:
    """Return the heads before Mamba 2's norm, or what lies behind it."""
    index, size, sizes = site.index, site.place.unit_size, _Sizes(site.index.modules[site.parent])
    if size % sizes.head or (size % sizes.group and sizes.group % size):
        raise UnknownStructureError(
            f"`unit_size`: expected a multiple of {sizes.head} for the input of {site.path!r}, since time steps act on "
            f"whole heads, and a divisor or multiple of {sizes.group}, the width of a group of heads, got {size}."
        )
    count = site.count(sizes.width)
    if site.child == "norm":
        # No columns read heads: the norm mixes them before the last projection.
        return UnitGroup(count, _makers(index, site.parent, sizes, size), fixed=_NORMED)
    norm = ParameterSlice(join(site.parent, "norm.weight"), 0, size)
    columns, biases = index.columns(site.path, size), index.biases(site.path)
    if size % sizes.group:
        return UnitGroup(count, (norm,), columns, biases, complete=False, fixed=_FIXED)
    gates = index.rows(join(site.parent, "in_proj"), size)
    makers = (*gates, *_makers(index, site.parent, sizes, size), norm)
    return UnitGroup(count, makers, columns, biases, fixed=_FIXED)


class _Sizes:
    """Sizes of a Mamba 2 mixer: of all heads, one head and one group of heads, and of all groups' B or C."""

    def __init__(self, mixer: nn.Module) -> None:
        stated = vars(mixer)
        self.width, self.head = int(stated["intermediate_size"]), int(stated["head_dim"])
        self.group = self.width // int(stated["n_groups"])
        self.states = int(stated["ssm_state_size"])
        self.all_states = int(stated["n_groups"]) * self.states


def _makers(index: ModelIndex, mixer: str, sizes: _Sizes, size: int) -> tuple[ParameterSlice, ...]:
    """Return what makes units of whole heads before the norm."""
    project, convolve = join(mixer, "in_proj"), join(mixer, "conv1d")
    heads, groups = size // sizes.head, max(size // sizes.group, 1)
    # The rows of `in_proj` are gates, values, B, C and time steps; those of `conv1d` are values, B and C.
    found = [*index.rows(project, size, sizes.width), *index.rows(convolve, size)]
    found += index.rows(project, heads, 2 * sizes.width + 2 * sizes.all_states)
    # The heads of a group share its B and C, as heads with grouped queries share a key.
    share = max(sizes.group // size, 1)
    for start in (0, sizes.all_states):
        found += index.rows(project, groups * sizes.states, 2 * sizes.width + start, share)
        found += index.rows(convolve, groups * sizes.states, sizes.width + start, share)
    return (*found, *(ParameterSlice(join(mixer, name), 0, heads) for name in ("dt_bias", "A_log", "D")))
