"""Channels between the two convolutions of diffusers' residual blocks, which a group norm mixes within its groups."""

from torch import nn

from lightning_vista.routing.units.group import UnitGroup
from lightning_vista.routing.units.parameter_index import Site, join


def group_normed_channels(site: Site) -> UnitGroup | None:
    """Return the channels that the second convolution of a `ResnetBlock2D` reads, or None for another module.

    The norm before it divides by the variance over a group of channels. The rows of the first convolution that make a
    group act through this group alone, but those of a channel through the whole group. So units have all of their
    parameters only if `unit_size` is the number of channels of a group, or a multiple of it.
    """
    index, block = site.index, site.index.modules[site.parent]
    norm = index.modules.get(join(site.parent, "norm2"))
    is_place = (site.child, site.place.at) in (("conv2", "input"), ("dropout", "output"))
    if type(block).__name__ != "ResnetBlock2D" or not isinstance(norm, nn.GroupNorm) or not is_place:
        return None
    size, width = site.place.unit_size, norm.num_channels
    reader = join(site.parent, "conv2")
    makers = [*index.rows(join(site.parent, "norm2"), size)]
    before = [*index.rows(join(site.parent, "conv1"), size)]
    # The embedding of time is added before the norm, or scales and shifts each channel behind it.
    if (embedding := join(site.parent, "time_emb_proj")) in index.modules:
        parts = [*index.rows(embedding, size), *index.rows(embedding, size, width)]
        is_behind = index.length(parts[0]) == 2 * width
        (makers if is_behind else before).extend(parts if is_behind else index.rows(embedding, size))
    is_whole = size % (width // norm.num_groups) == 0
    producers = (*makers, *(before if is_whole else ()))
    return UnitGroup(site.count(width), producers, index.columns(reader, size), index.biases(reader), is_whole)
