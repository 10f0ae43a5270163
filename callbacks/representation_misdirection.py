"""Representation misdirection (RMU): the unlearning that expand, route, ablate is compared with."""

import copy
from collections.abc import Sequence

import lightning as L
import torch
from torch.nn.functional import normalize

from lightning_vista.callbacks.finishing import Finishing
from lightning_vista.models.finetuning import Batch, check_finetuning
from lightning_vista.models.misdirection import layer_outputs, misdirection_loss
from lightning_vista.progress import progress_bar
from lightning_vista.routing.naming import find_parameters


class RepresentationMisdirection(Finishing):
    """Misdirects what a trained language model computes on forget texts, in a copy of it at the end of `fit`.

    The output of one layer is pushed towards a random vector on forget texts, and kept where it was on retain texts,
    by training a few weights (Li et al. 2024, arXiv 2403.03218; compared with in gradient routing, 4.2.2). After
    another of these callbacks it works on that one's result. Writes `misdirected.ckpt` and, for models of transformers,
    `misdirected/`.

    Needs a module with `token_losses` and a datamodule with `sample`, such as `LanguageModelModule` and
    `StoriesDataModule`.

    Args:
        layer: The plain name of the layer whose output is misdirected, such as `model.transformer.h.2`.
        parameters: Patterns of the parameters that are trained, such as `model.transformer.h.[0-2].mlp.c_proj.weight`,
            in which `*` stands for one part between dots, as for modules.
        norm: The length of the random vector.
        alpha: What keeping retain texts counts, against misdirecting forget texts.
        steps: Steps of AdamW.
        learning_rate: Of AdamW.
        batch_size: Texts of each kind in a step.
        num_samples: How many different training texts of each kind there are.
        seed: Of the vector and of the texts.

    Raises:
        ValueError: At the start of `fit`, if module and datamodule lack what is needed, or there are too few texts; at
            its end, if no parameter has one of the names.
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
    ) -> None:
        super().__init__()
        self.layer, self.parameters = layer, list(parameters)
        self.norm, self.alpha, self.steps, self.learning_rate = norm, alpha, steps, learning_rate
        self.batch_size, self.num_samples, self.seed = batch_size, num_samples, seed

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the texts: what is missing is better known before training."""
        for is_forget in (True, False):
            self._sample(trainer, pl_module, is_forget)

    def finish(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Train the copy."""
        trained = list(find_parameters(module, self.parameters).values())
        frozen = copy.deepcopy(module)
        optimizer = torch.optim.AdamW(trained, self.learning_rate)
        generator = torch.Generator().manual_seed(self.seed)
        forget, retain = self._sample(trainer, module, is_forget=True), self._sample(trainer, module, is_forget=False)
        width = layer_outputs(module, self.layer, _rows(forget, 1, generator)).shape[-1]
        target = self.norm * normalize(torch.rand(width, generator=generator), dim=0).to(module.device)
        with progress_bar("misdirecting", self.steps) as advance:
            for _ in range(self.steps):
                forgotten = layer_outputs(module, self.layer, _rows(forget, self.batch_size, generator))
                rows = _rows(retain, self.batch_size, generator)
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


def _rows(batch: Batch, count: int, generator: torch.Generator) -> Batch:
    """Some rows of a batch, drawn anew each time."""
    chosen = torch.randperm(len(batch["input_ids"]), generator=generator)[:count]
    return {name: value[chosen.to(value.device)] for name, value in batch.items()}
