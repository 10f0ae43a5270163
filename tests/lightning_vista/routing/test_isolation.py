"""Blocked units stay as they are, and everything else is as without isolation."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Literal

import pytest
import torch
from tiny_networks import HEAD_DIM, gpt_neo, llama, run
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrize import register_parametrization
from torch.optim import SGD, Adafactor, Adagrad, Adam, AdamW, Optimizer, RMSprop

from lightning_vista.routing.isolation import OptimizerIsolation
from lightning_vista.routing.parameter_masks import block_gradients
from lightning_vista.routing.units import ParameterSlice, UnitGroup, UnknownStructureError, unit_group

OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "adamw": lambda groups: AdamW(groups, lr=0.1, weight_decay=0.3, foreach=False),
    "adamw-foreach": lambda groups: AdamW(groups, lr=0.1, weight_decay=0.3, foreach=True, amsgrad=True),
    "adamw-fused": lambda groups: AdamW(groups, lr=0.1, weight_decay=0.3, fused=True),
    "adam-l2": lambda groups: Adam(groups, lr=0.1, weight_decay=0.3),
    "sgd": lambda groups: SGD(groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.3),
    "rmsprop": lambda groups: RMSprop(groups, lr=0.1, momentum=0.9, centered=True),
    "adagrad": lambda groups: Adagrad(groups, lr=0.1, initial_accumulator_value=0.5),
}


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))


def two_groups(model: nn.Module) -> list[dict[str, Any]]:
    first, *others = model.parameters()
    return [{"params": [first]}, {"params": others, "weight_decay": 0.1}]


def draw_gradients(*models: nn.Module, seed: int) -> None:
    """The same random gradients for all."""
    for model in models:
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)


def tensors(model: nn.Module, optimizer: Optimizer) -> Iterator[tuple[str, str, Tensor]]:
    """All parameters and what the optimizer keeps about them, as (parameter, kind, tensor)."""
    for name, parameter in model.named_parameters():
        yield name, "parameter", parameter.detach()
        state = optimizer.state.get(parameter, {}).items()
        yield from ((name, key, value) for key, value in state if isinstance(value, Tensor) and value.dim())


def of_units(group: UnitGroup, units: list[int], parameter: str, tensor: Tensor, consumers: bool) -> Tensor:
    """True for the entries that belong to units."""
    mark = torch.zeros_like(tensor, dtype=torch.bool)
    for piece in group.producers + (group.consumers if consumers else ()):
        if piece.name == parameter:
            mark.index_fill_(piece.dim, torch.tensor(piece.entries(units)), True)
    return mark.fill_(True) if consumers and parameter in group.shared else mark


@pytest.mark.parametrize("strategy", ["gradient", "parameter"])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_only_blocked_entries_and_their_state_stay(
    model: nn.Sequential, make: Callable[[Any], Optimizer], strategy: Literal["gradient", "parameter"]
) -> None:
    plain = deepcopy(model)
    optimizer, other = make(two_groups(model)), make(two_groups(plain))
    isolation = OptimizerIsolation(optimizer, model, strategy)
    group, blocked = unit_group(model, "1"), [1, 4]
    for step in range(6):
        before = {(name, key): tensor.clone() for name, key, tensor in tensors(model, optimizer)}
        draw_gradients(model, plain, seed=step)
        isolation.block([(group, blocked)] if step not in (2, 3) else [])
        optimizer.step()
        other.step()
        free = {(name, key): tensor for name, key, tensor in tensors(plain, other)}
        for name, key, tensor in tensors(model, optimizer):
            mark = of_units(group, blocked, name, tensor, consumers=strategy == "parameter")
            assert torch.equal(tensor[~mark], free[name, key][~mark])
            if step not in (2, 3):
                assert torch.equal(tensor[mark], before.get((name, key), torch.zeros_like(tensor))[mark])


def test_blocked_steps_leave_no_trace_in_the_state(model: nn.Sequential) -> None:
    """Stochastic gradient descent with momentum, which counts no steps: as if blocked steps had not been."""
    later = deepcopy(model)
    optimizer, other = OPTIMIZERS["sgd"](model.parameters()), OPTIMIZERS["sgd"](later.parameters())
    isolation = OptimizerIsolation(optimizer, model)
    group = unit_group(model, "1")
    for step in range(5):
        draw_gradients(model, later, seed=step)
        isolation.block([(group, range(group.size))] if step < 3 else [])
        optimizer.step()
        if step >= 3:
            other.step()
    for piece in group.producers:
        torch.testing.assert_close(model.get_parameter(piece.name), later.get_parameter(piece.name))


def test_a_removed_hook_does_nothing_and_others_stay(model: nn.Sequential) -> None:
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    isolation = OptimizerIsolation(optimizer, model)
    isolation.block([(unit_group(model, "1"), [0])])
    isolation.remove()
    before = model.get_parameter("0.weight").detach().clone()
    draw_gradients(model, seed=0)
    optimizer.step()
    assert calls == [1]
    assert model.get_parameter("0.weight").ne(before).all()


def test_blocking_within_a_closure_works(model: nn.Sequential) -> None:
    """Lightning runs the backward pass in the closure of the step, after the step's first hooks."""
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    isolation = OptimizerIsolation(optimizer, model)
    before = model.get_parameter("0.weight").detach().clone()

    def closure() -> float:
        draw_gradients(model, seed=0)
        isolation.block([(unit_group(model, "1"), [0])])
        return 0.0

    optimizer.step(closure)
    assert torch.equal(
        (model.get_parameter("0.weight") != before).all(dim=1), torch.tensor([False, True, True, True, True])
    )


def test_parameters_of_another_optimizer_are_passed_by(model: nn.Sequential) -> None:
    optimizer = OPTIMIZERS["adamw"](model[2].parameters())
    isolation = OptimizerIsolation(optimizer, model, "parameter")
    draw_gradients(model, seed=0)
    before = model.get_parameter("2.weight").detach().clone()
    isolation.block([(unit_group(model, "1"), [0])])
    optimizer.step()
    assert torch.equal(model.get_parameter("2.weight")[:, 0], before[:, 0])
    assert (model.get_parameter("2.weight")[:, 1:] != before[:, 1:]).all()


def test_factored_states_are_refused(model: nn.Sequential) -> None:
    with pytest.raises(ValueError, match="got Adafactor"):
        OptimizerIsolation(Adafactor(model.parameters()), model)


def test_a_state_of_another_shape_is_refused(model: nn.Sequential) -> None:
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    isolation = OptimizerIsolation(optimizer, model)
    optimizer.state[model.get_parameter("0.weight")]["row_variance"] = torch.zeros(5)
    with pytest.raises(ValueError, match="got SGD"):
        isolation.block([(unit_group(model, "1"), [0])])


def test_weighed_gradients_are_those_of_weighed_units(model: nn.Sequential) -> None:
    group = unit_group(model, "1")
    weights = torch.tensor([1.0, 0.0, 0.5, -0.75, 1.0])
    draw_gradients(model, seed=0)
    before = {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    block_gradients(model, [(group, weights)])
    expected = {
        "0.weight": weights[:, None],
        "0.bias": weights,
        "2.weight": weights[None, :],
        "2.bias": torch.zeros(1),  # not all units are trained
    }
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, before[name] * expected.get(name, torch.ones(1)))


@pytest.mark.parametrize(("blocked", "keys"), [([0], 0), ([0, 1], HEAD_DIM), ([1, 2, 3], HEAD_DIM), ([0, 1, 2, 3], 8)])
def test_shared_keys_are_blocked_with_the_last_of_their_heads(blocked: list[int], keys: int) -> None:
    model = llama()
    attention = model.get_submodule("model.layers.0.self_attn")
    group = unit_group(model, "model.layers.0.self_attn.o_proj", "input", HEAD_DIM)
    torch.autograd.backward(run(model).pow(2).sum())
    block_gradients(model, [(group, torch.ones(4).index_fill_(0, torch.tensor(blocked), 0))])
    for child, rows in {"q_proj": len(blocked) * HEAD_DIM, "k_proj": keys, "v_proj": keys}.items():
        gradient = attention.get_parameter(f"{child}.weight").grad
        assert gradient is not None
        assert gradient.eq(0).all(dim=1).sum() == rows


def test_parameters_without_a_gradient_are_passed_by() -> None:
    model = gpt_neo()
    block_gradients(model, [(unit_group(model, "transformer.h.0.mlp.act"), torch.zeros(24))])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_parameters_that_pruning_or_parametrization_renames_stay_isolated(model: nn.Sequential) -> None:
    group = unit_group(model, "1")
    optimizer = AdamW(model.parameters(), lr=0.1, weight_decay=0.3)
    isolation = OptimizerIsolation(optimizer, model, "parameter")
    prune.random_unstructured(model[0], "weight", 2)
    register_parametrization(model[2], "weight", nn.Tanh(), unsafe=True)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    draw_gradients(model, seed=0)
    isolation.block([(group, [1, 3])])
    optimizer.step()
    for name, dim in (("0.weight_orig", 0), ("0.bias", 0), ("2.parametrizations.weight.original", 1)):
        moved = (model.get_parameter(name) != before[name]).movedim(dim, 0).flatten(1 if dim or "weight" in name else 0)
        assert not moved[[1, 3]].any(), name
        assert moved[[0, 2, 4]].all(), name
    prune.remove(model[0], "weight")
    isolation.block([(group, [1, 3])])
    optimizer.step()
    kept = model.get_parameter("0.weight")[[1, 3]]
    assert torch.equal(kept, before["0.weight_orig"][[1, 3]] * (kept != 0))


def test_parameters_that_a_model_has_lost_are_told(model: nn.Sequential) -> None:
    group = unit_group(model, "1")
    isolation = OptimizerIsolation(SGD(model.parameters(), lr=0.1), model)
    model[0] = nn.Sequential(nn.Linear(3, 5))
    with pytest.raises(UnknownStructureError, match=r"a model without \['0.bias', '0.weight'\]. Change modules before"):
        isolation.block([(group, [1])])
    with pytest.raises(UnknownStructureError, match=r"a model without \['0.weight', '0.bias'\]. Find units again"):
        block_gradients(model, [(group, torch.zeros(5))])


def test_parameters_of_a_module_with_two_names_are_isolated_by_either() -> None:
    layer = nn.Linear(3, 5)
    model = nn.ModuleDict({"alias": layer, "net": nn.Sequential(layer, nn.ReLU(), nn.Linear(5, 2))})
    optimizer = AdamW(model.parameters(), lr=0.1, weight_decay=0.3)
    isolation = OptimizerIsolation(optimizer, model)
    draw_gradients(model, seed=0)
    before = layer.weight.detach().clone()
    rows = [ParameterSlice(name, dim=0) for name in ("net.0.weight", "net.0.bias")]
    isolation.block([(UnitGroup(5, tuple(rows)), [1])])
    optimizer.step()
    assert torch.equal(layer.weight[1], before[1])
    assert (layer.weight[2:] != before[2:]).all()
