"""Adds branches of new units to a model before it is trained."""

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor, nn

from lightning_vista.callbacks.expansion import Expansion
from lightning_vista.routing.surgery import Branches, add_branch, cut_branch


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

    def __init__(
        self, modules: Sequence[str], num_units: int, hidden: str = "act", at: Literal["output", "input"] = "output"
    ) -> None:
        super().__init__(modules, num_units, at)
        self.hidden = hidden

    def _expand(self, model: nn.Module, name: str) -> None:
        add_branch(model, name, self.num_units, self.hidden, self.at)

    def _follow(self, model: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> None:
        has_branch = isinstance(model.get_submodule(name), Branches)
        kept = {key for key in tensors if key.startswith(f"{name}.")}
        wants_branch = any(key.startswith(f"{name}.new.") for key in kept)
        if wants_branch and not has_branch:
            self._expand(model, name)
        elif kept and has_branch and not wants_branch:
            cut_branch(model, name)
