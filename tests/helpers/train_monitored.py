"""Trains a monitored model on partly labelled data: `python train_monitored.py DEVICES OUT`."""

import sys
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from routed_run import Regression
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_vista.callbacks import GradientRouting, RoutingMonitor
from lightning_vista.routing import LabelRule, ParameterRoute, Route

#: Labels of the batches, -1 for none, and what their samples truly are.
LABELS = [[0, -1, 1, -1], [-1, -1, -1, -1], [-1, -1, -1, -1], [1, 0, 0, 1], [-1, -1, -1, -1], [-1, -1, 0, -1]]
TRUTHS = [[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 1], [0, 1, 0, 1], [1, 1, 0, 1]]
KINDS = LabelRule("truth", {"low": [0], "high": [1]})


def batches() -> list[dict[str, Tensor]]:
    """Six batches; the second and third are unlabelled and of one kind throughout."""
    generator = torch.Generator().manual_seed(1)
    return [
        {"x": torch.randn(4, 3, generator=generator), "label": torch.tensor(labels), "truth": torch.tensor(truths)}
        for labels, truths in zip(LABELS, TRUTHS, strict=True)
    ]


class Shared(L.LightningDataModule):
    """Each of several processes gets every other batch."""

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        own: Any = batches()[self.trainer.global_rank :: self.trainer.world_size]
        return DataLoader(own, batch_size=None)


class Still(Regression):
    """Does not move, so that all batches see the same weights."""

    validation_step = L.LightningModule.validation_step  # type: ignore[assignment] # its data have no validation split

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


RULE = LabelRule("label", {"low": [0], "high": [1]})
UNITS = Route("encoder.1", RULE, {"low": "0:3", "high": "rest"})
LAYER = ParameterRoute(RULE, {"low": 1.0}, ["encoder.2.*"])


def train(
    monitor: RoutingMonitor,
    accumulated: int = 1,
    routes: Sequence[Route | ParameterRoute] = (UNITS, LAYER),
    by: Any = "gradient",
    **options: Any,
) -> Still:
    """Train for one epoch."""
    model = Still()
    usual: dict[str, Any] = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    trainer = L.Trainer(
        accumulate_grad_batches=accumulated, use_distributed_sampler=False, **quiet, **usual | options,
        callbacks=[monitor, GradientRouting(routes, strategy=by)],
    )  # fmt: skip
    trainer.fit(model, Shared())
    return model


if __name__ == "__main__":
    of_processes = RoutingMonitor(every_n_steps=1, kinds=KINDS)
    train(of_processes, 3, devices=int(sys.argv[1]), strategy="ddp")
    torch.save(of_processes.state_dict(), f"{sys.argv[2]}.{torch.distributed.get_rank()}")
