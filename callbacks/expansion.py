"""Callbacks that add units, or branches of new units, to a model before it is trained."""

import logging
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, get_args

import lightning as L
from torch import Tensor, nn

from lightning_vista.callbacks.checkpoint_following import CheckpointFollowing
from lightning_vista.options import check_word
from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.place import At, Place, as_patterns
from lightning_vista.routing.surgery import Branches, Init, ablate, add_branch, cut_branch, expand_at
from lightning_vista.routing.surgery.branches import NEW_BRANCH
from lightning_vista.routing.units import find_units

_log = logging.getLogger(__name__)
#: The units of a layer before all expansions, as the original module beside branches.
_OLD = "old"


class Expansion(CheckpointFollowing):
    """Expansion of layers when a run is set up: the first step of expand, route, ablate (gradient routing, 4.2.2).

    It happens before checkpoints are loaded, optimizers made and routes attached, wherever the callback stands in the
    list. It happens once for each module, however often that is then trained and tested. New units follow the old ones,
    so that a route names them as `"-64:"`. Several of these callbacks may expand one layer under different names: their
    units follow each other in the order of the list.

    A checkpoint decides on the sizes of layers. A checkpoint of the expanded model loads as usual; one without the new
    units, such as `ablated.ckpt`, removes them from the model. Where several expansions have one size, a checkpoint
    with some of them does not tell which; a warning says so.

    Args:
        modules: Names or patterns of the modules that have the units, such as `model.transformer.h.[0-2].mlp.act`.
        num_units: The number of new units for each of them.
        at: Whether the units are in what a module returns or in what it is given.
        unit_size: Consecutive entries of a unit, such as the width of an attention head.
        dim: The dimension of units: -1, or 1 for the channels of convolutions.
        init: The start of the weights that read the new units: "zero_consumers" for zero, so that the model computes
            the same as before; "normal" to draw them like the others.
        name: The name of the new units, different for each expansion of a layer.

    Raises:
        ValueError: If `at` or `init` is another word; at setup, if no module has such a name, this number of units
            cannot be added, or a layer has an expansion of this name and another size.
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
        name: str = NEW_BRANCH,
    ) -> None:
        check_word("init", init, get_args(Init))
        if not name.isidentifier() or name == _OLD:
            raise ValueError(f"`name`: expected an identifier other than {_OLD!r}, got {name!r}.")
        self.place = Place(as_patterns(modules), at, dim, unit_size=unit_size)
        self.num_units, self.init, self.name = num_units, init, name

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Expand the modules that are not expanded yet, and prepare for checkpoints."""
        names = self._find(pl_module)
        self._check_others(trainer, pl_module, names)
        for name in names:
            sizes = self._sizes(pl_module, name)
            if self.name not in sizes:
                self._expand(pl_module, name)
            if sizes.setdefault(self.name, self.num_units) != self.num_units:
                raise ValueError(
                    f"`num_units`: expected {sizes[self.name]}, with which {name!r} was expanded by {self.name!r} "
                    f"before, got {self.num_units}. Give this expansion another `name`."
                )

        def before_loading(module: nn.Module, state_dict: Mapping[str, Any], prefix: str, *_: object) -> None:
            tensors = {plain_name(key.removeprefix(prefix)): tensor for key, tensor in state_dict.items()}
            for name in names:
                self._follow(module, name, tensors)

        self.follow(pl_module, before_loading)

    def _find(self, model: nn.Module) -> list[str]:
        """Return the names of the modules to expand."""
        try:
            return list(self.place.modules(model))
        except ValueError as error:
            raise ValueError(
                f"{type(self).__name__}: {error} The module must build its model in `__init__`."
            ) from error

    def _check_others(self, trainer: L.Trainer, model: nn.Module, names: Sequence[str]) -> None:
        """Refuse another callback of this trainer that would add the same units, of which one would do nothing."""
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by Lightning's connectors
        for other in callbacks:
            # Another class adds units elsewhere: those of branches have modules of their own.
            if type(other) is not type(self) or other is self or other.name != self.name:
                continue
            if other.place.at == self.place.at and (both := sorted(set(other._find(model)) & set(names))):
                raise ValueError(
                    f"`name`: expected different names for expansions of one module, got {self.name!r} twice for "
                    f"{both}. Give each its own, such as the topic."
                )

    def _sizes(self, model: nn.Module, name: str) -> dict[str, int]:
        """Return the number of units of each expansion of a module so far, and before them."""
        # Kept on the module rather than here: copies of it are expanded as well, and another callback must know.
        expanded: dict[str, dict[str, int]] = vars(model).setdefault("expanded_modules", {})
        return expanded.setdefault(f"{name}:{self.place.at}", {})

    def _expand(self, model: nn.Module, name: str) -> None:
        self._sizes(model, name).setdefault(_OLD, find_units(model, name, self.place).size)
        expand_at(model, name, self.place, self.num_units, self.init)

    def _follow(self, model: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Bring a layer to the size that it has in the checkpoint, if some of the expansions explain it."""
        group = find_units(model, name, self.place)
        # The last consumer is the layer that reads the units; batch norms on the way there come before it.
        reader = group.consumers[-1]
        if reader.name not in tensors:
            return  # strict loading reports the missing weight itself
        size = tensors[reader.name].shape[reader.dim] // reader.unit_size
        if size == group.size:
            return
        fitting = subsets_of_size(self._sizes(model, name), size)
        if len(fitting) > 1:
            _log.warning(
                "Expansion: %r has %d units in the checkpoint, which may be any of %s. Regions count the units that it "
                "has. Give expansions different sizes to tell them apart.", name, size, fitting,
            )  # fmt: skip
        # All weights come from the checkpoint, so that it does not matter which units go or come.
        if fitting and size > group.size:
            expand_at(model, name, self.place, size - group.size, self.init)
        elif fitting:
            ablate(model, group, range(size, group.size), mode="slice")


def subsets_of_size(sizes: Mapping[str, int], size: int) -> list[list[str]]:
    """Return the sets of expansions with which a layer has a size.

    Args:
        sizes: The number of units of each expansion, and of the layer before as "old", which all sets contain.
        size: The size.

    Returns:
        The names of each set, in the order of the expansions.

    Example:
        >>> subsets_of_size({"old": 8, "bio": 2, "cyber": 3}, 11)
        [['old', 'cyber']]
    """
    added = [name for name in sizes if name != _OLD]
    sets = [[_OLD, *names] for count in range(len(added) + 1) for names in combinations(added, count)]
    return [names for names in sets if sum(sizes[name] for name in names) == size]


class BranchExpansion(Expansion):
    """Expansion of MLPs by branches of their own, for routes that also cover what reads the units.

    The MLP `<mlp>` becomes `<mlp>.old` and `<mlp>.<name>`, whose outputs are added. Routes on these two, with the
    region `"rest"`, weigh everything that either of them learns. Several of these callbacks, each with a `name`, put
    several branches beside one MLP, such as `<mlp>.bio` and `<mlp>.cyber` (GRAM, arXiv 2607.08077).
    `Ablation(at="end")` of the region of a branch removes it; with the last one, the old MLP is back in its place.

    A checkpoint decides which branches there are, as for `Expansion`.

    Args:
        modules: Names or patterns of MLPs, such as `model.transformer.h.*.mlp`.
        num_units: The number of hidden units of each branch.
        hidden: The module within the MLP that has the hidden units: its activation, or for gated MLPs the last
            projection with `at="input"`.
        at: Whether the units are in what `hidden` returns or in what it is given.
        name: The name of the branches, different for each of these callbacks that expand one MLP.
        bias: Whether branches have biases where the MLPs have none, as those of Llama.

    Raises:
        ValueError: If `at` is another word, or `name` is not an identifier; at setup, if no module has such a name, or
            a branch cannot have this one.
        UnknownStructureError: At setup, if the parameters of the hidden units are not known.

    Example:
        >>> import lightning as L
        >>> topics = [BranchExpansion(["model.transformer.h.*.mlp"], 32, name=name) for name in ("bio", "cyber")]
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=topics)
    """

    def __init__(
        self,
        modules: Sequence[str],
        num_units: int,
        hidden: str = "act",
        at: At = "output",
        name: str = NEW_BRANCH,
        bias: bool = False,
    ) -> None:
        super().__init__(modules, num_units, at, name=name)
        self.hidden, self.bias = hidden, bias

    def _expand(self, model: nn.Module, name: str) -> None:
        add_branch(model, name, self.num_units, self.hidden, self.place.at, self.name, self.bias)

    def _follow(self, model: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> None:
        mlp = model.get_submodule(name)
        has_branch = isinstance(mlp, Branches) and self.name in mlp.names
        kept = {key for key in tensors if key.startswith(f"{name}.")}
        wants_branch = any(key.startswith(f"{name}.{self.name}.") for key in kept)
        if wants_branch and not has_branch:
            self._expand(model, name)
        elif kept and has_branch and not wants_branch:
            cut_branch(model, name, self.name)
