"""Trains a small model by a plain loop with a Router on two processes: `python sharded_router.py RANK FOLDER`."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from lightning_vista.routing import LabelRule, ParameterRoute, Route, Router
from lightning_vista.routing.strategies import StrategyName

RULE = LabelRule("label", {"low": [0], "high": [1]})
#: Seven hidden units and one output, which two processes cannot share evenly.
ROUTE = Route("1", RULE, {"low": "0:3", "high": "rest"})
ROUTES: dict[StrategyName, list[Any]] = {
    "gradient": [ROUTE],
    "parameter": [ROUTE, ParameterRoute(RULE, {"low": 0.0}, ["2.bias"])],
}
#: The group of each process's batch in each step.
GROUPS = ((1, 1), (0, 1), (0, 0), (1, 1))


def train(kind: str, strategy: StrategyName, ranks: list[int]) -> dict[str, Tensor]:
    """Train for a step for each pair of batches, of which this process has those of some ranks."""
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 1))
    call = net
    if kind == "fsdp2":
        fully_shard(net[0])
        fully_shard(net)
    elif kind == "ddp":
        call = DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.1)
    router = Router(ROUTES[strategy], strategy=strategy)
    router.attach(net, isolates=True)
    router.guard(optimizer)
    generator = torch.Generator().manual_seed(1)
    for groups in GROUPS:
        inputs = torch.randn(len(groups), 4, 3, generator=generator)
        for rank in ranks:
            router.compute({"label": torch.full((4,), groups[rank])})
            loss = (call(inputs[rank]) - inputs[rank].sum(1, keepdim=True)).square().mean()
            (loss / len(ranks)).backward()
            router.clear()
        optimizer.step()
        optimizer.zero_grad()
    router.detach()
    weights = {name: parameter.detach() for name, parameter in net.named_parameters()}
    return {name: weight.full_tensor() if kind == "fsdp2" else weight for name, weight in weights.items()}


def main(rank: int, folder: Path) -> None:
    """Train in each way, and let the first process save the weights."""
    store = f"file://{(folder / 'store').as_posix()}"
    dist.init_process_group("gloo", store, timeout=timedelta(minutes=5), rank=rank, world_size=2)
    found = {(kind, strategy): train(kind, strategy, [rank]) for kind in ("ddp", "fsdp2") for strategy in ROUTES}
    if rank == 0:
        torch.save(found, folder / "weights.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
