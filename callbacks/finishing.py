"""Callbacks that act on copies of a trained model at the end of `fit`."""

import copy
from abc import ABC, abstractmethod
from itertools import takewhile
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import lightning as L
import torch

from lightning_vista.run_files import run_files


class Finishing(L.Callback, ABC):
    """Base class of callbacks that make another model of the trained one at the end of `fit`.

    The trained model and its checkpoints stay as they are. Several of these callbacks act in the order of the trainer's
    list, each on a copy of the previous result. Results are written into the run's folder: `<name>.ckpt`, an ordinary
    checkpoint of the weights, and, where the module holds a transformers model, that model in `<name>/`, with the
    datamodule's tokenizer, if it has one. With `fast_dev_run` nothing happens.

    Subclasses write `finish`. It is called in the first process, with gradients enabled; the hooks of routing are
    inactive by then.

    Attributes:
        name: The name of the result, in one word.
        result: The result, in the first process, until the trainer's teardown.
    """

    name: ClassVar[str]
    result: L.LightningModule | None = None

    @abstractmethod
    def finish(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Change a module in place.

        Args:
            trainer: The trainer, whose own module is another one.
            module: The copy, in evaluation mode, on the device of the trained module; it has no trainer.
        """

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make the model and write it."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined] # set by Lightning's connectors
            return
        folder = Path(trainer.strategy.broadcast(str(run_files(trainer))))
        path = folder / f"{self.name}.ckpt"
        # Written by the trainer, in all processes, so that hyperparameters and versions are those of any checkpoint;
        # the first process then replaces the weights.
        trainer.save_checkpoint(path, weights_only=True)
        if trainer.is_global_zero:
            # A copy even of a previous result: each result stays what was written of it.
            self.result = copy.deepcopy(self._before(trainer, pl_module)).eval()
            self.finish(trainer, self.result)
            write_module(self.result, path, getattr(getattr(trainer, "datamodule", None), "tokenizer", None))
        trainer.strategy.barrier("Finishing.on_train_end")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Free the model."""
        self.result = None

    def _before(self, trainer: L.Trainer, pl_module: L.LightningModule) -> L.LightningModule:
        """Return the result of the last of these callbacks before this one, or the trained module."""
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by Lightning's connectors
        before = takewhile(lambda callback: callback is not self, callbacks)
        results = [callback.result for callback in before if isinstance(callback, Finishing)]
        return next((result for result in reversed(results) if result is not None), pl_module)


@runtime_checkable
class SavesPretrained(Protocol):
    """A model or tokenizer that writes itself into a folder, as in transformers; it is known without their import."""

    def save_pretrained(self, save_directory: Path) -> object:
        """Write configuration and weights, or vocabulary."""


def write_module(module: L.LightningModule, path: Path, tokenizer: object = None) -> None:
    """Write a module's weights into a checkpoint, and its transformers model, if it holds one, into a folder beside it.

    Args:
        module: The module to write.
        path: The checkpoint, which the trainer has written; the folder has its name without the suffix.
        tokenizer: The tokenizer of the datamodule, written into the folder if it is one of transformers.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)  # this process has just written it
    torch.save({**checkpoint, "state_dict": module.state_dict()}, path)
    models = (part for part in module.modules() if isinstance(part, SavesPretrained))
    if (model := next(models, None)) is not None:
        model.save_pretrained(path.with_suffix(""))
        if isinstance(tokenizer, SavesPretrained):  # without it the folder is no use to anybody else
            tokenizer.save_pretrained(path.with_suffix(""))
