"""Trains routed models in every combination of options, on one or two processes: `python grid_routed.py N OUT`."""

import itertools
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_vista.callbacks import GradientRouting
from lightning_vista.routing import LabelRule, ParameterRoute, Route

PROCESSES = 2
RULE = LabelRule("label", {"low": [0], "high": [1]})
#: Seven hidden units and one output, which two processes cannot share evenly.
ROUTE = Route("layers.1", RULE, {"low": "0:3", "high": "rest"})
ROUTES: dict[str, dict[str, Any]] = {
    "gradient": {"routes": [ROUTE]},
    "silent": {"routes": [Route("layers.1", RULE, {"low": "0:3", "high": "rest"}, forward={"low": ["high"]})]},
    "parameter": {"routes": [ROUTE], "strategy": "parameter"},
    "whole": {"routes": [ParameterRoute(RULE, {"high": 0.0}, ["layers.2.*"])]},
}
#: The group of each batch of a process: both blocked, then each its own, in one step or in several.
GROUPS = (1, 1, 1, 1, 0, 1, 0, 0)


class Case(NamedTuple):
    """One combination of options."""

    routes: str
    isolate: bool
    accumulate: int
    precision: Any
    compiles: bool

    @property
    def is_mixed(self) -> bool:
        """Whether samples of one batch may belong to different groups."""
        return self.routes in ("gradient", "silent")


def cases() -> Iterator[Case]:
    """Every combination, but for those that only repeat what others show."""
    for case in itertools.product(ROUTES, [True, False], [1, 2], ["32-true", "bf16-mixed"], [False, True]):
        case = Case(*case)
        if case.isolate or (case.precision == "32-true" and not case.compiles):
            yield case


class Net(L.LightningModule):
    """A regression."""

    def __init__(self, case: Case, shards: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 1))
        self.case, self.shards, self.is_ready = case, shards, False

    def configure_model(self) -> None:
        """Compile and shard, once."""
        if self.is_ready:
            return
        self.is_ready = True
        if self.case.compiles:
            torch.compiler.reset()
            self.layers.compile(backend="aot_eager")
        if self.shards:
            from torch.distributed.fsdp import fully_shard

            assert self.device_mesh is not None
            mesh = self.device_mesh["data_parallel"]
            fully_shard(self.layers[0], mesh=mesh)
            fully_shard(self.layers, mesh=mesh)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        outputs: Tensor = self.layers(batch["x"])
        return (outputs - batch["y"]).square().mean()

    def train_dataloader(self) -> DataLoader[Any]:
        """The batches of this process; one process alone has those of all processes, in turn."""
        found = batches(self.case)[self.trainer.global_rank :: self.trainer.world_size]
        return DataLoader(found, batch_size=None)  # type: ignore[arg-type]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1, weight_decay=0.1)


def batches(case: Case) -> list[dict[str, Tensor]]:
    """Batches of four samples; where groups may be mixed, one sample of the later ones is of the other group."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for number, group in enumerate(GROUPS):
        labels = torch.full((4,), group)
        if case.is_mixed and number >= len(GROUPS) // 2:
            labels[0] = 1 - group
        x = torch.randn(4, 3, generator=generator)
        found.append({"x": x, "y": x.sum(1, keepdim=True), "label": labels})
    return found


def train(case: Case, kind: str, processes: int) -> dict[str, Tensor]:
    """Train one combination; `kind` is a way of sharing the work between processes."""
    strategies: dict[str, Any] = {
        "auto": "auto",
        "ddp": DDPStrategy(process_group_backend="gloo"),
        "fsdp2": ModelParallelStrategy(data_parallel_size=processes, tensor_parallel_size=1),
    }
    net = Net(case, shards=kind == "fsdp2")
    accumulate = case.accumulate * (PROCESSES // processes)
    trainer = L.Trainer(
        accelerator="cpu", devices=processes, strategy=strategies[kind], max_epochs=1, logger=False,
        precision=case.precision, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, accumulate_grad_batches=accumulate,
        callbacks=[GradientRouting(**ROUTES[case.routes], isolate_optimizer=case.isolate)],
    )  # fmt: skip
    trainer.fit(net)
    weights = {name: parameter.detach() for name, parameter in net.named_parameters()}
    return {name: getattr(weight, "full_tensor", lambda weight=weight: weight)() for name, weight in weights.items()}


def main(processes: int, out: str) -> None:
    """Train all combinations, and let the first process save their weights."""
    kinds = ["ddp", "fsdp2"] if processes > 1 else ["auto"]
    found = {(kind, *case): train(case, kind, processes) for kind in kinds for case in cases()}
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        torch.save(found, out)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
