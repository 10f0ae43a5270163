"""Routes on parameters: held parameters are bit for bit those of runs that freeze them."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, Adam, AdamW, Muon, Optimizer, RMSprop
from torch.utils.checkpoint import checkpoint

from lightning_vista.routing import LabelRule, ParameterRoute, Route, Router, RoutingError

RULE = LabelRule("kind", {"forget": [1], "retain": [0]})
HOLD = ParameterRoute(RULE, {"forget": 0.0}, exclude=["*.new.*"])

#: Kinds of the batches of each optimizer step; None is in default mode.
STEPS: list[list[int | None]] = [[0], [1], [None], [1], [1], [0], [1, 0], [1, 1], [0, None], [1]]


class Net(nn.Module):
    """Two layers, each with a part of its own for new data."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.ModuleDict({"old": nn.Linear(4, 6), "new": nn.Linear(4, 6)})
        self.second = nn.ModuleDict({"old": nn.Linear(6, 3, bias=False), "new": nn.Linear(6, 3, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate((self.first, self.second)):
            x = layer["old"](torch.tanh(x) if number else x) + layer["new"](x)
        return x


def matrices(net: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in net.parameters() if parameter.ndim == 2]


#: Each acts on what the name says; Muon takes matrices only.
OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "AdamW": lambda net: AdamW(net.parameters(), lr=0.05, weight_decay=0.1, foreach=False),
    "AdamW foreach": lambda net: AdamW(net.parameters(), lr=0.05, weight_decay=0.1, foreach=True),
    "AdamW fused": lambda net: AdamW(net.parameters(), lr=0.05, weight_decay=0.1, fused=True),
    "Adam amsgrad": lambda net: Adam(net.parameters(), lr=0.05, amsgrad=True, weight_decay=0.1),
    "SGD momentum": lambda net: SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1, nesterov=True),
    "SGD fused": lambda net: SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1, fused=True),
    "SGD foreach": lambda net: SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1, foreach=True),
    "RMSprop": lambda net: RMSprop(net.parameters(), lr=0.01, momentum=0.9),
    "Adafactor": lambda net: Adafactor(net.parameters(), lr=0.05, weight_decay=0.1),
    "Muon": lambda net: Muon(matrices(net), lr=0.05, weight_decay=0.1),
}


def batch_of(kind: int | None, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(5, 4, generator=generator), "kind": torch.full((5,), 2 if kind is None else kind)}


def train(
    net: nn.Module,
    optimizer: Optimizer,
    backward: Callable[[dict[str, Tensor]], None],
    prepare: Callable[[], None] = lambda: None,
    set_to_none: bool = True,
) -> None:
    """Take the steps, with the gradients that `backward` makes of each batch."""
    for number, kinds in enumerate(STEPS):
        optimizer.zero_grad(set_to_none=set_to_none)
        for part, kind in enumerate(kinds):
            backward(batch_of(kind, 10 * number + part))
        prepare()  # before clipping, whose norm is summed in another order with zeros among the gradients
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()


def train_frozen(net: nn.Module, optimizer: Optimizer, held: Sequence[nn.Parameter]) -> None:
    """The oracle: parameters are frozen for the batches that must not train them."""

    def backward(batch: dict[str, Tensor]) -> None:
        for parameter in held:
            parameter.requires_grad_(not bool((batch["kind"] == 1).all()))
        net(batch["x"]).square().sum().backward()

    train(net, optimizer, backward)


def train_routed(net: nn.Module, optimizer: Optimizer, routes: Iterable[Any], set_to_none: bool = True) -> None:
    router = Router(list(routes))
    router.attach(net)
    guard = router.guard(optimizer, before_step=False)

    def backward(batch: dict[str, Tensor]) -> None:
        router.compute(batch)
        net(batch["x"]).square().sum().backward()
        router.clear()

    train(net, optimizer, backward, guard.prepare, set_to_none)
    router.detach()


def assert_same(net: nn.Module, other: nn.Module, one: Optimizer, two: Optimizer) -> None:
    """Compare parameters and optimizer states, bit for bit."""
    for (name, ours), theirs in zip(net.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
        states = [
            {k: torch.as_tensor(v) for k, v in o.state.get(p, {}).items()} for o, p in ((one, ours), (two, theirs))
        ]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0]), name


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_held_parameters_are_those_of_a_frozen_run(name: str, set_to_none: bool) -> None:
    routed, frozen = Net(), Net()
    before = copy.deepcopy(routed.state_dict())
    one, two = OPTIMIZERS[name](routed), OPTIMIZERS[name](frozen)
    held = [parameter for key, parameter in frozen.named_parameters() if ".new." not in key]
    train_routed(routed, one, [HOLD], set_to_none)
    train_frozen(frozen, two, held)
    assert_same(routed, frozen, one, two)
    assert all(not torch.equal(before[key], value) for key, value in routed.state_dict().items() if "weight" in key)


def test_weights_multiply_what_each_batch_adds() -> None:
    net, plain = Net(), Net()
    router = Router([ParameterRoute(RULE, {"forget": -0.5}, parameters=["first.old.*"])])
    router.attach(net)
    expected = torch.zeros(6, 4)
    for kind, weight in ((1, -0.5), (0, 1.0), (None, 1.0)):
        batch = batch_of(kind, 0)
        router.compute(batch)
        net(batch["x"]).sum().backward()
        plain.zero_grad()
        plain(batch["x"]).sum().backward()
        gradient = plain.first["old"].get_parameter("weight").grad
        assert gradient is not None
        expected += weight * gradient
    assert torch.equal(net.first["old"].get_parameter("weight").grad, expected)  # type: ignore[arg-type]


def test_all_samples_of_a_batch_have_one_weight() -> None:
    router = Router([HOLD])
    router.attach(Net())
    with pytest.raises(ValueError, match=r"expected samples of one weight in a batch, got weights from 0 to 1"):
        router.compute({"kind": torch.tensor([0, 1])})
    router.compute({"kind": torch.tensor([0, 2])})  # both train everything


def test_infinite_gradients_of_held_parameters_become_zero() -> None:
    net = nn.Linear(1, 1, bias=False)
    router = Router([ParameterRoute(RULE, {"forget": 0.0})])
    router.attach(net)
    router.compute({"kind": torch.tensor([1])})
    (net(torch.ones(1, 1)) * float("inf")).sum().backward()
    assert torch.equal(net.weight.grad, torch.zeros(1, 1))  # type: ignore[arg-type]


def test_tied_parameters_are_held_under_either_name() -> None:
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    assert list(ParameterRoute(RULE, {"forget": 0.0}, ["1.weight"]).find(net)) == ["1.weight"]
    with pytest.raises(ValueError, match=r"`exclude`: expected to leave some parameters of \['\*'\]"):
        ParameterRoute(RULE, {"forget": 0.0}, exclude=["1.weight"]).find(net)


def test_a_second_optimizer_has_its_own_steps() -> None:
    """The first optimizer steps after each batch, the second after two: of both it knows what it received."""
    net = Net()
    fast = SGD(net.first.parameters(), lr=0.1, weight_decay=0.5)
    slow = SGD(net.second.parameters(), lr=0.1, weight_decay=0.5)
    router = Router([ParameterRoute(RULE, {"forget": 0.0})])
    router.attach(net)
    for optimizer in (fast, slow):
        router.guard(optimizer)
    moved = []
    for number, kind in enumerate((0, 1, 1, 1)):
        before = [layer["old"].get_parameter("weight").detach().clone() for layer in (net.first, net.second)]
        router.compute(batch_of(kind, number))
        net(batch_of(kind, number)["x"]).sum().backward()
        fast.step()
        fast.zero_grad()
        if number % 2:
            slow.step()
            slow.zero_grad()
        now = [layer["old"].get_parameter("weight").detach() for layer in (net.first, net.second)]
        moved.append([not torch.equal(*pair) for pair in zip(before, now, strict=True)])
    assert moved == [[True, False], [False, True], [False, False], [False, False]]


def test_a_second_step_after_one_batch_moves_what_the_first_moved() -> None:
    net = nn.Linear(1, 1, bias=False)
    optimizer = SGD(net.parameters(), lr=0.1)
    router = Router([ParameterRoute(RULE, {"forget": 0.0})])
    router.attach(net)
    router.guard(optimizer)
    router.compute({"kind": torch.tensor([0])})
    net(torch.ones(1, 1)).sum().backward()
    values = [net.weight.item()]
    for _ in range(2):
        optimizer.step()
        values.append(net.weight.item())
    assert values[0] > values[1] > values[2]


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointed_and_compiled_models_are_held(use_reentrant: bool) -> None:
    net = Net()
    router = Router([HOLD])
    router.attach(net)
    compiled = torch.compile(net, backend="aot_eager")
    for kind, reached in ((1, False), (0, True)):
        net.zero_grad()
        router.compute(batch_of(kind, 0))
        x = batch_of(kind, 0)["x"].requires_grad_()
        checkpoint(net, x, use_reentrant=use_reentrant).sum().backward()
        compiled(x).sum().backward()
        gradient = net.first["old"].get_parameter("weight").grad
        assert gradient is not None
        assert bool(gradient.any()) == reached
        assert net.first["new"].get_parameter("weight").grad.any()  # type: ignore[union-attr]


def test_both_kinds_of_routes_act_together() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    regions: Any = {"forget": "0:1", "retain": "rest"}
    route = Route("1", RULE, regions, weights={"forget": {"forget": 1.0}, "retain": {"forget": 1.0, "retain": 1.0}})
    router = Router([route, ParameterRoute(RULE, {"forget": 0.0}, parameters=["2.*"])])
    router.attach(net)
    router.compute({"kind": torch.tensor([1])})
    net(torch.ones(1, 3)).sum().backward()
    found = {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert not found["2.weight"].any()
    assert found["0.weight"][0].any()
    assert not found["0.weight"][1:].any()
    router.detach()
    net.zero_grad()
    net(torch.ones(1, 3)).sum().backward()
    assert all(parameter.grad.any() for parameter in net.parameters())  # type: ignore[union-attr]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    routes: list[Any] = [
        ParameterRoute(RULE, {"forgot": 0.0}),
        ParameterRoute(RULE, {}, parameters=["third.*"]),
        Route("fourth", RULE, {"forget": "rest"}),
    ]
    with pytest.raises(RoutingError) as error:
        Router(routes).attach(Net())
    text = str(error.value)
    assert "route 0 (*): `weights`: expected groups of the rule, ['forget', 'retain'], got 'forgot'" in text
    assert "route 1 (third.*): `weights`: expected a weight for at least one of the groups" in text
    assert "route 1 (third.*): expected a parameter of Net, got 'third.*'" in text
    assert "route 2 (fourth): expected a module of Net, got 'fourth'" in text


def test_a_step_that_makes_its_own_gradients_is_refused() -> None:
    net = nn.Linear(1, 1)
    optimizer = SGD(net.parameters(), lr=0.1)
    router = Router([ParameterRoute(RULE, {"forget": 0.0})])
    router.attach(net)
    router.guard(optimizer)
    with pytest.raises(ValueError, match=r"`closure`: expected a step of SGD after the backward pass"):
        optimizer.step(lambda: torch.zeros(()))


def test_one_pattern_may_be_text_and_none_is_a_fault() -> None:
    assert list(ParameterRoute(RULE, {"forget": 0.0}, "first.*", exclude="*.new.*").find(Net())) == [
        "first.old.weight",
        "first.old.bias",
    ]
    assert ParameterRoute(RULE, {"forget": 0.0}, parameters=[]).faults() == [
        "`parameters`: expected at least one name or pattern, got none."
    ]


def test_a_mask_weight_out_of_its_range_is_refused_without_a_trainer_too() -> None:
    with pytest.raises(ValueError, match=r"`mask_weight`: expected a number from 0 to 1, got 1.5"):
        Router([HOLD], mask_weight=1.5)
