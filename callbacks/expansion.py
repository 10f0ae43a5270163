"""Adds units, or branches of new units, to a model before it is trained."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import lightning as L
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_vista.options import check_word
from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.place import At, Place, as_patterns
from lightning_vista.routing.surgery import Branches, Init, ablate, add_branch, cut_branch, expand_at
from lightning_vista.routing.units import find_units


class Expansion(L.Callback):
    """Adds units to layers when a run is set up: the first step of expand, route, ablate (gradient routing, 4.2.2).

    That is before checkpoints are loaded, optimizers made and routes attached, wherever in the list of callbacks it
    stands, and once for each module, however often it is then trained and tested. New units come after the old ones,
    so that a route has them as `"-64:"`.

    A checkpoint decides on the sizes of layers: one of the expanded model is loaded as ever, and one without the new
    units, such as `ablated.ckpt`, takes them off the model again.

    Args:
        modules: Names or patterns of the modules that have the units, such as `model.transformer.h.[0-2].mlp.act`.
        num_units: How many units each of them is given.
        at: Whether units are in what a module returns or in what it is given.
        unit_size: Consecutive entries of a unit: for attention heads their width.
        dim: The dimension of units: -1, or 1 for the channels of convolutions.
        init: "zero_consumers" lets the weights that read the new units start at zero, so that the model computes what
            it did; "normal" draws them like the others.

    Raises:
        ValueError: At setup, if no module has such a name, or not this number of units can be added.
        UnknownStructureError: At setup, if the parameters of the units are not known.

    Example:
        >>> expansion = Expansion(["model.transformer.h.*.mlp.act"], num_units=64)
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[expansion])
    """

    def __init__(
        self,
        modules: Sequence[str],
        num_units: int,
        at: At = "output",
        unit_size: int = 1,
        dim: int = -1,
        init: Init = "zero_consumers",
    ) -> None:
        check_word("init", init, get_args(Init))
        self.place = Place(as_patterns(modules), at, dim, unit_size=unit_size)
        self.num_units, self.init = num_units, init
        self._handle: RemovableHandle | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Expand what is not expanded yet, and wait for checkpoints."""
        try:
            names = list(self.place.modules(pl_module))
        except ValueError as error:
            raise ValueError(f"Expansion: {error} The model has to be built in the module's `__init__`.") from error
        expanded: set[str] = vars(pl_module).setdefault("expanded_modules", set())  # copies of the module know it too
        for name in names:
            if f"{name}:{self.place.at}" not in expanded:
                self._expand(pl_module, name)
                expanded.add(f"{name}:{self.place.at}")

        def before_loading(module: nn.Module, state_dict: Mapping[str, Any], prefix: str, *_: object) -> None:
            tensors = {plain_name(key.removeprefix(prefix)): tensor for key, tensor in state_dict.items()}
            for name in names:
                self._follow(module, name, tensors)

        self._remove()
        register: Any = pl_module.register_load_state_dict_pre_hook  # has no annotations
        self._handle = register(before_loading)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave no hook on the module."""
        self._remove()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave no hook on the module."""
        self._remove()

    def _expand(self, model: nn.Module, name: str) -> None:
        expand_at(model, name, self.place, self.num_units, self.init)

    def _follow(self, model: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Give a layer the new units if a checkpoint has them and it has not, or take them off the other way round."""
        group = find_units(model, name, self.place)
        reader = group.consumers[-1]
        if reader.name not in tensors:
            return  # loading will say so, if it is strict
        size = tensors[reader.name].shape[reader.dim] // reader.unit_size
        if size == group.size + self.num_units:
            self._expand(model, name)
        elif size == group.size - self.num_units:
            ablate(model, group, range(size, group.size), mode="slice")

    def _remove(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None


class BranchExpansion(Expansion):
    """Adds units to MLPs as branches of their own: `Expansion`, where also what reads units is to be routed.

    The MLP `<name>` becomes `<name>.old` and `<name>.new`, whose outputs are added. Routes on these two, with the
    region `"rest"`, weigh all that is learned in either; `Ablation(at="end")` of the region of `<name>.new` puts the
    old MLP back in its place.

    A checkpoint decides whether there are branches, as it does for `Expansion`.

    Args:
        modules: Names or patterns of MLPs, such as `model.transformer.h.*.mlp`.
        num_units: Hidden units of each branch.
        hidden: The module within the MLP that has the hidden units: its activation, or for gated MLPs the last
            projection with `at="input"`.
        at: Whether units are in what `hidden` returns or in what it is given.

    Raises:
        ValueError: At setup, if no module has such a name.
        UnknownStructureError: At setup, if the parameters of the hidden units are not known.

    Example:
        >>> import lightning as L
        >>> expansion = BranchExpansion(["model.transformer.h.*.mlp"], num_units=32)
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[expansion])
    """

    def __init__(self, modules: Sequence[str], num_units: int, hidden: str = "act", at: At = "output") -> None:
        super().__init__(modules, num_units, at)
        self.hidden = hidden

    def _expand(self, model: nn.Module, name: str) -> None:
        add_branch(model, name, self.num_units, self.hidden, self.place.at)

    def _follow(self, model: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> None:
        has_branch = isinstance(model.get_submodule(name), Branches)
        kept = {key for key in tensors if key.startswith(f"{name}.")}
        wants_branch = any(key.startswith(f"{name}.new.") for key in kept)
        if wants_branch and not has_branch:
            self._expand(model, name)
        elif kept and has_branch and not wants_branch:
            cut_branch(model, name)
