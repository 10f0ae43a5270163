"""Representation misdirection (RMU): the unlearning method with which expand, route, ablate is compared."""

import copy
from collections.abc import Sequence

import lightning as L
import torch
from torch.nn.functional import normalize

from lightning_vista.callbacks.finishing import Finishing, ResultForm
from lightning_vista.models.finetuning import Batch, check_finetuning, draw_rows
from lightning_vista.models.misdirection import layer_outputs, misdirection_loss
from lightning_vista.options import check_counts
from lightning_vista.processes.progress import progress_bar
from lightning_vista.routing.naming import find_parameters


class RepresentationMisdirection(Finishing):
    """Misdirection of a language model's representations of forget texts, in a copy of it at the end of `fit`.

    A few weights are trained so that the output of one layer moves towards a random vector on forget texts, and stays
    on retain texts (Li et al. 2024, arXiv 2403.03218; the comparison is in gradient routing, 4.2.2). After another of
    these callbacks it works on that one's result. It writes `misdirected.ckpt` and, for models of transformers,
    `misdirected/`.

    It needs a module with `token_losses` and a datamodule with `sample`, such as `LanguageModelModule` and
    `StoriesDataModule`.

    Args:
        layer: The plain name of the layer whose output is misdirected, such as `model.transformer.h.2`.
        parameters: Patterns of the parameters to train, such as `model.transformer.h.[0-2].mlp.c_proj.weight`, in which
            `*` stands for one part between dots, at either end for one or more.
        norm: The length of the random vector.
        alpha: The weight of the retain loss relative to the forget loss.
        steps: The number of AdamW steps.
        learning_rate: AdamW learning rate.
        batch_size: The number of texts of each kind in a step.
        num_samples: The number of training texts of each kind.
        seed: Random seed for the vector and for sampling texts.
        write: The forms in which to write the result, "checkpoint", "folder" or "both", see `Finishing`.

    Raises:
        ValueError: If a count is below 1; at the start of `fit`, if module or datamodule lack what is needed, or there
            are too few texts; at its end, if no parameter has one of the names.
    """

    name = "misdirected"

    def __init__(
        self,
        layer: str,
        parameters: Sequence[str],
        norm: float = 20.0,
        alpha: float = 100.0,
        steps: int = 200,
        learning_rate: float = 1e-3,
        batch_size: int = 16,
        num_samples: int = 256,
        seed: int = 0,
        write: ResultForm = "both",
    ) -> None:
        super().__init__(write)
        check_counts(batch_size=batch_size, num_samples=num_samples)
        self.layer, self.parameters = layer, list(parameters)
        self.norm, self.alpha, self.steps, self.learning_rate = norm, alpha, steps, learning_rate
        self.batch_size, self.num_samples, self.seed = batch_size, num_samples, seed

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sample the texts, so that missing ones are reported before training."""
        for is_forget in (True, False):
            self._sample(trainer, pl_module, is_forget)

    def finish(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Train the copy."""
        # Names are those of the copy, which an earlier callback may have changed: hence not checked at the start.
        trained = list(find_parameters(module, self.parameters).values())
        frozen = copy.deepcopy(module)
        optimizer = torch.optim.AdamW(trained, self.learning_rate)
        generator = torch.Generator().manual_seed(self.seed)
        forget, retain = self._sample(trainer, module, is_forget=True), self._sample(trainer, module, is_forget=False)
        width = layer_outputs(module, self.layer, draw_rows(forget, 1, generator)).shape[-1]
        target = self.norm * normalize(torch.rand(width, generator=generator), dim=0).to(module.device)
        with progress_bar("misdirecting", self.steps) as advance:
            for _ in range(self.steps):
                forgotten = layer_outputs(module, self.layer, draw_rows(forget, self.batch_size, generator))
                rows = draw_rows(retain, self.batch_size, generator)
                with torch.no_grad():
                    before = layer_outputs(frozen, self.layer, rows)
                loss = misdirection_loss(forgotten, target, layer_outputs(module, self.layer, rows), before, self.alpha)
                optimizer.zero_grad()
                loss.backward(inputs=trained)
                optimizer.step()
                advance(1)
        module.zero_grad()

    def _sample(self, trainer: L.Trainer, module: L.LightningModule, is_forget: bool) -> Batch:
        _, datamodule = check_finetuning(trainer, module, self)
        batch = datamodule.sample("train", is_forget, self.num_samples, self.seed)
        return {name: value.to(module.device) for name, value in batch.items()}
