"""Calls of routed modules that a router must not route, must not miss, or cannot repeat."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_vista.callbacks import GradientRouting
from lightning_vista.routing import LabelRule, Route, Router, RoutingError, UnknownStructureError, expand
from lightning_vista.routing.step_weights import StepWeights

RULE = LabelRule("label", {"low": [0], "high": [1]})
HIGH = {"high": torch.ones(4)}


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))


def make_route(module: str = "1", **options: Any) -> Route:
    return Route(module, RULE, {"low": "0:2", "high": "rest"}, **options)


@contextmanager
def attached(model: nn.Module, route: Route | None = None, **options: Any) -> Iterator[Router]:
    router = Router([route or make_route()], **options)
    router.attach(model)
    try:
        yield router
    finally:
        router.detach()


def trained(net: nn.Module) -> list[bool]:
    gradient = net.get_parameter("0.weight").grad
    assert gradient is not None
    return gradient.any(dim=1).tolist()


ROUTED = [False, False, True, True, True, True]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_calls_without_gradients_have_any_number_of_samples(context: Callable[[], Any]) -> None:
    net = make_net()
    expected = net(torch.ones(7, 3))
    with attached(net) as router, router.memberships(HIGH):
        with context():
            assert torch.equal(net(torch.ones(7, 3)), expected)
        net(torch.ones(4, 3)).sum().backward()
    assert trained(net) == ROUTED


@pytest.mark.parametrize(("strategy", "remedy"), [("gradient", "torch.no_grad"), ("activation", "router.paused")])
def test_other_calls_are_refused_with_the_remedy(strategy: Any, remedy: str) -> None:
    net = make_net()
    message = rf"expected the output to have \(4,\) samples.*got \(7, 6\).*such as `generate`, belongs.*{remedy}"
    with attached(net, strategy=strategy) as router, router.memberships(HIGH):
        with pytest.raises(ValueError, match=message):
            net(torch.ones(7, 3))
        with router.paused():
            assert net(torch.ones(7, 3)).requires_grad


def test_a_pause_ends_and_pauses_nest() -> None:
    net = make_net()
    routing = GradientRouting([make_route()])
    routing.router.attach(net)
    with routing.router.memberships(HIGH):
        with routing.paused():
            with routing.paused():
                net(torch.ones(7, 3))
            net(torch.ones(7, 3))
        net(torch.ones(4, 3)).sum().backward()
    assert trained(net) == ROUTED


def test_paused_calls_that_train_are_not_isolated() -> None:
    """A unit that a paused call trains is not blocked in this step, whatever the memberships say."""
    net = make_net()
    router = Router([make_route()])
    router.attach(net)
    step = StepWeights(router.taps, net)
    with router.memberships(HIGH):
        net(torch.ones(4, 3)).sum().backward()
        assert [units for _, units in step.blocked()] == [[0, 1]]
        with router.paused():
            net(torch.ones(4, 3)).sum().backward()
        assert step.blocked() == []


def test_parameter_masking_refuses_gradients_of_paused_calls() -> None:
    """A mask on parameters cannot tell whose gradient it weighs."""
    net = make_net()
    with attached(net, strategy="parameter") as router, router.memberships(HIGH):
        with router.paused():
            loss = net(torch.ones(4, 3)).sum()
        with pytest.raises(ValueError, match=r"1: expected gradients of the batch's samples alone"):
            loss.backward()


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_repeated_forward_pass_needs_its_memberships(use_reentrant: bool) -> None:
    net = make_net()
    x = torch.ones(4, 3, requires_grad=True)
    with attached(net) as router:
        with router.memberships(HIGH):
            loss = checkpoint(net, x, use_reentrant=use_reentrant).sum()
        with pytest.raises(RoutingError, match="1: .*The backward pass belongs inside `memberships`"):
            loss.backward()
        # An ordinary step without memberships is none of these.
        checkpoint(net, x, use_reentrant=use_reentrant).sum().backward()
        net.zero_grad()
        with router.memberships(HIGH):
            checkpoint(net, x, use_reentrant=use_reentrant).sum().backward()
    assert trained(net) == ROUTED


def test_the_backward_pass_of_a_plain_model_may_come_later() -> None:
    net = make_net()
    with attached(net) as router:
        with router.memberships(HIGH):
            loss = net(torch.ones(4, 3)).sum()
        loss.backward()
    assert trained(net) == ROUTED


class Attentive(nn.Module):
    """The heads of torch's attention, whose projection is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.attention(x, x, x)[0]
        return output


class Functional(nn.Module):
    """Uses the weights of a layer without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 6)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.layer.weight)


@pytest.mark.parametrize(
    ("model", "route", "x", "message"),
    [
        (make_net().eval(), make_route(), torch.ones(4, 3), r"['1'], got none.*evaluation mode.*`model.train()`"),
        (
            Attentive(),
            Route("attention.out_proj", RULE, {"low": "0:1", "high": "rest"}, at="input", unit_size=4),
            torch.ones(4, 5, 8),
            r"['attention.out_proj'], got none.*the strategy 'parameter'",
        ),
        (Functional(), make_route("layer"), torch.ones(4, 3), r"['layer'], got none.*calls them as modules"),
    ],
)
def test_modules_that_are_not_called_are_named_once(model: nn.Module, route: Route, x: Tensor, message: str) -> None:
    with attached(model, route) as router:
        pattern = ".*".join(map(re.escape, message.split(".*")))
        with pytest.warns(UserWarning, match=pattern) as caught, router.memberships(HIGH):
            model(x).sum().backward()
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with router.memberships(HIGH):
                model(x).sum().backward()
        with pytest.raises(RoutingError, match=route.patterns[0]), router.memberships(HIGH):
            router.check_backward()


def test_masking_of_parameters_calls_no_hook() -> None:
    model = Attentive()
    route = Route("attention.out_proj", RULE, {"low": "0:1", "high": "rest"}, at="input", unit_size=4)
    with attached(model, route, strategy="parameter") as router, router.memberships(HIGH):
        model(torch.ones(4, 5, 8)).sum().backward()


class Aliased(nn.Module):
    """A network with a second name for its first layer, before or after the first one."""

    def __init__(self, is_first: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.Linear(3, 6)
        if is_first:
            self.encoder = layer
        self.model = nn.Sequential(layer, nn.ReLU(), nn.Linear(6, 2))
        if not is_first:
            self.encoder = layer

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.model(x)
        return output


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("module", ["encoder", "model.0", "model.1"])
def test_a_second_name_of_a_module_is_no_leak(is_first: bool, module: str) -> None:
    net = Aliased(is_first)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    before = net.encoder.weight.detach().clone()
    router = Router([make_route(module)])
    router.attach(net, isolates=True)
    router.guard(optimizer)
    with router.memberships({"low": torch.ones(4), "high": torch.zeros(4)}):
        net(torch.randn(4, 3)).square().sum().backward()
        router.check_backward()
        optimizer.step()
    router.detach()
    moved = (net.encoder.weight != before).any(dim=1)
    assert not moved[2:].any()
    assert moved[:2].any()
    assert expand(net, "model.1", 2).size == 8
    assert net.encoder.out_features == 8


def test_a_shared_layer_is_routed_in_all_of_its_calls_by_any_name() -> None:
    layer = nn.Linear(3, 3)
    net = nn.ModuleList([layer] * 3)
    for module in ("0", "2", "[0-9]"):
        net.zero_grad()
        with attached(net, make_route(module)) as router:
            assert len(router.taps) == 1
            with router.memberships({"low": torch.ones(4), "high": torch.zeros(4)}):
                x = torch.randn(4, 3)
                for shared in net:
                    x = shared(x).relu()
                x.sum().backward()
        assert layer.weight.grad is not None
        assert not layer.weight.grad[2:].any()


def test_a_layer_that_runs_again_behind_the_routed_activation_leaks() -> None:
    layer = nn.Linear(3, 3)
    net = nn.Sequential(layer, nn.ReLU(), layer, nn.Tanh())
    with pytest.raises(RoutingError, match=r"0.weight makes routed units, but is tied to 2.weight"):
        Router([make_route("1")]).attach(net)
    with attached(net, make_route("0")):
        pass
    with pytest.raises(UnknownStructureError, match="tied"):
        expand(net, "1", 2)
