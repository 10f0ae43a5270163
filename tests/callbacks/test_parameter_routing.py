"""Routes on parameters under a trainer: held parameters are bit for bit those of a run that freezes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader

from lightning_vista.callbacks import Ablation, GradientRouting, RoutingCheck
from lightning_vista.routing import LabelRule, ParameterRoute, Route, RoutingError

RULE = LabelRule("kind", {"forget": [1], "retain": [0]})
HOLD = ParameterRoute(RULE, {"forget": 0.0}, exclude=["*.new.*"])
KINDS = (0, 1, 2, 1, 1, 0, 1, 1)


class Net(L.LightningModule):
    """An old and a new layer whose outputs are added; the oracle freezes the old one for batches to forget."""

    def __init__(self, make_optimizer: Callable[[Any], Optimizer], freezes: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.ModuleDict({"old": nn.Linear(3, 8), "new": nn.Linear(3, 8)})
        self.head = nn.Linear(8, 2)
        self.make_optimizer, self.freezes = make_optimizer, freezes

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if self.freezes:
            for part in (self.layer["old"], self.head):
                part.requires_grad_(not bool((batch["kind"] == 1).all()))
        outputs: Tensor = self.head(self.layer["old"](batch["x"]) + self.layer["new"](batch["x"]))
        return outputs.square().mean()

    def configure_optimizers(self) -> Optimizer:
        return self.make_optimizer(self.parameters())


def data(kinds: tuple[int, ...] = KINDS) -> DataLoader[Any]:
    torch.manual_seed(1)
    rows: Any = [{"x": torch.randn(4, 3), "kind": torch.full((4,), kind)} for kind in kinds]
    return DataLoader(rows, batch_size=None)


def fit(net: Net, *callbacks: L.Callback, rows: DataLoader[Any] | None = None, **options: Any) -> Net:
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    usual: dict[str, Any] = {"accelerator": "cpu", "enable_checkpointing": False, "max_epochs": 2, **options}
    L.Trainer(**quiet, **usual, callbacks=list(callbacks)).fit(net, rows or data())
    return net


def adamw(parameters: Any) -> Optimizer:
    return AdamW(parameters, lr=0.05, weight_decay=0.1)


def momentum(parameters: Any) -> Optimizer:
    return SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.1)


@pytest.mark.parametrize("make_optimizer", [adamw, momentum])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_clip_val": 0.1},
        {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1},
        {"accumulate_grad_batches": 3},
        {"precision": "bf16-mixed"},
    ],
)
def test_fit_is_that_of_frozen_parameters(make_optimizer: Callable[[Any], Optimizer], options: dict[str, Any]) -> None:
    routed = fit(Net(make_optimizer), GradientRouting([HOLD]), **options)
    frozen = fit(Net(make_optimizer, freezes=True), **options)
    for (name, ours), theirs in zip(routed.named_parameters(), frozen.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_parameters_upstream_of_a_blocked_module_do_not_move_either() -> None:
    """With the whole output blocked, nothing upstream gets a gradient: isolation is that of a frozen run."""
    everything: Any = {"old": "rest"}
    route = Route("layer.old", RULE, everything, weights={"forget": {"old": 0.0}, "retain": {"old": 1.0}})
    hold = ParameterRoute(RULE, {"forget": 0.0}, parameters=["head.*"])
    routed = fit(Net(adamw), GradientRouting([route, hold], isolate_optimizer=True))
    frozen = fit(Net(adamw, freezes=True))
    for (name, ours), theirs in zip(routed.named_parameters(), frozen.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_hooks_are_gone_after_fit() -> None:
    net = fit(Net(adamw), GradientRouting([HOLD]))
    assert not any(parameter._backward_hooks for parameter in net.parameters())


def test_a_mixed_batch_is_an_error_before_any_step() -> None:
    rows: Any = [{"x": torch.randn(2, 3), "kind": torch.tensor([0, 1])}]
    with pytest.raises(ValueError, match=r"expected samples of one weight in a batch, got weights from 0 to 1"):
        fit(Net(adamw), GradientRouting([HOLD]), rows=DataLoader(rows, batch_size=None))


def test_routing_check_shows_what_is_held() -> None:
    check = RoutingCheck()
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(**quiet, accelerator="cpu", fast_dev_run=True, callbacks=[GradientRouting([HOLD]), check])
    trainer.fit(Net(adamw), data())
    assert check.reached["layer.old.weight"] == {"forget": 0.0, "retain": 1.0}
    assert check.reached["layer.new.weight"] == {"forget": 1.0, "retain": 1.0}
    assert check.occurrences == [("*", {"forget": 20, "retain": 8})]


def test_routes_of_both_kinds_are_read_from_yaml(tmp_path: Path) -> None:
    text = """
    routing:
      routes:
        - module: layer.new
          rule: &rule
            class_path: lightning_vista.routing.LabelRule
            init_args: {field: kind, groups: {forget: [1], retain: [0]}}
          regions: {new: rest}
          forward: {retain: [new]}
        - exclude: ["*.new.*"]
          rule: *rule
          weights: {forget: 0.0}
    """
    path = tmp_path / "routing.yaml"
    path.write_text(text)
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(GradientRouting, "routing")
    made = parser.instantiate_classes(parser.parse_args(["--config", str(path)])).routing
    first, second = made.router.routes
    assert isinstance(first, Route)
    assert isinstance(second, ParameterRoute)
    assert (second.weights, tuple(second.parameters), tuple(second.exclude)) == ({"forget": 0.0}, ("*",), ("*.new.*",))


def test_ablation_knows_regions_only() -> None:
    routing = GradientRouting([HOLD])
    with pytest.raises(ValueError, match=r"`regions`: expected regions of the routes, \[\], got \['new'\]"):
        fit(Net(adamw), routing, Ablation(["new"], at="end"))


def test_an_unknown_name_is_refused_before_the_first_step() -> None:
    routing = GradientRouting([ParameterRoute(RULE, {"forget": 0.0}, exclude=["*.knew.*"])])
    with pytest.raises(RoutingError, match=r"expected a parameter of Net, got '\*\.knew\.\*'\. Did you mean"):
        fit(Net(adamw), routing)
