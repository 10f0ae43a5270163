"""Every option of routing that is a word is checked where it enters, in Python as in YAML."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lightning_vista.callbacks import Ablation, BranchExpansion, Expansion, GradientRouting
from lightning_vista.routing import LabelRule, PartialLabels, Route, Router, ablate, add_branch, expand, unit_group
from lightning_vista.routing.hooking import hook_tensor
from lightning_vista.routing.isolation import OptimizerIsolation
from lightning_vista.routing.masking import anneal
from lightning_vista.routing.place import Place
from lightning_vista.routing.steering import steering

WRONG: Any = "mistake"
RULE = LabelRule("label", {"low": [0], "high": [1]})


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))


def route(**options: Any) -> Route:
    return Route("0", RULE, {"low": "0:2", "high": "rest"}, **options)


def steer() -> None:
    with steering(network(), "0", amount=1.0, at=WRONG):
        pass


def isolate(strategy: Any) -> OptimizerIsolation:
    model = network()
    return OptimizerIsolation(torch.optim.SGD(model.parameters(), lr=0.1), model, strategy)


@pytest.mark.parametrize(
    ("option", "allowed", "make"),
    [
        ("strategy", "'gradient', 'parameter', 'activation'", lambda: Router([route()], strategy=WRONG)),
        ("strategy", "'gradient', 'parameter', 'activation'", lambda: GradientRouting([route()], strategy=WRONG)),
        ("strategy", "'gradient', 'parameter', 'activation'", lambda: isolate(WRONG)),
        ("mask_weight_mode", "'anneal', 'scale'", lambda: Router([route()], mask_weight_mode=WRONG)),
        ("mask_weight_mode", "'anneal', 'scale'", lambda: GradientRouting([route()], mask_weight_mode=WRONG)),
        ("mode", "'anneal', 'scale'", lambda: anneal(torch.ones(1), 0.5, WRONG)),
        ("at", "'output', 'input', 'experts'", lambda: route(at=WRONG)),
        ("at", "'output', 'input', 'experts'", lambda: Place(("0",), at=WRONG)),
        ("at", "'output', 'input', 'experts'", lambda: unit_group(network(), "1", at=WRONG)),
        ("at", "'output', 'input', 'experts'", lambda: expand(network(), "1", 1, at=WRONG)),
        ("at", "'output', 'input', 'experts'", lambda: add_branch(nn.Sequential(network()), "0", 1, "1", at=WRONG)),
        ("at", "'output', 'input', 'experts'", lambda: hook_tensor(network(), WRONG, torch.neg, "0")),
        ("at", "'output', 'input', 'experts'", steer),
        ("at", "'output', 'input', 'experts'", lambda: Expansion(["1"], 1, at=WRONG)),
        ("at", "'output', 'input', 'experts'", lambda: BranchExpansion(["1"], 1, at=WRONG)),
        ("at", "'test', 'end'", lambda: Ablation(["low"], at=WRONG)),
        ("mode", "'slice', 'zero', 'mean'", lambda: Ablation(["low"], mode=WRONG)),
        ("mode", "'slice', 'zero', 'mean'", lambda: ablate(network(), unit_group(network(), "1"), [0], mode=WRONG)),
        ("init", "'zero_consumers', 'normal'", lambda: expand(network(), "1", 1, init=WRONG)),
        ("init", "'zero_consumers', 'normal'", lambda: Expansion(["1"], 1, init=WRONG)),
        ("unlabelled", "'default', 'retain'", lambda: PartialLabels(RULE, "known", unlabelled=WRONG)),
    ],
)
def test_other_words_are_refused(option: str, allowed: str, make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=f"`{option}`: expected one of {allowed}, got 'mistake'"):
        make()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_dim": 2}, "`batch_dim`: expected 0 or 1, got 2"),
        ({"unit_size": 0}, "`unit_size`: expected at least 1, got 0"),
    ],
)
def test_other_numbers_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        route(**options)


def test_words_that_are_nearly_right_are_refused_with_the_right_one() -> None:
    for option, word, meant in (("strategy", "grad", "gradient"), ("mask_weight_mode", "annealed", "anneal")):
        with pytest.raises(ValueError, match=rf"got '{word}'\. Did you mean '{meant}'\?"):
            Router([route()], **{option: word})  # type: ignore[arg-type]
