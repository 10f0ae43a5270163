import re
from typing import Any

import pytest
import torch
from torch import nn

from lightning_vista.routing.learning_rates import ScaledRates, find_multipliers, freeze_parameters, split_groups


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))


def step(net: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    optimizer.zero_grad()
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(number))
    net(inputs).square().mean().backward()
    optimizer.step()


def test_patterns_choose_factors() -> None:
    net = model()
    names = {parameter: name for name, parameter in net.named_parameters()}
    found = find_multipliers(net, {"1.*": 3.0, "1.0.weight": 3.0, "0.bias": 2.0})
    assert {names[p]: factor for p, factor in found.items()} == {
        "0.bias": 2.0, "1.0.weight": 3.0, "1.0.bias": 3.0, "1.1.weight": 3.0, "1.1.bias": 3.0
    }  # fmt: skip


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ValueError, match="learning-rate multipliers") as caught:
        find_multipliers(model(), {"1.*": 3.0, "*.weight": 2.0, "1.0.wieght": 1.0, "0.bias": 0.0})
    told = str(caught.value)
    assert re.search(r"3 of '1\.\*' and 2 of '\*\.weight' for '1\.0\.weight'", told)
    assert re.search(r"got '1\.0\.wieght'. Did you mean one of \['1\.0\.weight'", told)
    assert "factors above 0, got 0.0 for '0.bias'" in told
    with pytest.raises(ValueError, match="`freeze`: expected a parameter .* Did you mean"):
        freeze_parameters(model(), ["2.weight"])


def test_groups_keep_their_options_and_names() -> None:
    net = model()
    named = list(net.named_parameters())
    groups: list[dict[str, Any]] = [{"params": named[:2], "weight_decay": 0.5}, {"params": named[2:]}]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    parts = split_groups(optimizer.param_groups, {named[1][1]: 10.0, named[5][1]: 10.0})
    assert [(part["param_names"], part["lr"], part["weight_decay"]) for part in parts] == [
        (["0.weight"], 0.1, 0.5),
        (["0.bias"], 1.0, 0.5),
        (["1.0.weight", "1.0.bias", "1.1.weight"], 0.1, 0.01),
        (["1.1.bias"], 1.0, 0.01),
    ]


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": True}, {"foreach": False}])
def test_steps_are_those_of_groups_by_hand(options: dict[str, Any]) -> None:
    ours, theirs = model(), model()
    scaled = torch.optim.AdamW(ours.parameters(), lr=0.1, **options)
    rates = ScaledRates(scaled, find_multipliers(ours, {"1.*": 0.2}))
    groups: list[dict[str, Any]] = [
        {"params": theirs[0].parameters()},
        {"params": theirs[1].parameters(), "lr": 0.1 * 0.2},
    ]
    by_hand = torch.optim.AdamW(groups, lr=0.1, **options)
    for number in range(4):
        step(ours, scaled, number)
        step(theirs, by_hand, number)
        assert len(scaled.param_groups) == 1
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    rates.remove()
    step(ours, scaled, 5)  # as before, without the factor
    by_hand.param_groups[1]["lr"] = 0.1
    step(theirs, by_hand, 5)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_optimizers_that_cannot_have_several_rates_are_refused() -> None:
    net = model()
    with pytest.raises(ValueError, match="learning rate for each parameter, such as AdamW, got LBFGS"):
        ScaledRates(torch.optim.LBFGS(net.parameters()), {})

    class Counting(torch.optim.SGD):
        def step(self, closure: None = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                group["count"] = group.get("count", 0) + 1

    optimizer = Counting(net.parameters(), lr=0.1)
    ScaledRates(optimizer, find_multipliers(net, {"0.*": 2.0}))
    with pytest.raises(ValueError, match=r"got Counting, which keeps \['count'\] by group"):
        optimizer.step()


def test_a_step_that_raises_leaves_nothing_behind() -> None:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    rates = ScaledRates(optimizer, find_multipliers(net, {"0.*": 2.0}))

    def fail() -> float:
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        optimizer.step(fail)
    step(net, optimizer, 0)
    assert len(optimizer.param_groups) == 1
    rates.remove()
    assert not optimizer._optimizer_step_pre_hooks


@pytest.mark.parametrize("by_name", [True, False])
def test_rates_that_a_closure_sets_have_the_factor_in_the_same_step(by_name: bool) -> None:
    ours, theirs = model(), model()
    scaled = torch.optim.SGD(ours.parameters(), lr=0.1)
    ScaledRates(scaled, find_multipliers(ours, {"1.*": 0.2}))
    by_hand = torch.optim.SGD([{"params": theirs[0].parameters()}, {"params": theirs[1].parameters()}], lr=0.1)
    inputs = torch.ones(2, ours[0].get_parameter("weight").shape[1])
    for number, rate in enumerate((0.3, 0.05)):

        def closure(rate: float = rate) -> float:
            assert len(scaled.param_groups) == 1
            scaled.param_groups[0]["lr"] = rate
            ours(inputs).sum().backward()
            return float(rate)

        scaled.zero_grad()
        result = scaled.step(closure=closure) if by_name else scaled.step(closure)
        assert result == rate
        assert scaled.param_groups[0]["lr"] == rate
        by_hand.zero_grad()
        theirs(inputs).sum().backward()
        for group, factor in zip(by_hand.param_groups, (1, 0.2), strict=True):
            group["lr"] = rate * factor
        by_hand.step()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, msg=f"step {number}")
