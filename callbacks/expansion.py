"""Callbacks that add units, or branches of new units, to a model before it is trained."""

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
    """Expansion of layers when a run is set up: the first step of expand, route, ablate (gradient routing, 4.2.2).

    It happens before checkpoints are loaded, optimizers made and routes attached, wherever the callback stands in the
    list. It happens once for each module, however often that is then trained and tested. New units follow the old ones,
    so that a route names them as `"-64:"`.

    A checkpoint decides on the sizes of layers. A checkpoint of the expanded model loads as usual; one without the new
    units, such as `ablated.ckpt`, removes them from the model.

    Args:
        modules: Names or patterns of the modules that have the units, such as `model.transformer.h.[0-2].mlp.act`.
        num_units: The number of new units for each of them.
        at: Whether the units are in what a module returns or in what it is given.
        unit_size: Consecutive entries of a unit, such as the width of an attention head.
        dim: The dimension of units: -1, or 1 for the channels of convolutions.
        init: The start of the weights that read the new units: "zero_consumers" for zero, so that the model computes
            the same as before; "normal" to draw them like the others.

    Raises:
        ValueError: If `at` or `init` is another word; at setup, if no module has such a name, or this number of units
            cannot be added.
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
        """Expand the modules that are not expanded yet, and prepare for checkpoints."""
        try:
            names = list(self.place.modules(pl_module))
        except ValueError as error:
            raise ValueError(f"Expansion: {error} The module must build its model in `__init__`.") from error
        # Kept on the module rather than here: copies of it are expanded as well, and another callback must know.
        expanded: set[str] = vars(pl_module).setdefault("expanded_modules", set())
        for name in names:
            if f"{name}:{self.place.at}" not in expanded:
                self._expand(pl_module, name)
                expanded.add(f"{name}:{self.place.at}")

        def before_loading(module: nn.Module, state_dict: Mapping[str, Any], prefix: str, *_: object) -> None:
            tensors = {plain_name(key.removeprefix(prefix)): tensor for key, tensor in state_dict.items()}
            for name in names:
                self._follow(module, name, tensors)

        # Checkpoints are loaded after `setup`, which is too late to ask them; so the sizes follow while loading.
        self._remove()
        register: Any = pl_module.register_load_state_dict_pre_hook  # has no annotations
        self._handle = register(before_loading)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the hook from the module."""
        self._remove()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove the hook from the module."""
        self._remove()

    def _expand(self, model: nn.Module, name: str) -> None:
        expand_at(model, name, self.place, self.num_units, self.init)

    def _follow(self, model: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Add the new units to a layer if only the checkpoint has them; remove them if only the layer has."""
        group = find_units(model, name, self.place)
        # The last consumer is the layer that reads the units; batch norms on the way there come before it.
        reader = group.consumers[-1]
        if reader.name not in tensors:
            return  # strict loading reports the missing weight itself
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
    """Expansion of MLPs by branches of their own, for routes that also cover what reads the units.

    The MLP `<name>` becomes `<name>.old` and `<name>.new`, whose outputs are added. Routes on these two, with the
    region `"rest"`, weigh everything that either of them learns. `Ablation(at="end")` of the region of `<name>.new`
    puts the old MLP back in its place.

    A checkpoint decides whether there are branches, as for `Expansion`.

    Args:
        modules: Names or patterns of MLPs, such as `model.transformer.h.*.mlp`.
        num_units: The number of hidden units of each branch.
        hidden: The module within the MLP that has the hidden units: its activation, or for gated MLPs the last
            projection with `at="input"`.
        at: Whether the units are in what `hidden` returns or in what it is given.

    Raises:
        ValueError: If `at` is another word; at setup, if no module has such a name.
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
