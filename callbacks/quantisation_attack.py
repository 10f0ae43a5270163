"""An attack by rounding: whether a quantized model remembers what it has forgotten."""

import copy
from collections.abc import Sequence
from typing import Literal, get_args

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info

from lightning_vista.models.finetuning import check_finetuning, held_out_texts, mean_losses
from lightning_vista.models.quantisation import Rounding, quantise
from lightning_vista.options import check_counts, check_word

#: Forms in which weights are rounded.
QuantisedForm = Literal["int8", "int4"]


class QuantisationAttack(L.Callback):
    """Evaluation of copies of the tested model whose weights are rounded to 8 or 4 bits.

    Unlearning that moves weights by little is undone where rounding moves them back (Zhang et al., arXiv 2410.16454).
    At the end of `test`, the attack logs the losses of each form on held-out texts, as `test/quantised/<form>/forget`
    and `.../retain`, and those of the tested model on the same texts, as `test/quantised/none/...`. Compare with these:
    `test/loss/forget` is over all test texts. The tested model stays as it is. With `fast_dev_run` nothing happens.

    Weights of linear layers are rounded symmetrically: "int8" has one scale for each output unit, "int4" one for each
    `group_size` inputs of each output unit. Embeddings, the output layer, norms, biases and activations stay in their
    precision, see `lightning_vista.models.quantisation.quantise`.

    It needs a module with `token_losses` and a datamodule with `sample`, such as `LanguageModelModule` and
    `StoriesDataModule`.

    Args:
        forms: The forms, "int8" and "int4".
        group_size: The number of inputs that share a scale in "int4", usually 32 or 128.
        num_evaluated: The number of held-out test texts of each kind, forget and retain.
        batch_size: The number of texts that go through the model at a time.
        seed: Random seed for sampling texts; with that of `RelearningAttack`, and as many, they are the same.

    Raises:
        ValueError: If a form is another word or there is none, `group_size` is below 1, module or datamodule lack what
            is needed, there are too few texts, or the module has no linear layers.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[QuantisationAttack(["int4"])])
    """

    def __init__(
        self,
        forms: Sequence[QuantisedForm] = ("int8", "int4"),
        group_size: int = 128,
        num_evaluated: int = 64,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        check_counts(num_evaluated=num_evaluated, batch_size=batch_size)
        for form in forms:
            check_word("forms", form, get_args(QuantisedForm))
        if not forms or group_size < 1:
            raise ValueError(
                f"`forms`, `group_size`: expected at least one form and groups of at least 1, got {list(forms)} and "
                f"{group_size}."
            )
        roundings = {"int8": Rounding(8), "int4": Rounding(4, group_size)}
        self.roundings = {form: roundings[form] for form in forms}
        self.num_evaluated, self.batch_size, self.seed = num_evaluated, batch_size, seed

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sample the texts, so that missing ones are reported before testing."""
        held_out_texts(check_finetuning(trainer, pl_module, self)[1], "test", self.num_evaluated, self.seed)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluate rounded copies in the first process, and log the losses."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined] # set by Lightning's connectors
            return
        found = self._losses(trainer, pl_module) if trainer.is_global_zero else {}
        for form, losses in trainer.strategy.broadcast(found).items():
            pl_module.log_dict({f"test/quantised/{form}/{kind}": loss for kind, loss in losses.items()})

    def _losses(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, dict[str, float]]:
        """Return the held-out losses of each form, after those of the tested model."""
        module, datamodule = check_finetuning(trainer, pl_module, self)
        held_out = held_out_texts(datamodule, "test", self.num_evaluated, self.seed)
        options = (held_out, self.batch_size, trainer.precision_plugin.forward_context)
        found = {"none": mean_losses(module, *options)}
        for form, rounding in self.roundings.items():
            with torch.inference_mode(False):  # copies of weights that can be changed in place
                rounded = copy.deepcopy(pl_module)
                share = quantise(rounded, rounding)
            rank_zero_info(f"QuantisationAttack rounded {share:.1%} of the parameters to {form}")
            found[form] = mean_losses(check_finetuning(trainer, rounded, self)[0], *options)
        return found
