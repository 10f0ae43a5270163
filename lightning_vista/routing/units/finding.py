"""Search for the units of a routed tensor: the known structures, tried in order."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from torch import nn

from lightning_vista.routing.place import At, Place
from lightning_vista.routing.units.endings import chain_units, written
from lightning_vista.routing.units.experts import expert_units, gate_units
from lightning_vista.routing.units.group import UnitGroup, UnknownStructureError, WrongDimensionError
from lightning_vista.routing.units.group_norms import group_normed_channels
from lightning_vista.routing.units.hidden import REGISTERED, Hidden, hidden_units, packed_heads, registered
from lightning_vista.routing.units.parameter_index import CONVOLUTIONS, ModelIndex, Site, is_layer, join
from lightning_vista.routing.units.state_spaces import state_space_units


def registered_units(site: Site) -> UnitGroup | None:
    """Return the units of what a module returns, if a function that describes them is registered for its class."""
    group = registered(site.module) if site.place.at == "output" else None
    if not isinstance(group, UnitGroup):
        return None
    # Functions name parameters relative to the module, since they know nothing of the model around it.
    producers, consumers = (
        tuple(replace(piece, name=join(site.path, piece.name)) for piece in pieces)
        for pieces in (group.producers, group.consumers)
    )
    shared = tuple(join(site.path, name) for name in group.shared)
    return replace(group, producers=producers, consumers=consumers, shared=shared)


def output_units(site: Site) -> UnitGroup | None:
    """Return the rows that write what a module returns; no consumers."""
    if site.place.at == "input":
        return None
    producers, complete = written(site.index, site.path, site.place.unit_size)
    if not producers:
        return None
    return UnitGroup(site.count(site.index.length(producers[0])), producers, complete=complete)


def input_units(site: Site) -> UnitGroup | None:
    """Return the columns that read what a layer is given; no producers."""
    if site.place.at == "output" or not is_layer(site.module):
        return None
    columns = site.index.columns(site.path, site.place.unit_size)
    length = site.index.length(columns[0])
    return UnitGroup(site.count(length), (), columns, site.index.biases(site.path), complete=False)


#: From the most to the least that is known: the last two find producers or consumers only.
STRUCTURES: tuple[Callable[[Site], UnitGroup | None], ...] = (
    registered_units,
    hidden_units,
    packed_heads,
    state_space_units,
    group_normed_channels,
    gate_units,
    chain_units,
    output_units,
    input_units,
)


Kind = TypeVar("Kind", bound=nn.Module)
Description = Callable[[Kind], Hidden | UnitGroup | None]


class _UnitFinder:
    """Find the parameters that make and read the units of a routed tensor.

    These structures are known: hidden units of MLPs (linear and gated), heads (also with grouped queries, and with
    fused queries, keys and values) and channels of the families in `docs/families.md`, layers and norms in
    `nn.Sequential`, and outputs of transformer blocks. For any other layer only its own rows (`at="output"`) or columns
    (`at="input"`) are found. `unit_group.register` adds a family.

    Args:
        model: The model.
        module: The plain name of one of its modules.
        at: Whether the routed tensor is what the module returns or what it is given; "experts" for the whole experts of
            a mixture.
        unit_size: Consecutive entries of a unit, such as the width of an attention head.
        dim: The dimension of units: -1, or 1 for the channels of convolutions.

    Returns:
        The units.

    Raises:
        UnknownStructureError: If the structure is not known, or its units have another size or dimension.
        ValueError: If `at` is another word, or `unit_size` is below 1.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> unit_group(model, "1").consumers[0].name
        '2.weight'
    """

    def __call__(
        self, model: nn.Module, module: str, at: At = "output", unit_size: int = 1, dim: int = -1
    ) -> UnitGroup:
        return find_units(model, module, Place((module,), at, dim, unit_size=unit_size))

    def register(self, kind: type[Kind]) -> Callable[[Description[Kind]], Description[Kind]]:
        """Register a function that describes the units of modules of one's own.

        The function gets a module of the class, or of a subclass, and returns one of these:

        - `Hidden`, with the names of its layers: for hidden units or heads between them.
        - `UnitGroup`: the units of what the module returns, with names of parameters relative to the module.
        - None: nothing is known of this module.

        Args:
            kind: The class of the modules.

        Returns:
            The decorator.

        Example:
            >>> class GatedMLP(nn.Module):
            ...     def __init__(self) -> None:
            ...         super().__init__()
            ...         self.w1, self.w2, self.w3 = nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 6)
            >>> @unit_group.register(GatedMLP)
            ... def gated_units(module: GatedMLP) -> Hidden:
            ...     return Hidden(writers=("w1", "w3"), reader="w2")
            >>> unit_group(GatedMLP(), "w2", at="input").size
            6
        """

        def add(describe: Description[Kind]) -> Description[Kind]:
            REGISTERED[kind] = describe  # type: ignore[assignment] # it is only called with modules of this class
            return describe

        return add


unit_group = _UnitFinder()


def find_units(model: nn.Module, module: str, place: Place) -> UnitGroup:
    """Find the units of a place at one of its modules, see `unit_group`.

    Args:
        model: The model.
        module: The plain name of the module.
        place: The way to read the module's tensor.

    Returns:
        The units.

    Raises:
        UnknownStructureError: If the structure is not known, or its units have another size or dimension.
    """
    index = ModelIndex(model)
    if module not in index.modules:
        raise UnknownStructureError(f"`module`: expected a module of {type(model).__name__}, got {module!r}.")
    site = Site(index, module, place)
    _check_channels(site)
    if place.at == "experts":
        return _experts(site)
    group = next((group for find in STRUCTURES if (group := find(site))), None)
    if group is None:
        raise UnknownStructureError(
            f"{module!r}: expected units with known parameters, got the {place.at} of a {type(site.module).__name__}. "
            "Name the layer that makes the units or the activation after it (at='output'), or the layer that reads "
            "them (at='input'), such as the last projection of an attention, for its heads, or of a gated MLP."
        )
    _check_dim(site, group)
    return group


def _experts(site: Site) -> UnitGroup:
    """Return whole experts, or refuse a module that does not hold them."""
    if (group := expert_units(site)) is None:
        raise UnknownStructureError(
            f"{site.path!r}: expected the module that holds all experts of a mixture for at='experts', got a "
            f"{type(site.module).__name__}. Name the module whose parameters have experts along dimension 0."
        )
    return group


def _check_dim(site: Site, group: UnitGroup) -> None:
    """Refuse the wrong dimension where weights reveal it: those of convolutions have dimensions for the kernel."""
    # Other parameters may have more than two dimensions as well: experts, and the filters of Mamba's channels.
    has_channels = any(
        isinstance(owner, CONVOLUTIONS) and is_layer(owner)
        for piece in (group.producers or group.consumers)
        if (owner := site.index.modules.get(piece.name.rpartition(".")[0]))
    )
    ndim = max(site.index.parameters[piece.name].ndim for piece in group.producers or group.consumers)
    expected = (1, 1 - ndim) if has_channels else (-1,)
    if ndim > 1 and site.place.dim not in expected:
        raise _wrong_dimension(site, expected[0])


#: Modules whose tensors have channels in dimension 1, and one or more dimensions of positions behind it.
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.Dropout2d,
    nn.Dropout3d,
)


def _check_channels(site: Site) -> None:
    """Refuse the last dimension of modules with channels, whatever their structure: it has columns of the image."""
    if isinstance(site.module, _CHANNELS_FIRST) and site.place.dim == -1:
        raise _wrong_dimension(site, 1)


def _wrong_dimension(site: Site, expected: int) -> WrongDimensionError:
    return WrongDimensionError(
        f"`dim`: expected {expected} for the units of the {site.place.at} of {site.path!r}, a "
        f"{type(site.module).__name__}, got {site.place.dim}. Set `dim={expected}`."
    )
