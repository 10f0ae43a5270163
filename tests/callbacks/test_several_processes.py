"""Routing in Lightning on two processes, in every combination of options, against one process."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grid_routed
import pytest
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy

from lightning_vista.callbacks import GradientRouting
from lightning_vista.routing import RoutingError


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path: Path) -> None:
    """DDP and FSDP2, gradient accumulation, mixed precision and `torch.compile`, with each kind of route."""
    out = tmp_path / "two.pt"
    arguments = [sys.executable, str(Path(grid_routed.__file__)), "2", str(out)]
    subprocess.run(arguments, check=True, timeout=1500, stdin=subprocess.DEVNULL)
    found = torch.load(out, weights_only=True)
    cases = list(grid_routed.cases())
    assert len(found) == 2 * len(cases)
    for case in cases:
        expected = grid_routed.train(case, "auto", 1)
        for kind in ("ddp", "fsdp2"):
            for name, weight in expected.items():
                message = f"{kind} {case} {name}"
                torch.testing.assert_close(found[kind, *case][name], weight, rtol=1e-5, atol=1e-6, msg=message)


@pytest.mark.parametrize(
    ("strategy", "config", "options", "message"),
    [
        (FSDPStrategy, {}, {}, "FSDP1 .* flattens parameters.*Use FSDP2"),
        (DeepSpeedStrategy, {"zero_optimization": {"stage": 3}}, {}, "ZeRO-3 divides parameters"),
        (DeepSpeedStrategy, {"zero_optimization": {"stage": 2}}, {"isolate_optimizer": True}, "ZeRO-2 updates flat"),
        (DeepSpeedStrategy, {"zero_optimization": {"stage": 2}}, {}, None),
        (DeepSpeedStrategy, {}, {"isolate_optimizer": True}, None),
    ],
)
def test_strategies_that_cannot_be_exact_are_refused(
    strategy: type, config: dict[str, Any], options: dict[str, Any], message: str | None
) -> None:
    engine: Any = object.__new__(strategy)  # the real one needs the package, and an accelerator
    engine.config = config
    trainer: Any = SimpleNamespace(strategy=engine)
    net = grid_routed.Net(next(grid_routed.cases()), shards=False)
    routing = GradientRouting([grid_routed.ROUTE], **options)
    if message is None:
        routing.on_fit_start(trainer, net)
        routing.on_fit_end(trainer, net)
        return
    with pytest.raises(RoutingError, match=message):
        routing.on_fit_start(trainer, net)
    assert not net.layers[1]._forward_hooks
