"""Channels are in dimension 1: a route that forgets it would train columns of images apart."""

from typing import Any

import pytest
import torch
from tiny_networks import convolutional_chain, gpt_neo, residual_network
from torch import nn

from lightning_vista.routing import LabelRule, Route, Router, RoutingError, UnknownStructureError, expand, unit_group

RULE = LabelRule("label", {"low": [0], "high": [1]})


def unknown_channels() -> nn.Module:
    """Structures whose parameters are not known, with channels all the same."""
    return nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.MaxPool2d(2), nn.GroupNorm(2, 4), nn.BatchNorm2d(4))


@pytest.mark.parametrize(
    ("network", "module", "at"),
    [
        (convolutional_chain, "0", "output"),
        (convolutional_chain, "2", "output"),  # an activation, whose makers tell
        (convolutional_chain, "4", "input"),
        (residual_network, "layer2", "output"),
        (residual_network, "layer1.0.bn2", "output"),
        (lambda: nn.Sequential(nn.ConvTranspose1d(2, 4, 3)), "0", "output"),
        *((unknown_channels, str(number), at) for number in range(4) for at in ("output", "input")),
    ],
)
def test_a_forgotten_dimension_is_refused(network: Any, module: str, at: Any) -> None:
    route = Route(module, RULE, {"low": "0:1", "high": "rest"}, at=at)
    with pytest.raises(RoutingError, match=rf"`dim`: expected 1 .*'{module}'.*got -1. Set `dim=1`"):
        Router([route]).attach(network())
    with pytest.raises(UnknownStructureError, match="Set `dim=1`"):
        expand(network(), module, 1, at)


def test_channels_where_units_are_last_are_refused_too() -> None:
    route = Route("transformer.h.0.mlp.act", RULE, {"low": "0:1", "high": "rest"}, dim=1)
    with pytest.raises(RoutingError, match=r"Set `dim=-1`"):
        Router([route]).attach(gpt_neo())


def test_the_right_dimension_routes_channels() -> None:
    model = unknown_channels()
    router = Router([Route("0", RULE, {"low": "0:1", "high": "rest"}, dim=1)])
    router.attach(model)
    with router.memberships({"high": torch.ones(2)}):
        model(torch.randn(2, 4, 6, 6)).square().sum().backward()
    gradient = model.get_parameter("0.weight").grad
    assert gradient is not None
    assert gradient.flatten(1).any(dim=1).tolist() == [False, True, True, True]
    assert unit_group(convolutional_chain(), "0", dim=1).size == 6
