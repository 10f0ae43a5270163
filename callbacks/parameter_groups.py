"""Learning rates of their own, and frozen parameters, for any LightningModule."""

from collections.abc import Mapping, Sequence

import lightning as L
from torch import nn

from lightning_vista.routing.learning_rates import ScaledRates, find_multipliers, freeze_parameters
from lightning_vista.routing.naming import find_parameters


class ParameterGroups(L.Callback):
    """Factors of the learning rate, and frozen parameters, by the names of parameters.

    New units start from zero and need a higher rate than the trained model around them: `{"*.new.*": 15.0}`. The factor
    multiplies whatever rate the module's optimizers and schedulers set, in each step. Other options, such as weight
    decay, stay. Optimizers, schedulers and checkpoints look as without the callback, see `ScaledRates`: a run resumes
    exactly, and `LearningRateMonitor` shows the rates before the factor. `LanguageModelModule` has both options itself.

    A frozen parameter does not move during `fit`, neither by momentum nor by weight decay. It is trained again
    afterwards, for example by `RelearningAttack`.

    A pattern names whole parameters. Units that `Expansion` adds to a layer are rows and columns of its parameters and
    share their rate; `BranchExpansion` gives them parameters of their own.

    Args:
        multipliers: Name or pattern of parameters -> factor of their learning rate, above 0. `*` as the first or the
            last part between dots stands for one or more parts.
        freeze: Names or patterns of parameters to freeze. With callbacks that change modules in `setup`, such as
            `Expansion`, this one stands after them in the list.

    Raises:
        ValueError: At the start of `fit`, if a pattern names no parameter, two patterns have different factors for one
            parameter, or an optimizer cannot have several rates.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[ParameterGroups({"*.new.*": 15.0})])
    """

    def __init__(self, multipliers: Mapping[str, float] | None = None, freeze: Sequence[str] = ()) -> None:
        self.multipliers = dict(multipliers or {})
        self.freeze = list(freeze)
        self._frozen: list[nn.Parameter] = []
        self._rates: list[ScaledRates] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Freeze parameters, before strategies and optimizers collect those that are trained."""
        if stage == "fit" and self.freeze:
            self._frozen += freeze_parameters(pl_module, self.freeze)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Multiply the rates of the optimizers, which exist by now."""
        if late := [name for name, p in find_parameters(pl_module, self.freeze).items() if p.requires_grad]:
            raise ValueError(
                f"`freeze`: expected frozen parameters, got {late[0]!r}, which another callback has made or unfrozen "
                "since. Place ParameterGroups after it in the list of callbacks."
            )
        multipliers = find_multipliers(pl_module, self.multipliers)
        optimized = {p for optimizer in trainer.optimizers for group in optimizer.param_groups for p in group["params"]}
        for pattern in self.multipliers:
            found = find_parameters(pl_module, [pattern])
            if not any(p in optimized and p.requires_grad for p in found.values()):
                raise ValueError(
                    f"`multipliers`: expected parameters that an optimizer trains, got {pattern!r} for "
                    f"{list(found)[:3]}, which are frozen or in no optimizer. Remove the pattern, or train them."
                )
        self._rates = [ScaledRates(optimizer, multipliers) for optimizer in trainer.optimizers if multipliers]

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Undo everything."""
        self._undo()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Undo everything."""
        self._undo()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Undo everything."""
        self._undo()

    def _undo(self) -> None:
        for rates in self._rates:
            rates.remove()
        for parameter in self._frozen:
            parameter.requires_grad_()
        self._rates, self._frozen = [], []
