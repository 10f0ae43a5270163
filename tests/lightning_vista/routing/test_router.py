"""What routers do around the mathematics: hooks, modes, kinds of modules, mixed precision, checkpoints, compilation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from routing_oracles import by_formula, gradients
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_vista.routing import FieldRule, LabelRule, Route, Router, RoutingError

RULE = LabelRule("label", {"low": [0], "high": [1]})
LOW = torch.tensor([1.0, 0.0, 0.0, 1.0])
MEMBERS = {"low": LOW, "high": 1 - LOW}


def make_net(middle: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), middle or nn.ReLU(inplace=True), nn.Linear(6, 2))


def make_route(module: str = "0", **changes: Any) -> Route:
    return Route(module, changes.pop("rule", RULE), changes.pop("regions", {"low": "0:2", "high": "rest"}), **changes)


@contextmanager
def attached(model: nn.Module, *routes: Route, **settings: Any) -> Iterator[Router]:
    router = Router(routes or [make_route()], **settings)
    router.attach(model)
    try:
        yield router
    finally:
        router.detach()


def inputs(*shape: int) -> Tensor:
    return torch.randn(*(shape or (4, 3)), generator=torch.Generator().manual_seed(1))


def gradient_of(model: nn.Module, name: str) -> Tensor:
    gradient = model.get_parameter(name).grad
    assert gradient is not None
    return gradient


def routed_gradients(model: nn.Module, x: Tensor | None = None) -> dict[str, Tensor]:
    with attached(model) as router, router.memberships(MEMBERS):
        return gradients(model, lambda: model(inputs() if x is None else x).sum())


def formula_gradients(model: nn.Module, x: Tensor | None = None, route: Route | None = None) -> dict[str, Tensor]:
    members = torch.stack([LOW, 1 - LOW], dim=-1).double()
    with by_formula(model, "0", route or make_route(), members):
        return gradients(model, lambda: model(inputs() if x is None else x).sum())


def assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, rtol=1e-5, atol=1e-6, check_dtype=False)


def test_only_training_is_routed() -> None:
    net = make_net()
    unrouted = gradients(net, lambda: net(inputs()).sum())
    with attached(net) as router:
        assert_equal(gradients(net, lambda: net(inputs()).sum()), unrouted)  # no memberships
        with router.memberships(MEMBERS), torch.no_grad():
            assert not net(inputs()).requires_grad
        with router.memberships(MEMBERS):
            assert_equal(gradients(net.eval(), lambda: net(inputs()).sum()), unrouted)
    with pytest.raises(RuntimeError, match=r"expected an attached router"), router.memberships(MEMBERS):
        pass


def test_forward_values_do_not_change() -> None:
    net = make_net(nn.Identity())
    expected = net(inputs())
    with attached(net) as router, router.memberships(MEMBERS):
        assert torch.equal(net(inputs()), expected)


def test_a_router_removes_its_own_hooks_and_attaches_once() -> None:
    net = make_net()
    foreign = net[0].register_forward_hook(lambda *_: None)
    with attached(net) as router:
        with pytest.raises(RuntimeError, match=r"expected a detached router"):
            router.attach(net)
        assert len(net[0]._forward_hooks) == 2
    assert list(net[0]._forward_hooks) == [foreign.id]


def test_in_place_operations_after_a_view() -> None:
    """The output of a linear layer on tokens is a view: a hook on the tensor would be lost here."""
    assert_equal(routed_gradients(make_net(), inputs(4, 5, 3)), formula_gradients(make_net(nn.ReLU()), inputs(4, 5, 3)))


class Pair(NamedTuple):
    size: int
    hidden: Tensor


@dataclass
class Output:
    mask: None
    hidden: Tensor


class Wrapped(nn.Module):
    """Returns its hidden units in something."""

    def __init__(self, wrap: Callable[[Tensor], Any], unwrap: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.linear, self.wrap, self.unwrap = nn.Linear(3, 6), wrap, unwrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.linear(x))


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda x: (None, x), lambda y: y[1]),
        (lambda x: [x, 1], lambda y: y[0]),
        (lambda x: Pair(1, x), lambda y: y.hidden),
        (lambda x: {"ids": torch.zeros(1, dtype=torch.long), "hidden": x}, lambda y: y["hidden"]),
        (lambda x: Output(None, x), lambda y: y.hidden),
    ],
)
def test_tensors_inside_other_outputs(wrap: Callable[[Tensor], Any], unwrap: Callable[[Any], Tensor]) -> None:
    module = Wrapped(wrap, unwrap)
    with attached(module, make_route("")) as router, router.memberships(MEMBERS):
        output = module(inputs())
        assert type(output) is type(wrap(torch.zeros(1)))
        unwrap(output).sum().backward()
    assert torch.equal(gradient_of(module, "linear.bias"), torch.tensor([2.0] * 6))


def test_outputs_without_a_tensor_are_refused() -> None:
    module = Wrapped(lambda x: "text", lambda y: y)
    error = pytest.raises(ValueError, match=r"expected a floating-point tensor.* got str")
    with attached(module, make_route("")) as router, error, router.memberships(MEMBERS):
        module(inputs())


def test_inputs_by_keyword() -> None:
    class Caller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 6), Reader()

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x)
            total: Tensor = self.second(hidden=hidden) + hidden.sum(-1, keepdim=True)
            return total

    class Reader(nn.Linear):
        def __init__(self) -> None:
            super().__init__(6, 1)

        def forward(self, hidden: Tensor) -> Tensor:
            return super().forward(hidden)

    caller = Caller()
    nothing = {"low": torch.ones(4), "high": torch.zeros(4)}
    route = make_route("second", at="input", weights={"low": {"low": 0.0, "high": 0.0}})
    with attached(caller, route) as router, router.memberships(nothing):
        caller(inputs()).sum().backward()
    # What the module reads is masked for the module alone, not for others that read the same tensor.
    assert torch.equal(gradient_of(caller, "first.bias"), torch.full((6,), 4.0))


def test_a_module_called_several_times() -> None:
    def twice(model: nn.Module) -> Tensor:
        product: Tensor = model(inputs()) * model(2 * inputs())
        return product.sum()

    net, same = make_net(), make_net(nn.ReLU())
    with attached(net) as router, router.memberships(MEMBERS):
        actual = gradients(net, lambda: twice(net))
    members = torch.stack([LOW, 1 - LOW], dim=-1).double()
    with by_formula(same, "0", make_route(), members):
        assert_equal(actual, gradients(same, lambda: twice(same)))


def test_several_routers_multiply() -> None:
    net = make_net(nn.Identity())
    other = Router([make_route(weights={"low": {"low": 0.5, "high": 0.5}, "high": {"low": 1.0, "high": 1.0}})])
    other.attach(net)
    with attached(net) as router, router.memberships(MEMBERS), other.memberships(MEMBERS):
        actual = gradients(net, lambda: net(inputs()).sum())
    single = routed_gradients(net)
    assert torch.allclose(actual["0.bias"][:2], 0.5 * single["0.bias"][:2])
    assert torch.equal(actual["0.bias"][2:], single["0.bias"][2:])


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing(use_reentrant: bool) -> None:
    net = make_net()
    x = inputs().requires_grad_()
    with attached(net) as router, router.memberships(MEMBERS):
        actual = gradients(net, lambda: checkpoint(net, x, use_reentrant=use_reentrant).sum())
    assert_equal(actual, routed_gradients(net))


def test_bfloat16_autocast() -> None:
    net = make_net()
    with torch.autocast("cpu", torch.bfloat16):
        actual = routed_gradients(net)
        expected = formula_gradients(make_net(nn.ReLU()))
    assert_equal(actual, expected)


def test_a_loss_scaler() -> None:
    net = make_net()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    with attached(net) as router, router.memberships(MEMBERS), torch.autocast("cpu", torch.float16):
        scaler.scale(net(inputs()).sum()).backward()
    scaler.unscale_(optimizer)
    actual = {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}
    expected = routed_gradients(make_net())
    torch.testing.assert_close(actual["0.bias"], expected["0.bias"], rtol=1e-2, atol=1e-2)


def test_gradients_that_overflow_are_checked_in_the_next_backward_pass() -> None:
    net = make_net()
    with attached(net, make_route(regions={"low": "rest", "high": "0:2"})) as router:
        for scale, is_checked in ((torch.inf, False), (1.0, True)):
            net.zero_grad()
            with router.memberships({"low": torch.ones(4), "high": torch.zeros(4)}):
                (scale * net(inputs()).sum()).backward()
                assert router.check_backward() == is_checked


@pytest.mark.parametrize("weight", [-5e-8, 1e-7, 0.3, -0.75])
def test_small_weights_are_exact(weight: float) -> None:
    """The paper's weight of the off-target region is -5e-8: 1 + (weight - 1) would round it to 0."""
    net = nn.Linear(3, 4)
    with attached(net, make_route("", weights={"low": {"high": weight}})) as router, router.memberships(MEMBERS):
        net(torch.ones(4, 3))[LOW == 1].sum().backward()
    torch.testing.assert_close(
        gradient_of(net, "bias"), 2 * torch.tensor([1.0, 1.0, weight, weight]), rtol=1e-7, atol=0
    )


class LastState(nn.Module):
    """A recurrent encoder whose last state alone is read."""

    def __init__(self, part: int) -> None:
        super().__init__()
        self.part = part
        self.encoder = nn.LSTM(3, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output, (state, _) = self.encoder(x)
        read: Tensor = (output[:, -1], state[0])[self.part]
        return read


def test_a_routed_tensor_that_the_loss_does_not_read_is_reported() -> None:
    for part in (0, 1):
        net = LastState(part)
        with attached(net, make_route("encoder")) as router, router.memberships(MEMBERS):
            net(inputs(4, 5, 3)).sum().backward()
            if part == 0:
                router.check_backward()
                continue
            with pytest.warns(UserWarning, match=r"\['encoder'\]: expected a loss that reads the tensors .* first one"):
                router.check_backward()


@pytest.mark.parametrize("at", ["output", "input"])
def test_compiled_without_breaks_and_without_recompiling(at: Any) -> None:
    torch.compiler.reset()
    frame_counts: list[int] = []

    def backend(graph: torch.fx.GraphModule, example: list[Tensor]) -> Callable[..., Any]:
        from torch._dynamo.backends.debugging import aot_eager

        frame_counts.append(1)
        return aot_eager(graph, example)

    net = make_net()
    compiled = torch.compile(net, fullgraph=True, backend=backend)
    route = make_route("0") if at == "output" else make_route("2", at="input", regions={"low": [0, 3], "high": "rest"})
    with attached(net, route) as router:
        for shift in range(4):
            members = {"low": LOW.roll(shift), "high": 1 - LOW.roll(shift)}
            with router.memberships(members):
                assert_equal(
                    gradients(net, lambda: compiled(inputs()).sum()), gradients(net, lambda: net(inputs()).sum())
                )
    torch.compiler.reset()
    assert len(frame_counts) == 1


def test_routes_find_modules_inside_a_compiled_model() -> None:
    model = torch.compile(make_net(), backend="eager")
    with attached(model) as router:  # type: ignore[arg-type]
        assert [tap.name for tap in router.taps] == ["0"]


def test_soft_regions_of_channels_and_samples_in_the_second_dimension() -> None:
    conv = nn.Conv2d(1, 4, 1)
    with attached(conv, make_route("", dim=1)) as router, router.memberships(MEMBERS):
        conv(torch.ones(4, 1, 2, 2)).sum().backward()
    # Two samples train each region, in 2 x 2 positions.
    assert torch.equal(gradient_of(conv, "bias"), torch.tensor([8.0] * 4))
    recurrent = nn.RNN(3, 6)
    with attached(recurrent, make_route("", batch_dim=1)) as router, router.memberships(MEMBERS):
        output, _ = recurrent(torch.ones(5, 4, 3))
        gradient = torch.autograd.grad(output.sum(), recurrent.get_parameter("bias_hh_l0"))
    assert gradient[0].abs().gt(0).all()
    tokens = {name: member[:, None].expand(4, 5) for name, member in MEMBERS.items()}
    with attached(recurrent, make_route("", batch_dim=1)) as router, router.memberships(tokens):
        again = torch.autograd.grad(recurrent(torch.ones(5, 4, 3))[0].sum(), recurrent.get_parameter("bias_hh_l0"))
    assert torch.allclose(again[0], gradient[0])


def test_regions_that_are_zero_in_the_forward_pass() -> None:
    net = make_net(nn.Identity())
    soft = {"low": torch.tensor([1.0, 0.5, 0.0, 0.0]), "high": torch.tensor([0.0, 0.5, 1.0, 0.0])}
    seen: list[Tensor] = []
    with attached(net, make_route(forward={"low": ["high"]})) as router:
        net[1].register_forward_hook(lambda _, __, output: seen.append(output))
        with router.memberships(soft):
            net(inputs())
    assert seen[0].eq(0).all(dim=1).tolist() == [False] * 4
    assert seen[0][:, 2:].eq(0).all(dim=1).tolist() == [True, False, False, False]


def test_activation_masking_zeroes_instead() -> None:
    net = make_net(nn.Identity())
    with attached(net, strategy="activation") as router, router.memberships(MEMBERS):
        actual = gradients(net, lambda: net(inputs()).square().sum())
        output = net(inputs())
    mask = torch.stack([LOW, LOW, *[1 - LOW] * 4], dim=-1)
    assert torch.allclose(output, net[2](net[0](inputs()) * mask))
    expected = gradients(net, lambda: net[2](net[0](inputs()) * mask).square().sum())
    assert_equal(actual, expected)
    error = pytest.raises(ValueError, match=r"weights of 0 or 1, .* got weights from 0.5 to 1")
    with attached(net, strategy="activation") as router, error, router.memberships({"low": torch.full((4,), 0.5)}):
        pass


def test_parameter_masking_weighs_each_batch_before_it_is_accumulated() -> None:
    net = make_net()
    unrouted = gradients(net, lambda: net(inputs()).sum())
    with attached(net, strategy="parameter") as router:
        net.zero_grad()
        with router.memberships({"low": torch.ones(4)}):
            net(inputs()).sum().backward()
        assert torch.equal(gradient_of(net, "0.weight")[:2], unrouted["0.weight"][:2])
        assert not gradient_of(net, "0.weight")[2:].any()
        assert not gradient_of(net, "2.weight")[:, 2:].any()
        assert not gradient_of(net, "2.bias").any()  # serves the blocked units too
        with router.memberships({"high": torch.ones(4)}):
            net(inputs()).sum().backward()
        assert torch.equal(gradient_of(net, "0.weight"), unrouted["0.weight"])
        assert torch.equal(gradient_of(net, "2.weight"), unrouted["2.weight"])
        mixed = pytest.raises(ValueError, match=r"0: expected one group in each batch")
        with mixed, router.memberships({"low": torch.tensor([1.0, 0.0])}):
            pass


def test_annealing_goes_from_no_routing_to_the_mask() -> None:
    net = make_net(nn.Identity())
    unrouted, routed = gradients(net, lambda: net(inputs()).sum()), routed_gradients(net)
    for mode, start in (("anneal", unrouted), ("scale", {name: 0 * g for name, g in unrouted.items()})):
        with attached(net, mask_weight=0.25, mask_weight_mode=mode) as router, router.memberships(MEMBERS):
            actual = gradients(net, lambda: net(inputs()).sum())
        expected = 0.75 * start["0.weight"] + 0.25 * routed["0.weight"]
        assert torch.allclose(actual["0.weight"], expected)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    routes = [
        make_route("encoder"),
        make_route(regions={"low": "0:4", "high": "3:6"}),
        make_route(weights={"medium": {"low": 1.0, "left": 1.0}}),
        make_route(rule=FieldRule("f", ["other"])),
    ]
    with pytest.raises(RoutingError) as raised:
        Router(routes).attach(make_net())
    faults = raised.value.faults
    assert len(faults) == 5
    for fault, part in zip(
        sorted(faults),
        [
            "route 0 (encoder): expected a module of Sequential, got 'encoder'. Did you mean one of ['0', '1', '2']?",
            "route 1 (0), 0: `regions`: expected disjoint regions, got unit 3 twice, in 'low' and 'high'",
            "route 2 (0): `weights`: expected groups of the rule, ['low', 'high'], got 'medium'",
            "route 2 (0): `weights`: expected regions of the route, ['low', 'high'], got 'left'",
            "route 3 (0): `regions`: expected a region with the name of a group, ['other'], got ['low', 'high']",
        ],
        strict=True,
    ):
        assert fault.startswith(part)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"low": torch.ones(4), "high": torch.ones(4)}, r"sums up to 2"),
        ({"low": -torch.ones(4)}, r"values from -1"),
        ({"low": torch.ones(4, 3, 2)}, r"got \(4, 3, 2, 2\)"),
        ({"middle": torch.ones(4)}, r"groups of the rules, \['high', 'low'\], got \['middle'\]"),
        ({}, r"at least one"),
        ({"low": torch.full((4,), float("nan"))}, r"values from nan"),
    ],
)
def test_memberships_that_are_none(members: dict[str, Tensor], message: str) -> None:
    with attached(make_net()) as router, pytest.raises(ValueError, match=message), router.memberships(members):
        pass


@pytest.mark.parametrize(
    ("route", "x", "message"),
    [
        (make_route(), (5, 3), r"0: expected the output to have \(4,\) samples .* got \(5, 6\)"),
        (
            make_route("1", dim=0),
            (4, 3),
            r"expected `dim` to be a dimension of units, got 0, which has the samples or tokens",
        ),
    ],
)
def test_tensors_that_do_not_fit_the_memberships(route: Route, x: tuple[int, ...], message: str) -> None:
    net = make_net(nn.Softmax(dim=-1))  # whose units have no known parameters
    with attached(net, route) as router, router.memberships(MEMBERS), pytest.raises(ValueError, match=message):
        net(inputs(*x))
