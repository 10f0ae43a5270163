"""What is written into parameters is what the same change of the routed tensor gives, also before activations."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_vista.routing import LabelRule, Route
from lightning_vista.routing.checks import find_taps
from lightning_vista.routing.hooking import hook_tensor
from lightning_vista.routing.surgery import ablate_regions, replace_regions, scale_named_regions, scale_parameters

RULE = LabelRule("label", {"a": [0], "c": [1]})
SMALL: dict[str, Any] = {"a": "0:2", "b": "rest"}


class FunctionalMLP(nn.Module):
    """An MLP whose activation is a function."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.fc2(nn.functional.relu(self.fc1(x)))
        return output


class ModuleMLP(FunctionalMLP):
    """An MLP whose activation is a module."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act, self.drop1 = act, nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.fc2(self.drop1(self.act(self.fc1(x))))
        return output


def chain(act: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), act, nn.Dropout(), nn.Linear(6, 2))


def images(act: nn.Module) -> nn.Module:
    """Channels that are averaged over an image after their activation."""
    return nn.Sequential(nn.Conv2d(4, 6, 1), act, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))


def encoder_layer(act: nn.Module) -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, dim_feedforward=6, activation=act, batch_first=True, norm_first=True)


#: Networks of one activation, with a module before it, and the shape of an input.
BEFORE: list[tuple[Any, str, tuple[int, ...], int]] = [
    (chain, "0", (5, 4), -1),
    (ModuleMLP, "fc1", (5, 4), -1),
    (images, "0", (5, 4, 3, 3), 1),
    (encoder_layer, "linear1", (5, 3, 4), -1),
]
before_activation = pytest.mark.parametrize(("make", "module", "shape", "dim"), BEFORE)


def compare(model: nn.Module, route: Route, change: Any, replace: Any, shape: tuple[int, ...]) -> None:
    """Compare a change of parameters with the same change of the routed tensor."""
    model.eval()
    x = torch.randn(*shape)
    handle = hook_tensor(model.get_submodule(route.patterns[0]), route.at, replace, "routed")
    expected = model(x)
    handle.remove()
    changed = copy.deepcopy(model)
    change(changed, find_taps([route], changed, "something"))
    torch.testing.assert_close(changed(x), expected)


@before_activation
@pytest.mark.parametrize("act", [nn.ReLU(), nn.GELU(), nn.Sigmoid()], ids=lambda act: type(act).__name__)
def test_means_before_an_activation_pass_it(
    make: Any, module: str, shape: tuple[int, ...], dim: int, act: nn.Module
) -> None:
    route, means = Route(module, RULE, SMALL, dim=dim), torch.randn(6)
    compare(
        make(act), route,
        lambda model, taps: ablate_regions(model, taps, ["a"], "mean", {taps[0].key: means}),
        lambda x: replace_regions(x, route, ["a"], means), shape,
    )  # fmt: skip


@before_activation
def test_zeros_before_an_activation_that_keeps_them_are_exact(
    make: Any, module: str, shape: tuple[int, ...], dim: int
) -> None:
    route = Route(module, RULE, SMALL, dim=dim)
    compare(
        make(nn.GELU()), route,
        lambda model, taps: ablate_regions(model, taps, ["a"], "zero", {}),
        lambda x: replace_regions(x, route, ["a"]), shape,
    )  # fmt: skip
    model = make(nn.Sigmoid())
    with pytest.raises(ValueError, match=r"functions that keep zero before '.*', got Sigmoid.*at: input"):
        ablate_regions(model, find_taps([route], model), ["a"], "zero", {})


@before_activation
@pytest.mark.parametrize("factor", [0.5, 0.0])
def test_factors_before_an_activation_that_keeps_them_are_exact(
    make: Any, module: str, shape: tuple[int, ...], dim: int, factor: float
) -> None:
    route = Route(module, RULE, SMALL, dim=dim)
    compare(
        make(nn.ReLU()), route,
        lambda model, taps: scale_parameters(model, taps, {"a": factor}),
        lambda x: scale_named_regions(x, route, {"a": factor}), shape,
    )  # fmt: skip


@before_activation
@pytest.mark.parametrize(("act", "factor"), [(nn.GELU(), 0.5), (nn.ReLU(), -1.0), (nn.Sigmoid(), 0.0)])
def test_other_factors_before_an_activation_are_refused(
    make: Any, module: str, shape: tuple[int, ...], dim: int, act: nn.Module, factor: float
) -> None:
    model = make(act)
    taps = find_taps([Route(module, RULE, SMALL, dim=dim)], model)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=rf"got {type(act).__name__}.*at: input"):
        scale_parameters(model, taps, {"a": factor})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_before_an_unknown_function_only_zeros_are_written() -> None:
    route = Route("fc1", RULE, SMALL)
    compare(
        FunctionalMLP(), route,
        lambda model, taps: ablate_regions(model, taps, ["a"], "zero", {}),
        lambda x: replace_regions(x, route, ["a"]), (5, 4),
    )  # fmt: skip
    model = FunctionalMLP()
    taps = find_taps([route], model)
    remedy = "Route what 'fc2' takes instead"
    with pytest.raises(ValueError, match=rf"for 'mean', got a function that is not known. {remedy}"):
        ablate_regions(model, taps, ["a"], "mean", {taps[0].key: torch.zeros(6)})
    with pytest.raises(ValueError, match=rf"keep the factor 0.5 .* got a function that is not known. {remedy}"):
        scale_parameters(model, taps, {"a": 0.5})


def test_a_norm_before_the_reader_does_not_keep_zero() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(ValueError, match="got BatchNorm1d, ReLU, behind which units of zero still add something"):
        ablate_regions(model, find_taps([Route("0", RULE, SMALL)], model), ["a"], "slice", {})
    route = Route("2", RULE, SMALL)
    compare(
        model, route,
        lambda model, taps: ablate_regions(model, taps, ["a"], "slice", {}),
        lambda x: replace_regions(x, route, ["a"]), (5, 4),
    )  # fmt: skip


def test_two_places_of_the_same_units_have_means_of_their_own() -> None:
    act = nn.Sigmoid()
    routes = [Route("0", RULE, {"a": "0:2", "b": "rest"}), Route("1", RULE, {"c": "2:4", "d": "rest"})]
    model = chain(act).eval()
    low, high = torch.randn(6), torch.randn(6)
    x = torch.randn(5, 4)
    handles = [
        hook_tensor(model.get_submodule("0"), "output", lambda x: replace_regions(x, routes[0], ["a"], low), "low"),
        hook_tensor(model.get_submodule("1"), "output", lambda x: replace_regions(x, routes[1], ["c"], high), "high"),
    ]
    expected = model(x)
    for handle in handles:
        handle.remove()
    taps = find_taps(routes, model)
    ablate_regions(model, taps, ["a", "c"], "mean", {taps[0].key: low, taps[1].key: high})
    torch.testing.assert_close(model(x), expected)
