"""Unit groups, against gradients that the plain stop-gradient formula leaves and outputs that it changes."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from tiny_networks import (
    HEAD_DIM,
    WIDTH,
    Tapped,
    convolutional_chain,
    encoder_layer,
    gpt2,
    gpt_neo,
    linear_chain,
    llama,
    randomised,
    residual_network,
    run,
    timm_model,
    torchvision_network,
    vision_transformer,
)
from torch import Tensor, nn

from lightning_vista.routing.surgery.parameters import NEW, sources_with_new
from lightning_vista.routing.units import ParameterSlice, UnitGroup, UnknownStructureError, unit_group

HIDDEN = [
    Tapped(gpt_neo, "transformer.h.1.mlp.act"),
    Tapped(gpt_neo, "transformer.h.1.mlp.c_fc"),
    Tapped(gpt_neo, "transformer.h.0.attn.attention.out_proj", "input", HEAD_DIM),
    Tapped(gpt2, "transformer.h.0.mlp.act", unit_size=2),
    Tapped(gpt2, "transformer.h.0.mlp.c_proj", "input"),
    Tapped(gpt2, "transformer.h.0.attn.c_proj", "input", HEAD_DIM),
    Tapped(llama, "model.layers.0.mlp.down_proj", "input"),
    Tapped(llama, "model.layers.1.self_attn.o_proj", "input", HEAD_DIM),
    Tapped(vision_transformer, "blocks.1.mlp.drop1"),
    Tapped(vision_transformer, "blocks.0.attn.proj", "input", HEAD_DIM),
    Tapped(encoder_layer, "linear2", "input"),
    Tapped(encoder_layer, "dropout"),
    Tapped(linear_chain, "0.2"),
    Tapped(linear_chain, "1.1", "input"),
    Tapped(linear_chain, "0"),
    Tapped(convolutional_chain, "2", dim=1),
    Tapped(convolutional_chain, "1", unit_size=2, dim=-3),
    Tapped(convolutional_chain, "4", dim=1),
    Tapped(residual_network, "layer1.0.act1", dim=1),
    Tapped(residual_network, "layer2.0.conv2", "input", dim=1),
    Tapped(torchvision_network, "layer1.0.conv3", "input", dim=1),
]
WRITTEN = [
    Tapped(gpt_neo, "transformer.h.0"),
    Tapped(gpt_neo, "transformer.h.0.mlp"),
    Tapped(gpt2, "transformer.h.1"),
    Tapped(gpt2, "transformer.h.0.attn"),
    Tapped(llama, "model.layers.0"),
    Tapped(llama, "model.layers.0.mlp.gate_proj"),
    Tapped(llama, "model.layers.0.post_attention_layernorm"),
    Tapped(llama, "model.embed_tokens"),
    Tapped(vision_transformer, "blocks.0"),
    Tapped(encoder_layer, ""),
    Tapped(linear_chain, "1.3"),
    Tapped(convolutional_chain, "0", dim=1),
    Tapped(residual_network, "layer2", dim=1),
    Tapped(residual_network, "layer4.0", dim=1),
    Tapped(torchvision_network, "layer2", dim=1),
]


def name(tapped: Tapped) -> str:
    return f"{tapped.network.__name__}-{tapped.module}-{tapped.at}"


def group_of(model: nn.Module, tapped: Tapped) -> UnitGroup:
    return unit_group(model, tapped.module, tapped.at, tapped.unit_size, tapped.dim)


@contextmanager
def changed(
    model: nn.Module, tapped: Tapped, change: Callable[[Tensor, Tensor], Tensor], units: list[int]
) -> Iterator[None]:
    """Within, the tapped tensor is `change(tensor, mask)` with a mask that is 0 for the units and 1 for others."""

    def on_tensor(x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[tapped.dim], dtype=x.dtype)
        mask.view(-1, tapped.unit_size)[units] = 0
        return change(x, mask.view(-1, *[1] * (x.dim() - 1 - tapped.dim % x.dim())))

    def on_output(module: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        return (on_tensor(output[0]), *output[1:]) if isinstance(output, tuple) else on_tensor(output)

    module = model.get_submodule(tapped.module)
    if tapped.at == "output":
        handle = module.register_forward_hook(on_output)
    else:
        handle = module.register_forward_pre_hook(lambda module, args: (on_tensor(args[0]), *args[1:]))
    yield
    handle.remove()


def stop_gradient(x: Tensor, mask: Tensor) -> Tensor:
    return mask * x + (1 - mask) * x.detach()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    torch.autograd.backward(run(model).pow(3).sum())
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def owned(model: nn.Module, pieces: Sequence[ParameterSlice], units: list[int]) -> dict[str, Tensor]:
    """True where the entries of a parameter belong to units."""
    marks = {name: torch.zeros_like(parameter, dtype=torch.bool) for name, parameter in model.named_parameters()}
    for piece in pieces:
        marks[piece.name].index_fill_(piece.dim, torch.tensor(piece.entries(units), dtype=torch.long), True)
    return marks


@pytest.mark.parametrize("tapped", HIDDEN + WRITTEN, ids=name)
def test_exactly_the_producers_get_no_gradient_from_blocked_units(tapped: Tapped) -> None:
    model = tapped.network()
    group = group_of(model, tapped)
    free = gradients(model)
    for units in ([1], [0, 1]):
        mine = owned(model, group.producers, units)
        with changed(model, tapped, stop_gradient, units):
            blocked = gradients(model)
        assert any(mark.any() for mark in mine.values()) or units == [1]
        for parameter, gradient in blocked.items():
            reached = free[parameter].abs() > 1e-9 * free[parameter].abs().max()  # keys' biases have none but noise
            assert torch.equal((gradient != 0)[reached], ~mine[parameter][reached]), parameter


@pytest.mark.parametrize("tapped", HIDDEN, ids=name)
def test_zeroed_consumers_are_zeroed_units(tapped: Tapped) -> None:
    model = tapped.network()
    group = group_of(model, tapped)
    units = [0, group.size - 1]
    before = run(model)
    with changed(model, tapped, torch.mul, units):
        expected = run(model)
    for parameter, mark in owned(model, group.consumers, units).items():
        model.get_parameter(parameter).data[mark] = 0
    assert not torch.allclose(before, expected, atol=1e-3)
    torch.testing.assert_close(run(model), expected)


def packed_attention(layer: nn.TransformerEncoderLayer, x: Tensor, mask: Tensor) -> Tensor:
    """Self-attention written out, since torch calls no module between the heads and the output projection."""
    attention = layer.self_attn
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    parts = (x @ weight.T + bias).view(*x.shape[:2], 3, -1, HEAD_DIM).permute(2, 0, 3, 1, 4)
    heads = nn.functional.scaled_dot_product_attention(*parts).transpose(1, 2)
    result: Tensor = attention.out_proj(stop_gradient(heads, mask[:, None]).flatten(2))
    return result


def test_heads_of_packed_attention() -> None:
    layer = encoder_layer()
    assert isinstance(layer, nn.TransformerEncoderLayer)
    group = unit_group(layer, "self_attn.out_proj", "input", HEAD_DIM)
    x = torch.randn(2, 5, WIDTH, dtype=torch.float64)
    everything = torch.ones(4, dtype=torch.float64)
    torch.testing.assert_close(packed_attention(layer, x, everything), layer.self_attn(x, x, x)[0])
    blocked = packed_attention(layer, x, everything.index_fill(0, torch.tensor([2]), 0))
    torch.autograd.backward(blocked.pow(3).sum())
    mine = owned(layer, group.producers, [2])
    for parameter in ("self_attn.in_proj_weight", "self_attn.in_proj_bias"):
        gradient = layer.get_parameter(parameter).grad
        assert gradient is not None
        assert torch.equal(gradient == 0, mine[parameter])


@pytest.mark.parametrize("tapped", [HIDDEN[0], HIDDEN[2], WRITTEN[0]], ids=name)
def test_compiled_modules_are_looked_through(tapped: Tapped) -> None:
    model = tapped.network()
    expected = group_of(model, tapped)
    compiled: Any = torch.compile(model)
    assert group_of(compiled, tapped) == expected
    blocks: Any = model.get_submodule("transformer.h")
    blocks[0] = torch.compile(blocks[0])
    assert group_of(model, tapped) == expected


def normed_mlp() -> nn.Module:
    mlp: nn.Module = importlib.import_module("timm.layers").Mlp(4, 8, norm_layer=nn.LayerNorm)
    return randomised(mlp)


def one_slope() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 2))


def squeezed_network() -> nn.Module:
    return timm_model("seresnet18", channels=(8, 8, 8, 8))


@pytest.mark.parametrize(
    ("tapped", "message"),
    [
        (Tapped(gpt_neo, "transformer.h.7"), "expected a module of GPTNeoForCausalLM, got 'transformer.h.7'"),
        (Tapped(llama, "model.layers.0.mlp.act_fn"), "SiLU.*gated MLP"),
        (Tapped(llama, "model.layers.0", "input"), "LlamaDecoderLayer"),
        (Tapped(llama, "model.layers.0.self_attn.o_proj", "input"), "`unit_size`: expected 4 .* got 1"),
        (Tapped(encoder_layer, "self_attn.out_proj", "input", 8), "`unit_size`: expected 4 .* got 8"),
        (Tapped(gpt2, "transformer.h.0.mlp.act", unit_size=7), "`unit_size`: expected a divisor of 24, .* got 7"),
        (Tapped(convolutional_chain, "2"), "`dim`: expected 1 .* got -1"),
        (Tapped(gpt2, "transformer.h.0.mlp.act", dim=1), "`dim`: expected -1 .* got 1"),
        (Tapped(torchvision_network, "layer1.0.relu", dim=1), "ReLU"),
        (Tapped(squeezed_network, "layer1", dim=1), "Sequential"),
        (Tapped(normed_mlp, "act"), "GELU"),
        (Tapped(one_slope, "1"), "PReLU"),
    ],
)
def test_unknown_structures_are_named(tapped: Tapped, message: str) -> None:
    with pytest.raises(UnknownStructureError, match=message):
        group_of(tapped.network(), tapped)


def test_a_lone_layer_has_its_own_rows_or_columns() -> None:
    model = nn.ModuleDict({"head": nn.Linear(3, 2)})
    rows = (ParameterSlice("head.weight", 0), ParameterSlice("head.bias", 0))
    assert unit_group(model, "head") == UnitGroup(2, rows)
    columns = (ParameterSlice("head.weight", 1),)
    assert unit_group(model, "head", "input") == UnitGroup(3, (), columns, ("head.bias",), complete=False)


def test_readers_beyond_a_layer_norm_are_not_known() -> None:
    group = unit_group(linear_chain(), "1.1")
    assert group.producers
    assert not group.consumers


def test_flattened_tokens_are_no_channels() -> None:
    """Channels lie side by side in a flattened image; the units of a token do not in a flattened sequence."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(20, 2))
    assert not unit_group(model, "1").consumers


def test_slices_of_interleaved_parts_lie_in_runs() -> None:
    """Two keys, each behind its two queries and before its value, as in Falcon."""
    queries = ParameterSlice("query_key_value.weight", dim=0, unit_size=2, run=2, stride=8)
    keys = ParameterSlice("query_key_value.weight", dim=0, unit_size=2, start=4, share=2, run=1, stride=8)
    assert queries.entries([1, 2]) == [2, 3, 8, 9]
    assert keys.entries([0, 2, 3]) == [12, 13]
    assert queries.end(4) == keys.end(4) == 16
    tensor = torch.ones(16, 1)
    queries.scale(tensor, torch.tensor([0.0, 2.0, 3.0, 4.0]))
    keys.scale(tensor, torch.tensor([0.0, 5.0, 0.0, -1.0]))
    assert tensor.flatten().tolist() == [0, 0, 2, 2, 5, 5, 1, 1, 3, 3, 4, 4, 0, 0, 1, 1]
    assert sources_with_new(16, [queries, keys], size=4, num_units=2) == [*range(16), *[NEW] * 6]


def test_slices_share_their_entries() -> None:
    values = ParameterSlice("v_proj.weight", dim=1, unit_size=2, start=1, share=2)
    tensor = torch.arange(12.0).view(2, 6)
    assert values.entries([3, 2, 0]) == [3, 4]
    assert torch.equal(values.select(tensor, [2, 3]), tensor[:, 3:5])
    values.scale(tensor, torch.tensor([0.0, 0.0, 2.0, -1.0]))
    assert torch.equal(tensor, torch.tensor([[0.0, 0, 0, 6, 8, 5], [6, 0, 0, 18, 20, 11]]))
