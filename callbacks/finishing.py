"""Callbacks that act on copies of a trained model at the end of `fit`."""

import copy
from abc import ABC, abstractmethod
from itertools import takewhile
from pathlib import Path
from typing import ClassVar, Literal, Protocol, get_args, runtime_checkable

import lightning as L
import torch
from torch import nn

from lightning_vista.files.own_files import written_whole
from lightning_vista.files.run_files import run_files
from lightning_vista.options import check_word

#: Forms in which a result is written.
ResultForm = Literal["both", "checkpoint", "folder"]


class Finishing(L.Callback, ABC):
    """Base class of callbacks that make another model of the trained one at the end of `fit`.

    The trained model and its checkpoints stay as they are. Several of these callbacks act in the order of the trainer's
    list, each on a copy of the previous result. Results are written into the run's folder: `<name>.ckpt`, an ordinary
    checkpoint of the weights, and, where the module holds a transformers model, that model in `<name>/`, with the
    datamodule's tokenizer, if it has one. `write` leaves one of them out, which halves the space on the disk:
    `test --ckpt_path` takes the checkpoint, and `LanguageModelModule(checkpoint=...)` and transformers take the folder.
    With `fast_dev_run` nothing happens.

    Subclasses write `finish`. It is called in the first process, with gradients enabled; the hooks of routing are
    inactive by then.

    Args:
        write: The forms in which to write the result: "checkpoint", "folder" or "both"; a module without a transformers
            model always gets a checkpoint only, and refuses "folder".

    Attributes:
        name: The name of the result, in one word.
        result: The result, in the first process, until the trainer's teardown.
    """

    name: ClassVar[str]
    result: L.LightningModule | None = None
    write: ResultForm = "both"  # of subclasses that do not call `__init__` too

    def __init__(self, write: ResultForm = "both") -> None:
        check_word("write", write, get_args(ResultForm))
        self.write = write

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a module that cannot be written as asked, before training.

        Raises:
            ValueError: If only a folder is to be written, and the module holds no transformers model.
        """
        if stage == "fit" and self.write == "folder" and find_pretrained(pl_module) is None:
            raise ValueError(
                f"`write`: expected a module with a transformers model for 'folder', got {type(pl_module).__name__}. "
                "Set it to 'checkpoint'."
            )

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
        # ResultForm by the trainer, in all processes, so that hyperparameters and versions are those of any checkpoint;
        # the first process then replaces the weights.
        if self.write != "folder":
            trainer.save_checkpoint(path, weights_only=True)
        if trainer.is_global_zero:
            # A copy even of a previous result: each result stays what was written of it.
            self.result = copy.deepcopy(self._before(trainer, pl_module)).eval()
            self.finish(trainer, self.result)
            if self.write != "folder":
                replace_weights(path, self.result)
            if self.write != "checkpoint":
                tokenizer = getattr(getattr(trainer, "datamodule", None), "tokenizer", None)
                write_pretrained(self.result, path.with_suffix(""), tokenizer)
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


def replace_weights(path: Path, module: L.LightningModule) -> None:
    """Replace the weights in a checkpoint that the trainer has written by those of another module.

    Args:
        path: The checkpoint.
        module: The module.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)  # this process has just written it
    with written_whole(path) as temporary:
        torch.save({**checkpoint, "state_dict": module.state_dict()}, temporary)


def write_pretrained(module: L.LightningModule, folder: Path, tokenizer: object = None) -> None:
    """Write the transformers model of a module, if it holds one, into a folder.

    Args:
        module: The module.
        folder: The folder.
        tokenizer: The tokenizer of the datamodule, written beside the model if it is one of transformers.
    """
    if (model := find_pretrained(module)) is not None:
        model.save_pretrained(folder)
        if isinstance(tokenizer, SavesPretrained):  # without it nobody else can use the folder
            tokenizer.save_pretrained(folder)


def find_pretrained(module: nn.Module) -> SavesPretrained | None:
    """Return the transformers model of a module, or None.

    Args:
        module: The module.
    """
    return next((part for part in module.modules() if isinstance(part, SavesPretrained)), None)
