"""UNDO: an unlearned model is distilled into a corrupted copy of itself, so that what it suppresses is lost."""

import copy

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_vista.callbacks.finishing import Finishing, ResultForm
from lightning_vista.files.run_files import run_files
from lightning_vista.models.curve import Curve, write_curve
from lightning_vista.models.finetuning import (
    Batch,
    Sampling,
    check_logits,
    draw_rows,
    held_out_texts,
    mean_losses,
    optimize,
)
from lightning_vista.models.fresh_weights import corrupt, fresh_weights
from lightning_vista.models.token_losses import divergence_from_teacher
from lightning_vista.options import check_counts


class Undo(Finishing):
    """Unlearn, noise, distill on outputs (UNDO, Lee et al. 2025, arXiv 2506.06278), at the end of `fit`.

    The teacher is the result of the callbacks before this one, such as `MaxEntropyTuning`, `RepresentationMisdirection`
    or `Ablation(at="end")`: a model that has unlearned in its outputs, but may hold in its weights what it suppresses.
    The student is a copy whose parameters are all moved towards a random initialization:
    `(1 - alpha) weight + alpha beta noise`. It learns the teacher's predictions on retain texts only, by
    KL(teacher || student), until its loss on held-out retain texts is at most `tolerance` above the teacher's.

    It writes `undo.ckpt`, for models of transformers `undo/`, see `Finishing`, and the held-out losses over the steps,
    `undo.csv`. Its last step tells the cost of the distillation.

    It needs a module with `token_losses` and `token_logits` and a datamodule with `sample`, such as
    `LanguageModelModule` and `StoriesDataModule`.

    Args:
        alpha: The share of the teacher's weights to remove, from 0 to 1. More costs more steps, and leaves less to
            relearn from; the paper has .1 to .8.
        beta: The scale of the noise.
        tolerance: The difference from the teacher's held-out retain loss at which to stop, in nats.
        steps: The highest number of AdamW steps.
        learning_rate: AdamW learning rate.
        batch_size: The number of texts in a step.
        num_samples: The number of retain texts of the training data, from which each step draws.
        num_evaluated: The number of held-out validation texts of each kind, forget and retain.
        evaluate_every: The number of steps between two evaluations of held-out texts.
        seed: Random seed for the noise and for sampling texts.
        write: The forms in which to write the result, "checkpoint", "folder" or "both", see `Finishing`.

    Attributes:
        curve: Held-out losses of the student over the steps.
        teacher: Held-out losses of the teacher.

    Raises:
        ValueError: If `alpha` is not between 0 and 1, or a count is below 1. At the start of `fit`, if module or
            datamodule lack what is needed, or there are too few texts; at its end, if some parameters cannot be
            initialized anew.

    Example:
        >>> callbacks = [Undo(alpha=0.6)]  # after MaxEntropyTuning(), for example
        >>> trainer = L.Trainer(logger=False, enable_progress_bar=False, callbacks=callbacks)
    """

    name = "undo"

    def __init__(
        self,
        alpha: float = 0.6,
        beta: float = 0.1,
        tolerance: float = 0.05,
        steps: int = 500,
        learning_rate: float = 9e-4,
        batch_size: int = 16,
        num_samples: int = 2048,
        num_evaluated: int = 64,
        evaluate_every: int = 20,
        seed: int = 0,
        write: ResultForm = "both",
    ) -> None:
        super().__init__(write)
        check_counts(
            batch_size=batch_size, num_samples=num_samples, num_evaluated=num_evaluated, evaluate_every=evaluate_every
        )
        if not 0 <= alpha <= 1:
            raise ValueError(f"`alpha`: expected a share between 0 and 1, got {alpha}.")
        self.alpha, self.beta, self.tolerance = alpha, beta, tolerance
        self.steps, self.learning_rate = steps, learning_rate
        self.batch_size, self.num_samples = batch_size, num_samples
        self.num_evaluated, self.evaluate_every, self.seed = num_evaluated, evaluate_every, seed
        self.curve: Curve = []
        self.teacher: dict[str, float] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sample the texts, so that missing ones are reported before training."""
        self._draw(check_logits(trainer, pl_module, self)[1])

    def finish(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Corrupt a module, and distill the one before into it."""
        student, datamodule = check_logits(trainer, module, self)
        teacher, _ = check_logits(trainer, copy.deepcopy(module), self)
        retain, held_out = self._draw(datamodule)
        forward_context = trainer.precision_plugin.forward_context
        self.teacher = mean_losses(teacher, held_out, self.batch_size, forward_context)
        corrupt(module, fresh_weights(module, self.seed), self.alpha, self.beta)
        generator = torch.Generator().manual_seed(self.seed)

        def objective() -> Tensor:
            rows = draw_rows(retain, self.batch_size, generator)
            rows = {name: value.to(module.device) for name, value in rows.items()}
            with torch.no_grad():
                targets, is_token = teacher.token_logits(rows)
            logits, _ = student.token_logits(rows)
            return divergence_from_teacher(logits[is_token], targets[is_token]).mean()

        self.curve = optimize(
            student,
            objective,
            held_out,
            self.steps,
            self.learning_rate,
            self.evaluate_every,
            self.batch_size,
            forward_context,
            self._is_close,
            title="distilling",
        )
        write_curve(self.curve, run_files(trainer) / f"{self.name}.csv")
        self._report()

    def _is_close(self, point: dict[str, float]) -> bool:
        return point["retain"] <= self.teacher["retain"] + self.tolerance

    def _report(self) -> None:
        last, reached = self.curve[-1], self._is_close(self.curve[-1])
        rank_zero_info(
            f"Undo took {last['step']} steps: held-out retain loss {self.curve[0]['retain']:.3f} -> "
            f"{last['retain']:.3f} (teacher {self.teacher['retain']:.3f}), forget loss {last['forget']:.3f} (teacher "
            f"{self.teacher['forget']:.3f})"
            + ("" if reached else f". It did not come within {self.tolerance} of its teacher; raise `steps`.")
        )

    def _draw(self, datamodule: Sampling) -> tuple[Batch, dict[str, Batch]]:
        """Return the retain texts to distill on, and the held-out texts."""
        retain = datamodule.sample("train", False, self.num_samples, self.seed)
        return retain, held_out_texts(datamodule, "validation", self.num_evaluated, self.seed)
