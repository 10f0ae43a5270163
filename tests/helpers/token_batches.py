"""Trains a language model on rows of very different lengths: `token_batches.py DEVICES ACCUMULATED OUT [own]`."""

import sys
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_vista.callbacks import ParameterGroups
from lightning_vista.models import LanguageModelModule

LENGTHS = (16, 3, 9, 2, 2, 12, 5)
SIZES = {
    "hidden_size": 8, "num_layers": 1, "attention_types": [[["global"], 1]], "num_heads": 2, "intermediate_size": 12,
    "vocab_size": 20, "max_position_embeddings": 16, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
#: Batches of one row of each process, and what the steps of two processes that accumulate two batches have in all.
ROWS_OF_PROCESSES = ([[0], [1], [2]], [[3], [4], [5]])
STEPS_OF_PROCESSES = ([0, 1, 3, 4], [2, 5])


class Descending(LanguageModelModule):
    """Moves by its gradient alone, so that weights tell gradients."""

    def __init__(self, **options: Any) -> None:
        torch.manual_seed(0)
        super().__init__("gpt_neo", SIZES, **options)

    validation_step = L.LightningModule.validation_step  # type: ignore[assignment] # its data have no validation split

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def batch_of(rows: Sequence[int], lengths: Sequence[int] = LENGTHS) -> dict[str, Tensor]:
    """Some rows."""
    ids = torch.randint(20, (len(LENGTHS), 16), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(16) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids[list(rows)], "attention_mask": mask[list(rows)]}


def train(batches: Sequence[dict[str, Tensor]], module: L.LightningModule, **settings: Any) -> dict[str, Tensor]:
    """Train for one epoch and return the weights."""
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, enable_checkpointing=False, **quiet, **settings)
    loader: Any = DataLoader(batches, batch_size=None)  # type: ignore[arg-type] # a list is a dataset
    trainer.fit(module, loader)
    return {name: value.detach().clone() for name, value in module.named_parameters()}


class OfProcess(L.LightningDataModule):
    """Each process has rows of its own."""

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        rows = ROWS_OF_PROCESSES[self.trainer.global_rank]
        return DataLoader([batch_of(chosen) for chosen in rows], batch_size=None)  # type: ignore[arg-type]


def with_own_rates() -> tuple[Descending, ParameterGroups]:
    """A module and a callback that freeze some parameters, and give others a rate of their own."""
    return Descending(freeze=["*.wte.*"]), ParameterGroups({"*.h.*": 0.2}, freeze=["*.ln_f.*"])


def main(devices: int, accumulated: int, out: str, own: bool) -> None:
    """Train on several processes, and let the first one save the weights."""
    module, *callbacks = with_own_rates() if own else (Descending(),)
    trainer = L.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp", max_epochs=1, accumulate_grad_batches=accumulated,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(module, datamodule=OfProcess())
    if trainer.is_global_zero:
        torch.save({name: value.detach() for name, value in module.named_parameters()}, out)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], "own" in sys.argv)
