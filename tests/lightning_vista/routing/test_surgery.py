"""Expansion leaves what a model computes, ablation takes exactly the new units away again."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from tiny_networks import (
    HEAD_DIM,
    HIDDEN,
    Tapped,
    convolutional_chain,
    encoder_layer,
    gpt2,
    gpt_neo,
    linear_chain,
    llama,
    run,
    transformers,
    vision_transformer,
)
from torch import Tensor, nn

from lightning_vista.routing.surgery import ablate, expand
from lightning_vista.routing.units import UnitGroup, UnknownStructureError, unit_group

EXPANDABLE = [
    Tapped(gpt_neo, "transformer.h.0.mlp.act"),
    Tapped(gpt_neo, "transformer.h.1.attn.attention.out_proj", "input", HEAD_DIM),
    Tapped(gpt2, "transformer.h.1.mlp.act"),
    Tapped(gpt2, "transformer.h.0.attn.c_proj", "input", HEAD_DIM),
    Tapped(llama, "model.layers.0.mlp.down_proj", "input"),
    Tapped(llama, "model.layers.1.self_attn.o_proj", "input", HEAD_DIM),
    Tapped(vision_transformer, "blocks.0.attn.proj", "input", HEAD_DIM),
    Tapped(encoder_layer, "linear1"),
    Tapped(linear_chain, "0.2"),
    Tapped(convolutional_chain, "2", dim=1),
    Tapped(convolutional_chain, "5", dim=1),
]


def name(tapped: Tapped) -> str:
    return f"{tapped.network.__name__}-{tapped.module}"


def place(tapped: Tapped) -> dict[str, Any]:
    return {"module": tapped.module, "at": tapped.at, "unit_size": tapped.unit_size, "dim": tapped.dim}


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    assert list(model.state_dict()) == list(state)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("tapped", EXPANDABLE, ids=name)
def test_expansion_preserves_outputs_and_ablation_the_state(tapped: Tapped) -> None:
    model = tapped.network().eval()
    before, state, shown = run(model), state_of(model), str(model)
    old = unit_group(model, **place(tapped)).size
    group = expand(model, num_units=4, **place(tapped))
    assert group.size == old + 4
    torch.testing.assert_close(run(model), before, rtol=0, atol=1e-12)
    ablate(model, group, range(old, old + 4))
    assert str(model) == shown
    assert_same_state(model, state)
    torch.testing.assert_close(run(model), before, rtol=0, atol=0)


@pytest.mark.parametrize("tapped", EXPANDABLE, ids=name)
def test_new_units_are_drawn_at_the_layers_scale(tapped: Tapped) -> None:
    model = tapped.network().eval()
    before = run(model)
    group = expand(model, num_units=200, init="normal", **place(tapped))
    assert not torch.allclose(run(model), before)
    new = range(group.size - 200, group.size)
    for piece in (*group.producers, *group.consumers):
        weight = model.get_parameter(piece.name).detach()
        if weight.dim() == 1:
            continue
        drawn = piece.select(weight, new)
        kept = piece.select(weight, range(group.size - 200))
        assert kept.std() / 2.5 < drawn.std() < kept.std() * 2.5
        assert drawn.mean().abs() < 0.5


@pytest.mark.parametrize("tapped", EXPANDABLE, ids=name)
def test_slicing_is_zeroing(tapped: Tapped) -> None:
    model = tapped.network().eval()
    group = unit_group(model, **place(tapped))
    units = [0, 1]  # heads of one key in Llama
    before = run(model)
    zeroed = deepcopy(model)
    ablate(model, group, units, "slice")
    ablate(zeroed, group, units, "zero")
    torch.testing.assert_close(run(model), run(zeroed))
    assert not torch.allclose(run(model), before, atol=1e-3)
    assert unit_group(model, **place(tapped)).size == group.size - 2


@pytest.mark.parametrize("tapped", EXPANDABLE[:3], ids=name)
def test_mean_ablation_puts_the_mean_in_the_place_of_units(tapped: Tapped) -> None:
    model = tapped.network().eval()
    group = unit_group(model, **place(tapped))
    means = torch.randn(group.size * tapped.unit_size, dtype=torch.float64)
    units = [group.size - 1, 0]

    def replace(x: Tensor) -> Tensor:
        entries = torch.arange(len(means)).view(group.size, -1)[units].flatten()
        return x.index_copy(-1, entries, means[entries].expand(*x.shape[:-1], -1))

    module = model.get_submodule(tapped.module)
    if tapped.at == "output":
        handle = module.register_forward_hook(lambda module, args, output: replace(output))
    else:
        handle = module.register_forward_pre_hook(lambda module, args: replace(args[0]))
    expected = run(model)
    handle.remove()
    ablate(model, group, units, "mean", means)
    torch.testing.assert_close(run(model), expected)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(run(model).pow(2).sum())
    optimizer.step()


def assert_zero_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, group: UnitGroup, units: Sequence[int]
) -> None:
    for piece in (*group.producers, *group.consumers):
        parameter = model.get_parameter(piece.name)
        for tensor in (parameter.detach(), *list(optimizer.state[parameter].values())[1:]):  # the first counts steps
            assert not piece.select(tensor, units).any()


@pytest.mark.parametrize("mode", ["slice", "zero"])
@pytest.mark.parametrize("tapped", EXPANDABLE[:6], ids=name)
def test_the_optimizer_follows(tapped: Tapped, mode: Literal["slice", "zero"]) -> None:
    """Until the columns of new units, which start at zero, have moved, all else trains as without them."""
    model = tapped.network().eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    step(model, optimizer)
    twin = deepcopy(model)
    other = torch.optim.AdamW(twin.parameters(), lr=1e-3)
    other.load_state_dict(deepcopy(optimizer.state_dict()))

    old = unit_group(model, **place(tapped)).size
    group = expand(model, num_units=2, optimizer=optimizer, **place(tapped))
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in model.parameters()}
    step(model, optimizer)
    step(twin, other)
    ablate(model, group, range(old, old + 2), mode, optimizer=optimizer)
    if mode == "zero":
        assert_zero_state(model, optimizer, group, range(old, old + 2))
        ablate(model, group, range(old, old + 2), optimizer=optimizer)
    for parameter, same in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter, same)
        for key, value in optimizer.state[parameter].items():
            torch.testing.assert_close(value, other.state[same][key])
    assert len(optimizer.state) == len(other.state)


def reloaded(model: nn.Module, folder: Path) -> nn.Module:
    assert isinstance(model, transformers.PreTrainedModel)
    model.save_pretrained(folder)
    loaded: nn.Module = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return loaded.double().eval()


@pytest.mark.parametrize(
    ("network", "module", "at"),
    [
        (gpt_neo, "transformer.h.0.mlp.act", "output"),
        (gpt2, "transformer.h.0.mlp.act", "output"),
        (llama, "model.layers.1.mlp.down_proj", "input"),
    ],
)
def test_a_checkpoint_loads_plainly_after_ablation(
    network: Callable[[], nn.Module], module: str, at: Literal["output", "input"], tmp_path: Path
) -> None:
    model: Any = network().eval()
    config, before = model.config.to_dict(), run(model)
    group = expand(model, module, 4, at)
    assert model.config.to_dict() == config  # it cannot say that layers differ
    ablate(model, group, range(HIDDEN, HIDDEN + 4))
    assert model.config.to_dict() == config
    torch.testing.assert_close(run(reloaded(model, tmp_path)), before)


@pytest.mark.parametrize(
    ("network", "pattern", "options"),
    [
        (gpt_neo, "transformer.h.{}.mlp.act", {"num_units": 3}),
        (gpt2, "transformer.h.{}.mlp.act", {"num_units": 3}),
        (llama, "model.layers.{}.mlp.down_proj", {"num_units": 3, "at": "input"}),
        (llama, "model.layers.{}.self_attn.o_proj", {"num_units": 4, "at": "input", "unit_size": HEAD_DIM}),
    ],
)
def test_a_model_expanded_in_all_layers_is_saved_as_it_is(
    network: Callable[[], nn.Module], pattern: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model = network().eval()
    for layer in range(2):
        expand(model, pattern.format(layer), init="normal", **options)
    torch.testing.assert_close(run(reloaded(model, tmp_path)), run(model))


def test_expansion_in_a_lightning_module_finds_the_configuration() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model: Any = gpt_neo()

    wrapper = Wrapper()
    for layer in range(2):
        expand(wrapper, f"model.transformer.h.{layer}.mlp.act", 1)
    assert wrapper.model.config.intermediate_size == HIDDEN + 1


def test_frozen_parameters_stay_frozen() -> None:
    model = gpt_neo().requires_grad_(False)
    expand(model, "transformer.h.0.mlp.act", 2)
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (gpt_neo, {"module": "transformer.h.0", "num_units": 1}, "the parameters that read the units are not known"),
        (gpt_neo, {"module": "transformer.h.0.mlp.act", "num_units": 0}, "positive multiple of 1"),
        (linear_chain, {"module": "1.2", "num_units": 1}, "LayerNorm"),
        (
            encoder_layer,
            {"module": "self_attn.out_proj", "at": "input", "unit_size": HEAD_DIM, "num_units": 1},
            "Multihead",
        ),
        (
            llama,
            {"module": "model.layers.0.self_attn.o_proj", "at": "input", "unit_size": HEAD_DIM, "num_units": 3},
            "of 2",
        ),
    ],
)
def test_what_cannot_be_expanded_is_refused(
    network: Callable[[], nn.Module], options: dict[str, Any], message: str
) -> None:
    model = network()
    state = state_of(model)
    with pytest.raises(ValueError, match=message):
        expand(model, **options)
    assert_same_state(model, state)


@pytest.mark.parametrize(
    ("units", "mode", "message"),
    [
        ([4], "zero", r"from 0 to 3, got \[4\]"),
        ([0, 1, 2, 3], "slice", "keep some of 4"),
        ([1, 2], "slice", "all 2 units that share"),
        ([0], "mean", "got None"),
    ],
)
def test_what_cannot_be_ablated_is_refused(
    units: list[int], mode: Literal["slice", "zero", "mean"], message: str
) -> None:
    model = llama()
    group = unit_group(model, "model.layers.0.self_attn.o_proj", "input", HEAD_DIM)
    with pytest.raises(ValueError, match=message):
        ablate(model, group, units, mode)


def test_units_with_unknown_readers_are_not_ablated() -> None:
    model = gpt_neo()
    with pytest.raises(UnknownStructureError, match="the parameters that read the units are not known"):
        ablate(model, unit_group(model, "transformer.h.0"), [0], "zero")


def test_tied_parameters_are_not_resized() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    with pytest.raises(UnknownStructureError, match="tied"):
        expand(model, "1", 1)
