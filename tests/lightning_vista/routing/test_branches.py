"""A branch beside an MLP: silent at first, routed as a whole, taken away without a trace."""

from typing import Any

import pytest
import torch
from tiny_networks import HIDDEN, gpt2, gpt_neo, llama, run
from torch import nn

from lightning_vista.routing import LabelRule, Route, Router, unit_group
from lightning_vista.routing.surgery import Branches, add_branch, cut_branch

MLPS = [
    (gpt_neo, "transformer.h.0.mlp", "act", "output"),
    (gpt2, "transformer.h.1.mlp", "act", "output"),
    (llama, "model.layers.0.mlp", "down_proj", "input"),
]


@pytest.mark.parametrize(("network", "module", "hidden", "at"), MLPS)
@pytest.mark.parametrize("num_units", [5, HIDDEN, HIDDEN + 3])
def test_a_branch_is_silent_and_leaves_no_trace(
    network: Any, module: str, hidden: str, at: Any, num_units: int
) -> None:
    model = network().eval()
    before, shown = run(model), str(model)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    branches = add_branch(model, module, num_units, hidden, at)
    assert unit_group(branches.new, hidden, at).size == num_units
    assert unit_group(branches.old, hidden, at).size == HIDDEN
    torch.testing.assert_close(run(model), before, rtol=0, atol=0)
    cut_branch(model, module)
    assert str(model) == shown
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_both_parts_are_routed_with_what_reads_their_units() -> None:
    model = gpt_neo()
    add_branch(model, "transformer.h.0.mlp", 5)
    rule = LabelRule("known", {"forget": [1], "retain": [0]})
    block = "transformer.h.0.mlp"
    routes = [
        Route(f"{block}.old", rule, {"old": "rest"}, weights={"forget": {"old": 0.0}, "retain": {"old": 1.0}}),
        Route(
            f"{block}.new", rule, {"new": "rest"}, weights={"forget": {"new": 1.0}, "retain": {"new": 1.0}},
            forward={"retain": ["new"]},
        ),
    ]  # fmt: skip
    router = Router(routes)
    router.attach(model)
    for known, trained, other in ((1, "new", "old"), (0, "old", "new")):
        model.zero_grad()
        router.compute({"known": torch.tensor([known, known])})
        outputs: Any = model(input_ids=torch.tensor([[1, 2, 3], [4, 5, 6]]))
        outputs.logits.square().sum().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if n.startswith(block) and p.grad is not None}
        assert gradients[f"{block}.{trained}.c_proj.weight"].any()
        assert not any(gradient.any() for name, gradient in gradients.items() if f".{other}." in name)


def test_wrong_branches_are_refused() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="at least one unit"):
        add_branch(model, "0", 0, "1")
    with pytest.raises(ValueError, match="expected a module with a branch, got a Sequential"):
        cut_branch(model, "0")
    assert isinstance(add_branch(model, "0", 2, "1"), Branches)
    with pytest.raises(ValueError, match="expected a module without a branch"):
        add_branch(model, "0", 2, "1")
