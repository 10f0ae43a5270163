"""Nothing acts on a part of units: where other parameters make or read them too, that is said before training."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from routing_oracles import by_formula, gradients
from tiny_networks import HEAD_DIM, HIDDEN, VOCABULARY, WIDTH, causal_lm, randomised, run, transformers
from torch import Tensor, nn

from lightning_vista.routing import (
    LabelRule,
    OptimizerIsolation,
    Route,
    Router,
    RoutingError,
    UnknownStructureError,
    ablate,
    block_gradients,
    expand,
    unit_group,
)

RULE = LabelRule("label", {"low": [0], "high": [1]})
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 4,
    "intermediate_size": HIDDEN, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip


class MetaMLP(nn.Module):
    """The gated MLP of Meta's Llama, whose layers have other names than those of transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.w2, self.w3 = nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.silu(self.w1(x)) * self.w3(x)
        output: Tensor = self.w2(hidden)
        return output


def meta() -> nn.Module:
    return MetaMLP()


def deepseek() -> nn.Module:
    """Heads whose queries, keys and values are made from latents."""
    return causal_lm(
        transformers.DeepseekV3Config(
            **SIZES, num_key_value_heads=4, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4,
            v_head_dim=4, n_routed_experts=4, first_k_dense_replace=1,
        )
    )  # fmt: skip


def olmo2() -> nn.Module:
    return causal_lm(transformers.Olmo2Config(**SIZES, num_key_value_heads=2))


def depthwise() -> nn.Module:
    """The depthwise layer makes the channels as the norm does, but is of no known kind."""
    return nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1))


def norm_first() -> nn.Module:
    """The layer that makes the units stands before the chain."""
    return nn.ModuleDict(
        {"make": nn.Linear(3, 6), "read": nn.Sequential(nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))}
    )


INCOMPLETE = [
    (meta, {"module": "w2", "at": "input"}),
    (deepseek, {"module": "model.layers.0.self_attn.o_proj", "at": "input", "unit_size": HEAD_DIM}),
    (olmo2, {"module": "model.layers.0.self_attn.o_proj", "at": "input", "unit_size": HEAD_DIM}),
    (depthwise, {"module": "2", "dim": 1}),
    (norm_first, {"module": "read.1"}),
]
incomplete = pytest.mark.parametrize(("network", "place"), INCOMPLETE, ids=[make.__name__ for make, _ in INCOMPLETE])
Network = Callable[[], nn.Module]


@incomplete
def test_masking_and_isolation_are_refused_when_they_are_attached(network: Network, place: dict[str, Any]) -> None:
    model = network()
    regions: dict[str, Any] = {"low": "0:2", "high": "rest"}
    route = Route(rule=RULE, regions=regions, **place)
    message = rf"{place['module']}.*the parameters that make.* the units are not known"
    for strategy, isolates in (("parameter", False), ("gradient", True), ("activation", True)):
        with pytest.raises(RoutingError, match=message):
            Router([route], strategy=strategy).attach(model, isolates=isolates)  # type: ignore[arg-type]
    router = Router([route])
    router.attach(model)  # the backward hook needs the tensor only
    router.detach()


@incomplete
def test_surgery_is_refused_and_changes_nothing(network: Network, place: dict[str, Any]) -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    group = unit_group(model, **place)
    assert not group.complete
    for change in (lambda: expand(model, num_units=2, **place), lambda: ablate(model, group, [0, 1])):
        with pytest.raises(UnknownStructureError, match="the parameters that make"):
            change()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@incomplete
def test_the_functions_behind_them_refuse_as_well(network: Network, place: dict[str, Any]) -> None:
    model = network()
    group = unit_group(model, **place)
    isolation = OptimizerIsolation(torch.optim.SGD(model.parameters(), lr=0.1), model)
    with pytest.raises(UnknownStructureError, match="the parameters that make"):
        isolation.block([(group, [0])])
    with pytest.raises(UnknownStructureError, match="the parameters that make"):
        block_gradients(model, [(group, torch.zeros(group.size))])


def test_unknown_readers_are_refused_for_masking_and_not_for_isolation() -> None:
    """Behind a layer norm the readers are not known; the gradient strategy trains them by all data anyway."""
    model = nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    route = Route("0", RULE, {"low": "0:2", "high": "rest"})
    router = Router([route])
    router.attach(model, isolates=True)
    router.detach()
    with pytest.raises(RoutingError, match="'0': .* the parameters that read the units are not known"):
        Router([route], strategy="parameter").attach(model)


def test_heads_behind_norms_of_all_heads_are_routed_by_the_formula() -> None:
    """OLMo 2: rows of queries act through other heads too, so a blocked head leaves them a gradient, as it should."""
    model = olmo2().train()
    place: Any = INCOMPLETE[2][1]
    route = Route(place["module"], RULE, {"low": "0:2", "high": "rest"}, at="input", unit_size=HEAD_DIM)
    members = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    router = Router([route])
    router.attach(model)
    with router.memberships({"low": members[:, 0], "high": members[:, 1]}):
        actual = gradients(model, lambda: run(model).square().sum())
        router.check_backward()
    router.detach()
    with by_formula(model, route.patterns[0], route, members):
        expected = gradients(model, lambda: run(model).square().sum())
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, msg=name)
    blocked = {name: actual[f"model.layers.0.self_attn.{name}.weight"] for name in ("q_proj", "v_proj", "q_norm")}
    assert not blocked["v_proj"][:HEAD_DIM].any()
    assert not blocked["q_norm"][: 2 * HEAD_DIM].any()
    assert blocked["q_proj"][: 2 * HEAD_DIM].any()


def test_parameters_between_makers_and_readers_make_another_structure() -> None:
    config = transformers.ConvNextV2Config(hidden_sizes=[4, 8], depths=[1, 1], num_stages=2)
    model = randomised(transformers.ConvNextV2Model(config))
    group = unit_group(model, "encoder.stages.0.layers.0.pwconv2", "input")
    assert not group.producers


def mlp(children: dict[str, nn.Module], reads: int = 3) -> nn.Module:
    return nn.ModuleDict({"fc1": nn.Linear(4, 6), **children, "fc2": nn.Linear(6, reads)})


@pytest.mark.parametrize("reads", [3, 6], ids=["narrow", "as wide as the units"])
@pytest.mark.parametrize(
    "between",
    [
        {"rnn": nn.GRU(6, 6)},
        {"rnn": nn.LSTM(6, 3, bidirectional=True)},
        {"mid": nn.Linear(6, 6, bias=False)},
        {"down": nn.Linear(6, 2), "up": nn.Linear(2, 6)},
        {"inner": nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 6))},
        {"self_attn": nn.MultiheadAttention(6, 2)},
        {"ln": nn.LayerNorm(6)},
        {"ln": nn.LayerNorm(6, elementwise_affine=False)},
        {"act": nn.PReLU(6)},
        {"act": nn.Softmax(-1)},
    ],
    ids=lambda between: "-".join(type(module).__name__ for module in between.values()),
)
def test_what_may_stand_between_two_layers_makes_them_no_mlp(between: dict[str, nn.Module], reads: int) -> None:
    model = mlp(between, reads)
    assert not unit_group(model, "fc1").consumers
    assert not unit_group(model, "fc2", "input").complete


@pytest.mark.parametrize(
    "beside",
    [
        {"act": nn.GELU(), "drop1": nn.Dropout()},
        {"act": nn.PReLU()},
        {"head": nn.Linear(3, 6)},
        {"attn": nn.MultiheadAttention(3, 1), "ln_1": nn.LayerNorm(3)},
        {"gate": nn.Linear(4, 5), "conv": nn.Conv2d(1, 6, 3)},
    ],
    ids=lambda beside: "-".join(type(module).__name__ for module in beside.values()),
)
def test_what_cannot_stand_between_two_layers_leaves_an_mlp(beside: dict[str, nn.Module]) -> None:
    group = unit_group(mlp(beside), "fc1")
    assert group.complete
    assert [piece.name for piece in group.consumers] == ["fc2.weight"]


def test_numbered_layers_behind_the_reader_leave_an_mlp() -> None:
    network = nn.ModuleDict({f"fc{number}": nn.Linear(6, 6) for number in range(1, 5)})
    assert [piece.name for piece in unit_group(network, "fc1").consumers] == ["fc2.weight"]


def test_blocks_of_known_classes_may_have_one_width_throughout() -> None:
    block = nn.TransformerEncoderLayer(6, 2, dim_feedforward=6)
    assert [piece.name for piece in unit_group(block, "linear1").consumers] == ["linear2.weight"]


def test_a_table_of_relative_positions_belongs_to_heads() -> None:
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head_dim = 4
            self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
            self.table = nn.Parameter(torch.zeros(5, 2))

    group = unit_group(Biased(), "proj", "input", 4)
    assert group.producers
    assert not group.complete
