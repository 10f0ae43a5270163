"""Models that are spread over processes: routing is that of one process, or refused."""

import subprocess
import sys
from pathlib import Path

import pytest
import sharded_router
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

from lightning_vista.routing import LabelRule, Route, Router, RoutingError


def test_two_processes_train_like_one(tmp_path: Path) -> None:
    """With DDP and FSDP2, units isolated, and batches of different groups in the two processes."""
    arguments = [sys.executable, str(Path(sharded_router.__file__))]
    processes = [subprocess.Popen([*arguments, str(rank), str(tmp_path)], stdin=subprocess.DEVNULL) for rank in (0, 1)]
    assert [process.wait(timeout=900) for process in processes] == [0, 0]
    found = torch.load(tmp_path / "weights.pt", weights_only=True)
    for (kind, strategy), weights in found.items():
        for name, expected in sharded_router.train("one", strategy, [0, 1]).items():
            torch.testing.assert_close(weights[name], expected, rtol=1e-6, atol=1e-6, msg=f"{kind} {strategy} {name}")
    assert {kind for kind, _ in found} == {"ddp", "fsdp2"}


@pytest.fixture
def _alone(tmp_path: Path) -> object:
    """A process group of this process."""
    dist.init_process_group("gloo", f"file://{(tmp_path / 'store').as_posix()}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def attach(model: nn.Module) -> None:
    Router([Route("0", LabelRule("label", {"low": [0]}), {"low": "0:2", "high": "rest"})]).attach(model)


@pytest.mark.usefixtures("_alone")
def test_tensor_parallelism_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    parallelize_module(model, init_device_mesh("cpu", (1,)), {"0": ColwiseParallel()})
    with pytest.raises(RoutingError, match=r"Tensor parallelism divides the units.*Use FSDP2 \(`fully_shard`"):
        attach(model)


@pytest.mark.usefixtures("_alone")
def test_flat_parameters_are_refused() -> None:
    layer = FullyShardedDataParallel(
        nn.Linear(3, 4), device_id=torch.device("cpu"), sharding_strategy=ShardingStrategy.NO_SHARD
    )
    model = nn.Sequential(layer, nn.ReLU())
    with pytest.raises(RoutingError, match="FSDP1 .* flattens parameters"):
        attach(model)


def test_zero_3_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    vars(model[0].weight)["ds_id"] = 7  # as DeepSpeed marks the parameters that it divides
    with pytest.raises(RoutingError, match="DeepSpeed ZeRO-3 divides parameters"):
        attach(model)
