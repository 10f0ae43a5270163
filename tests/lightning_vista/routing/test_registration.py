"""Families of the user's own: a registered function describes them, for routes, surgery and isolation alike."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_vista.routing import (
    Hidden,
    LabelRule,
    ParameterSlice,
    Route,
    Router,
    UnitGroup,
    UnknownStructureError,
    ablate,
    expand,
    unit_group,
)
from lightning_vista.routing.units.hidden import REGISTERED


class GatedMLP(nn.Module):
    """A gated MLP with names that the package does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.gate(x).sigmoid() * self.up(x))
        return y


class Table(nn.Module):
    """A learned table, whose columns are what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.randn(3, 5))

    def forward(self, index: Tensor) -> Tensor:
        return self.values[index]


class Subclass(GatedMLP):
    """A module of a registered class, by inheritance."""


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    @unit_group.register(GatedMLP)
    def gated(module: GatedMLP) -> Hidden:
        return Hidden(writers=("gate", "up"), reader="down")

    @unit_group.register(Table)
    def columns(module: Table) -> UnitGroup:
        return UnitGroup(module.values.shape[1], producers=(ParameterSlice("values", dim=1),))

    yield
    for kind in (GatedMLP, Table, Subclass):
        REGISTERED.pop(kind, None)


@pytest.mark.parametrize("kind", [GatedMLP, Subclass])
def test_hidden_units_are_found_resized_and_isolated(kind: type[GatedMLP]) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"block": kind()})
    x = torch.randn(7, 4)
    before = model["block"](x)
    group = expand(model, "block.down", 2, at="input")
    assert group.size == 8
    torch.testing.assert_close(model["block"](x), before)
    ablate(model, group, [6, 7])
    assert torch.equal(model["block"](x), before)
    route = Route(
        "block.down", LabelRule("label", {"low": [0], "high": [1]}), {"low": "0:2", "high": "rest"}, at="input"
    )
    router = Router([route])
    router.attach(model, isolates=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    router.guard(optimizer)
    old = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with router.memberships({"low": torch.zeros(7), "high": torch.ones(7)}):
        model["block"](x).square().sum().backward()
        optimizer.step()
    router.detach()
    for name, parameter in model.named_parameters():
        moved = parameter != old[name]
        is_maker = "down" not in name
        assert not (is_maker and moved[:2].any()), name
        assert moved[2:].all(), name


def test_a_function_may_describe_what_a_module_returns() -> None:
    model = nn.ModuleDict({"table": Table()})
    assert unit_group(model, "table") == UnitGroup(5, (ParameterSlice("table.values", dim=1),))
    assert unit_group(Table(), "").producers[0].name == "values"


def test_the_function_of_the_subclass_comes_first() -> None:
    @unit_group.register(Subclass)
    def nothing(module: Subclass) -> None:
        return None

    with pytest.raises(RuntimeError, match="parameters that make"):
        _check(unit_group(nn.ModuleDict({"block": Subclass()}), "block.down", "input"))
    _check(unit_group(nn.ModuleDict({"block": GatedMLP()}), "block.down", "input"))


def _check(group: UnitGroup) -> None:
    if missing := group.missing():
        raise RuntimeError(missing)


def test_a_description_that_does_not_fit_is_an_error() -> None:
    @unit_group.register(GatedMLP)
    def wrong(module: GatedMLP) -> Hidden:
        return Hidden(writers=("gate", "upp"), reader="down")

    with pytest.raises(UnknownStructureError, match=r"'block': expected the layers registered for GatedMLP.*'upp'"):
        unit_group(nn.ModuleDict({"block": GatedMLP()}), "block.down", "input")


def test_the_example_of_the_docs_runs() -> None:
    page = (Path(__file__).parents[3] / "docs" / "families.md").read_text(encoding="utf-8")
    exec(compile(page.split("```python\n")[1].split("```")[0], "docs/families.md", "exec"), {})
