"""Maximum entropy (MaxEnt): an unlearning method that makes predictions on forget texts uniform."""

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_vista.callbacks.finishing import Finishing, ResultForm
from lightning_vista.files.run_files import run_files
from lightning_vista.models.curve import Curve, write_curve
from lightning_vista.models.finetuning import Batch, Sampling, check_logits, draw_rows, held_out_texts, optimize
from lightning_vista.models.token_losses import divergence_from_uniform
from lightning_vista.options import check_counts


class MaxEntropyTuning(Finishing):
    """Tuning of a copy of the trained model towards uniform predictions on forget texts, at the end of `fit`.

    Each step of AdamW follows the mean KL(model || uniform) over the tokens of some forget texts, plus `retain_weight`
    times the cross-entropy of some retain texts. This direction of the divergence is log(vocabulary) minus the entropy,
    so that its minimum has maximum entropy, as the name says (Yuan et al., arXiv 2410.08109); MaxEnt is also the first
    step of `Undo`. It is bounded, unlike the cross-entropy that gradient ascent raises. The other direction,
    KL(uniform || model), has the same minimum, but is dominated by the least likely tokens.

    After another of these callbacks it works on that one's result. It writes `max_entropy.ckpt`, for models of
    transformers `max_entropy/`, see `Finishing`, and the held-out losses over the steps, `max_entropy.csv`.

    It needs a module with `token_losses` and `token_logits` and a datamodule with `sample`, such as
    `LanguageModelModule` and `StoriesDataModule`.

    Args:
        retain_weight: The weight of the retain loss relative to the forget divergence.
        steps: The number of AdamW steps.
        learning_rate: AdamW learning rate.
        batch_size: The number of texts of each kind in a step.
        num_samples: The number of training texts of each kind, from which each step draws.
        num_evaluated: The number of held-out validation texts of each kind, forget and retain.
        evaluate_every: The number of steps between two evaluations of held-out texts.
        seed: Random seed for sampling texts.
        write: The forms in which to write the result, "checkpoint", "folder" or "both", see `Finishing`.

    Attributes:
        curve: Held-out losses over the steps.

    Raises:
        ValueError: If a count is below 1; at the start of `fit`, if module or datamodule lack what is needed, or there
            are too few texts.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[MaxEntropyTuning(steps=10)])
    """

    name = "max_entropy"

    def __init__(
        self,
        retain_weight: float = 15.0,
        steps: int = 200,
        learning_rate: float = 1e-4,
        batch_size: int = 16,
        num_samples: int = 256,
        num_evaluated: int = 64,
        evaluate_every: int = 20,
        seed: int = 0,
        write: ResultForm = "both",
    ) -> None:
        super().__init__(write)
        check_counts(
            batch_size=batch_size, num_samples=num_samples, num_evaluated=num_evaluated, evaluate_every=evaluate_every
        )
        self.retain_weight, self.steps, self.learning_rate = retain_weight, steps, learning_rate
        self.batch_size, self.num_samples = batch_size, num_samples
        self.num_evaluated, self.evaluate_every, self.seed = num_evaluated, evaluate_every, seed
        self.curve: Curve = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sample the texts, so that missing ones are reported before training."""
        self._draw(check_logits(trainer, pl_module, self)[1])

    def finish(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Tune a module."""
        tuned, datamodule = check_logits(trainer, module, self)
        forget, retain, held_out = self._draw(datamodule)
        generator = torch.Generator().manual_seed(self.seed)

        def draw(texts: Batch) -> Batch:
            rows = draw_rows(texts, self.batch_size, generator)
            return {name: value.to(module.device) for name, value in rows.items()}

        def objective() -> Tensor:
            logits, is_token = tuned.token_logits(draw(forget))
            losses, mask = tuned.token_losses(draw(retain))
            return divergence_from_uniform(logits[is_token]).mean() + self.retain_weight * losses[mask].mean()

        self.curve = optimize(
            tuned,
            objective,
            held_out,
            self.steps,
            self.learning_rate,
            self.evaluate_every,
            self.batch_size,
            trainer.precision_plugin.forward_context,
            title="maximizing entropy",
        )
        write_curve(self.curve, run_files(trainer) / f"{self.name}.csv")
        before, after = self.curve[0], self.curve[-1]
        rank_zero_info(
            f"MaxEntropyTuning took {self.steps} steps: held-out forget loss {before['forget']:.3f} -> "
            f"{after['forget']:.3f}, retain loss {before['retain']:.3f} -> {after['retain']:.3f}"
        )

    def _draw(self, datamodule: Sampling) -> tuple[Batch, Batch, dict[str, Batch]]:
        """Return the forget and retain texts to tune on, and the held-out texts."""
        forget, retain = (datamodule.sample("train", kind, self.num_samples, self.seed) for kind in (True, False))
        return forget, retain, held_out_texts(datamodule, "validation", self.num_evaluated, self.seed)
