import pytest
import torch
from routing_oracles import SUBJECTS, by_formula, gradients
from torch import nn

from lightning_vista.routing import LabelRule, Route, Router
from lightning_vista.routing.reach import reach
from lightning_vista.routing.regions import RegionSpec

RULE = LabelRule("label", {"low": [0], "high": [1], "other": [2]})
REGIONS: dict[str, RegionSpec] = {"low": "0:1", "high": "rest"}


def test_shares_are_those_of_a_hand_made_network() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 3))
    router = Router([Route("0", RULE, {"low": "0:1", "high": "rest"})])
    router.attach(model)
    found = reach(model, [router], 5, lambda: model(torch.ones(5, 2)).sum())
    assert found == {
        "0.weight": {"low": 0.25, "high": 0.75, "other": 0.0},
        "0.bias": {"low": 0.25, "high": 0.75, "other": 0.0},
        "1.weight": {"low": 1.0, "high": 1.0, "other": 1.0},
        "1.bias": {"low": 1.0, "high": 1.0, "other": 1.0},
    }


@pytest.mark.parametrize(
    ("name", "site"),
    [("mlp", "pairs"), ("resnet", "stage"), ("vit", "heads"), ("gpt_neo", "hidden"), ("llama", "heads")],
)
def test_reached_is_what_the_formula_gives_a_gradient(name: str, site: str) -> None:
    subject = SUBJECTS[name]()
    module, at, dim, unit_size, _ = subject.sites[site]
    route = Route(module, RULE, REGIONS, at, dim, unit_size)
    masks: dict[str, dict[str, torch.Tensor]] = {}
    for number, group in enumerate(RULE.groups):
        members = torch.zeros(len(subject.inputs), 3, dtype=torch.float64)
        members[:, number] = 1
        with by_formula(subject.model, module, route, members):
            found = gradients(subject.model, lambda: subject.loss(subject.inputs))
        masks[group] = {name: gradient != 0 for name, gradient in found.items()}
    router = Router([route])
    router.attach(subject.model)
    ours = reach(subject.model, [router], len(subject.inputs), lambda: subject.loss(subject.inputs))
    assert set(ours) == set(masks["low"])
    for parameter, shares in ours.items():
        union = torch.stack([masks[group][parameter] for group in RULE.groups]).any(0).sum().item()
        for group in RULE.groups:
            assert shares[group] == pytest.approx(masks[group][parameter].sum().item() / max(union, 1))


def test_everything_is_as_before() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    router = Router([Route("0", RULE, REGIONS)])
    router.attach(model)
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    reach(model, [router], 3, lambda: model(torch.randn(3, 2)).square().sum())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert router.taps[0].weights is None
    assert router.taps[0].noted is None


def test_parameter_masking_and_several_routers() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    first = Router([Route("1", LabelRule("label", {"low": [0]}), {"low": "0:1", "high": "rest"})], strategy="parameter")
    second = Router([Route("3", LabelRule("label", {"high": [0]}), {"low": "0:1", "high": "rest"})])
    for router in (first, second):
        router.attach(model)
    found = reach(model, [first, second], 3, lambda: model(torch.ones(3, 2)).sum())
    assert found["0.weight"] == {"low": 0.25, "high": 1.0}
    assert found["4.weight"] == {"low": 1.0, "high": 1.0}


def test_no_routers_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least one router"):
        reach(nn.Linear(1, 1), [], 1, lambda: torch.zeros(()))
