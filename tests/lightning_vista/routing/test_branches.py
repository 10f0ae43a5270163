"""A branch beside an MLP: silent at first, routed as a whole, taken away without a trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from tiny_networks import HIDDEN, WIDTH, gpt2, gpt_neo, llama, randomised, run
from torch import nn

from lightning_vista.routing import LabelRule, Route, Router, unit_group
from lightning_vista.routing.place import Place
from lightning_vista.routing.surgery import Branches, add_branch, cut_branch, merge_branch, pad_units
from lightning_vista.routing.units import UnknownStructureError

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
    assert unit_group(branches.get_submodule("new"), hidden, at).size == num_units
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
    for name in ("new", "old", "forward", "two words", "a.b"):
        with pytest.raises(
            ValueError, match=f"`branch`: expected an identifier that '0' does not use yet, got {name!r}"
        ):
            add_branch(model, "0", 2, "1", branch=name)
    with pytest.raises(ValueError, match=r"`branch`: expected one of \['new'\], the branches of '0', got 'bio'"):
        cut_branch(model, "0", "bio")


def test_a_wrong_name_of_hidden_units_is_named_with_those_of_the_mlp() -> None:
    """The name by default, `act`, is that of GPT-2; in a gated MLP the error once did not say which option is wrong."""
    with pytest.raises(
        UnknownStructureError, match=r"`hidden`: expected one of \['gate_proj', .*a LlamaMLP, got 'act'"
    ):
        add_branch(llama(), "model.layers.0.mlp", 2, "act")


@pytest.mark.parametrize(("network", "module", "hidden", "at"), MLPS)
def test_named_branches_stand_together_and_are_cut_one_by_one(network: Any, module: str, hidden: str, at: Any) -> None:
    model = network().eval()
    before, shown = run(model), str(model)
    for name, units in (("bio", 5), ("cyber", 3)):
        branches = add_branch(model, module, units, hidden, at, branch=name)
    torch.testing.assert_close(run(model), before, rtol=0, atol=0)
    assert branches.names == ["bio", "cyber"]
    for name in branches.names:
        randomised(branches.get_submodule(name))
    parts = {name: branches.get_submodule(name) for name in ("old", "bio", "cyber")}
    x = torch.randn(2, WIDTH, dtype=torch.float64)
    torch.testing.assert_close(branches(x), sum(part(x) for part in parts.values()))
    cut_branch(model, module, "bio")
    torch.testing.assert_close(model.get_submodule(module)(x), parts["old"](x) + parts["cyber"](x))
    cut_branch(model, module, "cyber")
    torch.testing.assert_close(run(model), before, rtol=0, atol=0)
    assert str(model) == shown


def test_a_branch_has_biases_of_its_own_where_it_is_asked_for() -> None:
    biases = []
    for bias in (False, True):
        model = llama(mlp_bias=False)
        before = run(model)
        branch = add_branch(model, "model.layers.0.mlp", 5, "down_proj", "input", bias=bias).get_submodule("new")
        torch.testing.assert_close(run(model), before, rtol=0, atol=0)
        biases.append({name: len(value) for name, value in branch.named_parameters() if "bias" in name})
    assert biases == [{}, {"gate_proj.bias": 5, "up_proj.bias": 5, "down_proj.bias": WIDTH}]


@pytest.mark.parametrize(("network", "module", "hidden", "at"), MLPS)
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0])
def test_a_merged_branch_computes_the_same_in_a_wider_mlp(
    network: Any, module: str, hidden: str, at: Any, scale: float
) -> None:
    model = network().eval()
    for name, units in (("bio", 5), ("cyber", 3)):
        randomised(add_branch(model, module, units, hidden, at, branch=name).get_submodule(name))
    with scaled(model.get_submodule(f"{module}.bio"), scale):
        expected = run(model)
    # One branch stays beside the wider MLP, and is merged in turn.
    merge_branch(model, module, "bio", scale)
    torch.testing.assert_close(run(model), expected)
    merge_branch(model, module, "cyber")
    torch.testing.assert_close(run(model), expected)
    assert unit_group(model, f"{module}.{hidden}", at).size == HIDDEN + 8
    assert type(model.get_submodule(module)) is type(network().get_submodule(module))


def test_biases_of_branches_come_along_where_the_mlp_has_none() -> None:
    model = llama(mlp_bias=False)
    branch = add_branch(model, "model.layers.0.mlp", 5, "down_proj", "input", bias=True).get_submodule("new")
    randomised(branch)
    expected = run(model)
    merge_branch(model, "model.layers.0.mlp", "new")
    torch.testing.assert_close(run(model), expected)


def test_padded_mlps_make_a_configuration_of_one_width_again() -> None:
    model: Any = gpt_neo()
    mlps = [f"transformer.h.{layer}.mlp" for layer in range(2)]
    randomised(add_branch(model, mlps[1], 5, branch="bio").get_submodule("bio"))
    expected = run(model)
    merge_branch(model, mlps[1], "bio")
    assert model.config.intermediate_size == HIDDEN
    pad_units(model, mlps, Place(("act",)))
    assert model.config.intermediate_size == HIDDEN + 5
    torch.testing.assert_close(run(model), expected)
    plain = type(model)(model.config).double()
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(run(plain.eval()), expected)


def test_an_mlp_with_a_norm_inside_is_not_merged() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)))
    add_branch(model, "0", 2, "0")
    with pytest.raises(ValueError, match="'0': expected hidden units that one layer reads, got norms before it too"):
        merge_branch(model, "0", "new")


@contextmanager
def scaled(module: nn.Module, factor: float) -> Iterator[None]:
    """Multiply what a module returns within the context."""
    handle = module.register_forward_hook(lambda _, args, output: factor * output)
    yield
    handle.remove()


@pytest.mark.parametrize(
    "scaling",
    [nn.LayerNorm(4), nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.PReLU()],
    ids=lambda module: type(module).__name__,
)
def test_a_branch_with_a_constant_scale_learns(scaling: nn.Module) -> None:
    torch.manual_seed(0)
    mlp = nn.Sequential(scaling, nn.Linear(4, 6, bias=False), nn.GELU(), nn.Linear(6, 4, bias=False))
    model = nn.Sequential(mlp)
    branch = add_branch(model, "0", 3, hidden="2").new
    assert isinstance(branch, nn.Sequential)
    for name, parameter in scaling.named_parameters():
        assert torch.equal(branch[0].get_parameter(name), parameter), name
    before = {name: parameter.detach().clone() for name, parameter in branch.named_parameters()}
    optimizer = torch.optim.SGD(branch.parameters(), lr=0.1)
    inputs, targets = torch.randn(8, 4), torch.randn(8, 4)
    for _ in range(3):
        optimizer.zero_grad()
        (model(inputs) - targets).square().mean().backward()
        optimizer.step()
    for name, parameter in branch.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("hidden", ["0", "2"])
def test_norms_between_makers_and_readers_are_those_of_new_units(hidden: str) -> None:
    mlp = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))
    branch = add_branch(nn.Sequential(mlp), "0", 8, hidden=hidden).new
    assert isinstance(branch, nn.Sequential)
    norm, reader = branch[1], branch[3]
    assert torch.equal(norm.get_parameter("weight"), torch.ones(8))
    assert not reader.get_parameter("weight").any()
