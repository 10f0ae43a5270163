"""Recovery of the fluency that an ablation has cost a model."""

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from lightning_vista.callbacks.finishing import Finishing, ResultForm
from lightning_vista.models.curve import Curve, lowest
from lightning_vista.models.finetuning import Batch, Sampling, check_finetuning, finetune, held_out_texts
from lightning_vista.options import check_counts


class CoherenceTuning(Finishing):
    """Fine-tuning of a copy of the trained model on a few retain texts at the end of `fit` (gradient routing, 4.2.2).

    After `Ablation(at="end")`, or another callback that makes a model at the end, it tunes that result. It keeps the
    step with the lowest loss on held-out retain texts, which may be the one before the first. It writes `tuned.ckpt`
    and, for models of transformers, `tuned/`, see `Finishing`.

    It needs a module with `token_losses` and a datamodule with `sample`, such as `LanguageModelModule` and
    `StoriesDataModule`.

    Args:
        num_samples: The number of retain texts of the training data, all of which are in every step.
        steps: The number of AdamW steps.
        learning_rate: AdamW learning rate.
        num_evaluated: The number of held-out validation texts of each kind, forget and retain.
        evaluate_every: The number of steps between two evaluations of held-out texts.
        batch_size: The number of texts that go through the model at a time.
        seed: Random seed for sampling texts.
        write: The forms in which to write the result, "checkpoint", "folder" or "both", see `Finishing`.

    Attributes:
        curve: Held-out losses over the steps.

    Raises:
        ValueError: If a count is below 1; at the start of `fit`, if module or datamodule lack what is needed, or there
            are too few texts.

    Example:
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=[CoherenceTuning(steps=10)])
    """

    name = "tuned"

    def __init__(
        self,
        num_samples: int = 64,
        steps: int = 40,
        learning_rate: float = 5e-5,
        num_evaluated: int = 64,
        evaluate_every: int = 1,
        batch_size: int = 16,
        seed: int = 0,
        write: ResultForm = "both",
    ) -> None:
        super().__init__(write)
        check_counts(
            num_samples=num_samples, num_evaluated=num_evaluated, evaluate_every=evaluate_every, batch_size=batch_size
        )
        self.num_samples, self.steps, self.learning_rate = num_samples, steps, learning_rate
        self.num_evaluated, self.evaluate_every = num_evaluated, evaluate_every
        self.batch_size, self.seed = batch_size, seed
        self.curve: Curve = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sample the texts, so that missing ones are reported before training."""
        self._draw(check_finetuning(trainer, pl_module, self)[1])

    def finish(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Tune a module."""
        tuned, datamodule = check_finetuning(trainer, module, self)
        texts, held_out = self._draw(datamodule)
        self.curve = finetune(
            tuned,
            texts,
            held_out,
            self.steps,
            self.learning_rate,
            self.evaluate_every,
            keep_lowest="retain",
            batch_size=self.batch_size,
            forward_context=trainer.precision_plugin.forward_context,
        )
        best = lowest(self.curve, "retain")
        rank_zero_info(
            f"CoherenceTuning kept step {best['step']} of {self.steps}: held-out retain loss "
            f"{self.curve[0]['retain']:.3f} -> {best['retain']:.3f}, forget loss {self.curve[0]['forget']:.3f} -> "
            f"{best['forget']:.3f}"
        )

    def _draw(self, datamodule: Sampling) -> tuple[Batch, dict[str, Batch]]:
        """Return the texts to tune on, and the held-out texts."""
        texts = datamodule.sample("train", False, self.num_samples, self.seed)
        return texts, held_out_texts(datamodule, "validation", self.num_evaluated, self.seed)
