import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
import train_routed
from lightning.pytorch.plugins import MixedPrecision
from routing_oracles import by_formula
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_vista.callbacks import GradientRouting
from lightning_vista.commands.error_lines import describe_error
from lightning_vista.routing import LabelRule, Route, RoutingError, TokenRule
from lightning_vista.routing.masking import warmup

RULE = LabelRule("label", {"low": [0], "high": [1]})


class Net(L.LightningModule):
    """A small regression; `encoder` is two layers, the first of which is routed."""

    def __init__(self, make_optimizer: Callable[..., torch.optim.Optimizer] | None = None, **options: Any) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))
        self.make_optimizer = make_optimizer or (lambda parameters: torch.optim.SGD(parameters, lr=0.1))
        self.options = options

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if self.options.get("skip"):
            unseen: Tensor = self.encoder[2](batch["x"].repeat(1, 3)[:, :8])
            return unseen.square().mean()
        loss: Tensor = self.encoder(batch["x"]).square().mean()
        return loss + self.get_parameter("encoder.0.bias").square().sum() if self.options.get("leak") else loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.parameters())


class Manual(Net):
    """Two optimizers, two backward passes in a step."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:  # type: ignore[override]
        optimizers: Any = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
            self.manual_backward(self.encoder(batch["x"]).square().mean())
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (self.encoder[0], self.encoder[2])]


def batches(*labels: list[int]) -> DataLoader[Any]:
    torch.manual_seed(1)
    rows: Any = [{"x": torch.randn(len(y), 3), "label": torch.tensor(y)} for y in labels]
    return DataLoader(rows, batch_size=None)


MIXED = [[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1]]


def make_net(kind: Callable[..., Net] = Net, *args: Any, **options: Any) -> Net:
    torch.manual_seed(0)
    return kind(*args, **options)


def first_layer(net: nn.Module) -> nn.Parameter:
    return net.get_parameter("encoder.0.weight")


def route(module: str = "encoder.0", **changes: Any) -> Route:
    return Route(module, RULE, {"low": "0:3", "high": "rest"}, **changes)


def make_trainer(*callbacks: L.Callback, **options: Any) -> L.Trainer:
    settings: dict[str, Any] = {"max_epochs": 1, "enable_progress_bar": False, "enable_model_summary": False} | options
    return L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=list(callbacks), **settings)


def fit(net: Net, *callbacks: L.Callback, data: DataLoader[Any] | None = None, **options: Any) -> L.Trainer:
    trainer = make_trainer(*callbacks, **options)
    trainer.fit(net, data or batches(*MIXED))
    return trainer


def by_hand(net: Net, data: DataLoader[Any], accumulate: int = 1) -> Net:
    """The same training without Lightning, routed by the formula."""
    optimizer = net.configure_optimizers()
    for step, batch in enumerate(data):
        members = torch.stack([batch["label"] == 0, batch["label"] == 1], dim=-1).double()
        with by_formula(net, "encoder.0", route(), members):
            (net.training_step(batch, step) / accumulate).backward()
        if step % accumulate == accumulate - 1:
            optimizer.step()
            optimizer.zero_grad()
    return net


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_is_that_of_the_formula(accumulate: int) -> None:
    net = make_net()
    fit(net, GradientRouting([route()]), accumulate_grad_batches=accumulate)
    assert_same_weights(net, by_hand(make_net(), batches(*MIXED), accumulate))


def test_gradients_that_overflow_with_a_loss_scaler_do_not_stop_the_run() -> None:
    """A scaler starts high and skips steps until gradients are finite; 0 times infinity is not a leak."""
    precision = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=2.0**60))
    net = make_net()
    fit(net, GradientRouting([route()]), data=batches(*[[1, 1, 1]] * 60), plugins=[precision])
    assert precision.scaler is not None
    assert precision.scaler.get_scale() < 2.0**60
    before = first_layer(make_net())
    assert torch.equal(first_layer(net)[:3], before[:3])
    assert not torch.equal(first_layer(net)[3:], before[3:])


def test_a_routed_tensor_that_the_loss_does_not_read_is_reported() -> None:
    class Unread(Net):
        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
            self.encoder[0](batch["x"])
            return super().training_step(batch, batch_idx)

    with pytest.warns(UserWarning, match=r"expected a loss that reads the tensors"):
        fit(make_net(Unread, skip=True), GradientRouting([route()]))


def test_manual_optimisation() -> None:
    net, other = make_net(Manual), make_net()
    fit(net, GradientRouting([route()]), data=batches(MIXED[0]))
    assert not torch.equal(first_layer(net), first_layer(other))
    only_high = make_net(Manual)
    fit(only_high, GradientRouting([route()]), data=batches([1, 1]))
    assert torch.equal(first_layer(only_high)[:3], first_layer(other)[:3])


def test_hooks_are_gone_after_fit_and_after_an_exception() -> None:
    class Failing(Net):
        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
            assert len(self.encoder[0]._forward_hooks) == 1
            raise RuntimeError("out of luck")

    routing = GradientRouting([route()])
    failing = make_net(Failing)
    with pytest.raises(RuntimeError, match=r"out of luck"):
        fit(failing, routing)
    assert not failing.encoder[0]._forward_hooks
    net = make_net()
    fit(net, routing)  # and the callback can be used again
    assert not net.encoder[0]._forward_hooks


def test_validation_is_not_routed() -> None:
    class Watching(Net):
        def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
            with torch.enable_grad():
                gradient = torch.autograd.grad(self.encoder(batch["x"]).sum(), self.get_parameter("encoder.0.bias"))[0]
            assert gradient.ne(0).any()

    net = make_net(Watching)
    trainer = make_trainer(GradientRouting([route()]), max_epochs=1)
    trainer.fit(net, batches(*MIXED), batches([1, 1, 1]))


@pytest.mark.parametrize("mode", ["anneal", "scale"])
def test_a_resumed_run_ends_with_the_same_weights(mode: Any, tmp_path: Path) -> None:
    def routing() -> GradientRouting:
        return GradientRouting([route()], warmup_steps=5, mask_weight=0.9, mask_weight_mode=mode)

    whole = make_net()
    fit(whole, routing(), max_epochs=2)
    half = make_net()
    fit(half, routing(), max_epochs=1).save_checkpoint(tmp_path / "half.ckpt")
    resumed = make_net()
    torch.nn.init.zeros_(first_layer(resumed))
    trainer = make_trainer(routing(), max_epochs=2)
    trainer.fit(resumed, batches(*MIXED), ckpt_path=tmp_path / "half.ckpt")
    for a, b in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


def test_other_settings_than_the_checkpoints_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(make_net(), GradientRouting([route()])).save_checkpoint(tmp_path / "one.ckpt")
    trainer = make_trainer(GradientRouting([route()], warmup_steps=7), max_epochs=2)
    trainer.fit(make_net(), batches(*MIXED), ckpt_path=tmp_path / "one.ckpt")
    assert "other routing than its checkpoint was trained with: {'warmup_steps': (0, 7)}" in caplog.text


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"weights": {"low": {"low": 0.5}}}, "'route 0 weights': ('None', \"{'low': {'low': 0.5}}\")"),
        ({"forward": {"low": ["high"]}}, "'route 0 forward'"),
        ({"regions": {"low": "0:4", "high": "rest"}}, "'route 0 regions': (\"{'low': '0:3', 'high': 'rest'}\""),
        ({"module": "encoder.1"}, "'route 0 module': (\"'encoder.0'\", \"'encoder.1'\")"),
        ({"rule": LabelRule("label", {"low": [0, 5], "high": [1]})}, "labels={'low': [0, 5], 'high': [1]}"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint:UserWarning")
def test_routes_other_than_the_checkpoints_are_said(
    changes: dict[str, Any], difference: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(make_net(), GradientRouting([route()])).save_checkpoint(tmp_path / "one.ckpt")
    for options in ({}, changes):
        caplog.clear()
        settings: dict[str, Any] = {"module": "encoder.0", "rule": RULE, "regions": {"low": "0:3", "high": "rest"}}
        trainer = make_trainer(GradientRouting([Route(**settings | options)]), max_epochs=2)
        trainer.fit(make_net(), batches(*MIXED), ckpt_path=tmp_path / "one.ckpt")
        assert ("resumes with other routing" in caplog.text) == bool(options)
    assert difference in caplog.text


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint:UserWarning")
def test_a_further_route_and_routing_from_now_on_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(make_net(), GradientRouting([route()])).save_checkpoint(tmp_path / "one.ckpt")
    fit(make_net()).save_checkpoint(tmp_path / "none.ckpt")
    two = GradientRouting([route(), route("encoder.2", at="input")])
    make_trainer(two, max_epochs=2).fit(make_net(), batches(*MIXED), ckpt_path=tmp_path / "one.ckpt")
    assert "'route 1 module': (None, \"'encoder.2'\")" in caplog.text
    make_trainer(two, max_epochs=2).fit(make_net(), batches(*MIXED), ckpt_path=tmp_path / "none.ckpt")
    assert "resumes with routing that its checkpoint was trained without" in caplog.text


def test_words_that_setup_turned_into_tokens_are_no_difference(tmp_path: Path) -> None:
    rule = TokenRule({"low": ["word"], "high": [1]})
    routing = GradientRouting([Route("encoder.0", rule, {"low": "0:3", "high": "rest"})])
    before = routing.state_dict()
    rule.setup(SimpleNamespace(tokenizer=SimpleNamespace(encode=lambda text, add_special_tokens: [7])))
    assert rule.tokens == {"low": [7], "high": [1]}
    assert routing.state_dict() == before


def test_warmup_of_nothing_is_done() -> None:
    assert warmup(0, 0) == 1


@pytest.mark.parametrize(
    ("options", "labels", "message"),
    [
        ({"skip": True}, [0, 1], r"encoder.0: expected its output to be masked in the first training step"),
        ({"leak": True}, [1, 1], r"encoder.0.bias got a gradient in units of encoder.0 that this batch must not train"),
    ],
)
def test_routing_that_does_not_what_it_says_is_refused(
    options: dict[str, bool], labels: list[int], message: str
) -> None:
    net = make_net(Net, **options)
    before = [parameter.clone() for parameter in net.parameters()]
    with pytest.raises(RoutingError, match=message):
        fit(net, GradientRouting([route()]), data=batches(labels))
    assert all(map(torch.equal, before, net.parameters()))


def test_tied_weights_that_leak_are_refused() -> None:
    net = make_net()
    net.other = nn.Linear(3, 8)
    net.other.weight = first_layer(net)
    with pytest.raises(RoutingError, match=r"encoder.0.weight makes routed units, but is tied to other.weight"):
        fit(net, GradientRouting([route()]))


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1)


@pytest.mark.parametrize("isolate", [False, True])
def test_isolated_units_do_not_move(isolate: bool) -> None:
    net = make_net(Net, adamw)
    first = first_layer(net).detach().clone()
    fit(net, GradientRouting([route()], isolate_optimizer=isolate), data=batches([1, 1], [1, 1]))
    moved = first_layer(net).ne(first).any(dim=1)
    assert moved[3:].any()
    assert moved[:3].any() != isolate


def test_parameter_masking_of_accumulated_batches() -> None:
    net = make_net()
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    fit(net, GradientRouting([route()], strategy="parameter"), data=batches([1, 1], [1, 1, 1]))
    after = dict(net.named_parameters())
    assert torch.equal(after["encoder.0.weight"][:3], before["encoder.0.weight"][:3])
    assert torch.equal(after["encoder.2.weight"][:, :3], before["encoder.2.weight"][:, :3])
    assert not torch.equal(after["encoder.0.weight"], before["encoder.0.weight"])
    with pytest.raises(ValueError, match=r"one group in each batch"):
        fit(make_net(), GradientRouting([route()], strategy="parameter"), data=batches([0, 1]))
    # Batches of different groups in one step train both regions.
    net = make_net()
    routing = GradientRouting([route()], strategy="parameter", isolate_optimizer=True)
    fit(net, routing, data=batches([0], [1]), accumulate_grad_batches=2)
    moved = first_layer(net).ne(before["encoder.0.weight"]).any(dim=1)
    assert moved[:3].any()
    assert moved[3:].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_weight": 2.0}, r"`mask_weight`: expected a number from 0 to 1, got 2"),
        ({"warmup_steps": -1}, r"`warmup_steps`: expected at least 0, got -1"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradientRouting([route()], **options)


def test_two_callbacks_keep_their_own_state(tmp_path: Path) -> None:
    one, two = GradientRouting([route()]), GradientRouting([route("encoder.2", at="input")], warmup_steps=3)
    trainer = fit(make_net(), one, two)
    trainer.save_checkpoint(tmp_path / "both.ckpt")
    states = torch.load(tmp_path / "both.ckpt", weights_only=True)["callbacks"]
    assert sorted(state["warmup_steps"] for key, state in states.items() if "GradientRouting" in key) == [0, 3]


@pytest.mark.slow
@pytest.mark.parametrize("isolate", [[], ["isolate"]])
def test_two_processes_train_like_one(isolate: list[str], tmp_path: Path) -> None:
    weights = []
    for devices in (1, 2):
        out = tmp_path / f"{devices}.pt"
        arguments = [sys.executable, str(Path(train_routed.__file__)), str(devices), str(out), *isolate]
        subprocess.run(arguments, check=True, timeout=900, stdin=subprocess.DEVNULL)
        weights.append(torch.load(out, weights_only=True))
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-5, atol=1e-6)


def test_callbacks_of_other_strategies_may_have_the_same_regions(tmp_path: Path) -> None:
    def callbacks() -> list[GradientRouting]:
        return [GradientRouting([route()]), GradientRouting([route()], strategy="activation")]

    whole, half, resumed = make_net(), make_net(), make_net()
    fit(whole, *callbacks(), max_epochs=2)
    fit(half, *callbacks(), max_epochs=1).save_checkpoint(tmp_path / "half.ckpt")
    make_trainer(*callbacks(), max_epochs=2).fit(resumed, batches(*MIXED), ckpt_path=tmp_path / "half.ckpt")
    for a, b in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint:UserWarning")
def test_checkpoints_whose_keys_have_no_strategy_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    routing = GradientRouting([route()], strategy="parameter")
    fit(make_net(), routing, data=batches([0, 0], [1, 1])).save_checkpoint(tmp_path / "new.ckpt")
    checkpoint = torch.load(tmp_path / "new.ckpt", weights_only=False)
    old_key = GradientRouting([route()]).state_key
    checkpoint["callbacks"][old_key] = checkpoint["callbacks"].pop(routing.state_key)
    torch.save(checkpoint, tmp_path / "old.ckpt")
    trainer = make_trainer(GradientRouting([route()], strategy="parameter", warmup_steps=7), max_epochs=2)
    trainer.fit(make_net(), batches([0, 0], [1, 1]), ckpt_path=tmp_path / "old.ckpt")
    assert "other routing than its checkpoint was trained with: {'warmup_steps': (0, 7)}" in caplog.text


def test_two_callbacks_of_the_same_regions_and_strategy_are_told_apart_by_nothing() -> None:
    with pytest.raises(RuntimeError) as caught:
        make_trainer(GradientRouting([route()]), GradientRouting([route()]))
    assert describe_error(caught.value).endswith("Put the routes of both into the list of one callback.")
