"""Matrices of all tokens are routed as the same tensors with samples and tokens apart."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from routing_oracles import by_formula, full_mask, gradients
from tiny_networks import HIDDEN, VOCABULARY, WIDTH, causal_lm, randomised, transformers
from torch import Tensor, nn

from lightning_vista.routing import FieldRule, Route, Router, RoutingError

RULE = FieldRule("members", ["low", "high"])
REGIONS: dict[str, Any] = {"low": "0:2", "high": "rest"}
BATCH, TOKENS = 3, 8
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 4, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip


class Plain(nn.Module):
    """Two layers on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x).tanh())
        return y


class Flat(Plain):
    """The same function, for which all tokens of a batch are one matrix."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


def members_of(tokens: bool) -> Tensor:
    torch.manual_seed(3)
    members = torch.rand(BATCH, TOKENS, 2, dtype=torch.float64).softmax(-1) * 0.9
    return members if tokens else members[:, 0]


def routed_gradients(model: nn.Module, route: Route, members: Tensor, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
    router = Router([route])
    router.attach(model)
    with router.memberships({"low": members[..., 0], "high": members[..., 1]}):
        found = gradients(model, loss)
    router.detach()
    return found


def assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    # Biases of keys have no gradient but noise.
    noise = 1e-6 * max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, rtol=1e-4, atol=noise, msg=name)


@pytest.mark.parametrize("tokens", [True, False])
@pytest.mark.parametrize("batch_dim", [0, 1])
@pytest.mark.parametrize(("module", "at"), [("first", "output"), ("second", "input"), ("second", "output")])
def test_the_flat_module_is_routed_as_the_plain_one(module: str, at: Any, batch_dim: Any, tokens: bool) -> None:
    plain, flat = randomised(Plain()), Flat().double()
    flat.load_state_dict(plain.state_dict())
    x = torch.randn(BATCH, TOKENS, 5, dtype=torch.float64)
    members = members_of(tokens)
    route = Route(module, RULE, REGIONS, at=at)
    with by_formula(plain, module, route, members):
        expected = gradients(plain, lambda: plain(x).square().sum())
    flat_route = Route(module, RULE, REGIONS, at=at, batch_dim=batch_dim, flattened=None if tokens else True)
    y = x.transpose(0, 1) if batch_dim else x
    assert_equal(routed_gradients(flat, flat_route, members, lambda: flat(y).square().sum()), expected)


@contextmanager
def by_flat_formula(model: nn.Module, module: str, route: Route, members: Tensor) -> Iterator[None]:
    """The stop-gradient formula, with the mask of the unflattened tensor."""

    def on_output(_: nn.Module, args: Any, output: Tensor) -> Tensor:
        mask = full_mask(route, members, torch.Size([BATCH, TOKENS, output.shape[-1]])).view(output.shape)
        mask = mask.to(output)
        return mask * output + (1 - mask) * output.detach()

    handle = model.get_submodule(module).register_forward_hook(on_output)
    yield
    handle.remove()


def opt() -> nn.Module:
    return causal_lm(
        transformers.OPTConfig(
            vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=4, ffn_dim=HIDDEN,
            word_embed_proj_dim=WIDTH, dropout=0.0, pad_token_id=0, max_position_embeddings=16,
        )
    )  # fmt: skip


def mixtral() -> nn.Module:
    return causal_lm(transformers.MixtralConfig(**SIZES, intermediate_size=HIDDEN, num_local_experts=4))


def qwen3_moe() -> nn.Module:
    sizes = {"moe_intermediate_size": 12, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 4}
    return causal_lm(transformers.Qwen3MoeConfig(**SIZES, **sizes, intermediate_size=HIDDEN))


def deepseek() -> nn.Module:
    config = transformers.DeepseekV3Config(
        **SIZES, intermediate_size=HIDDEN, moe_intermediate_size=12, n_routed_experts=4, n_shared_experts=1,
        num_experts_per_tok=2, n_group=2, topk_group=1, first_k_dense_replace=0, q_lora_rank=8, kv_lora_rank=8,
        qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=4,
    )  # fmt: skip
    return causal_lm(config)


@pytest.mark.parametrize("tokens", [True, False])
@pytest.mark.parametrize(
    ("network", "module"),
    [
        (opt, "model.decoder.layers.0.activation_fn"),
        (mixtral, "model.layers.0.mlp.experts"),
        (qwen3_moe, "model.layers.0.mlp.experts"),
        (deepseek, "model.layers.0.mlp.experts"),
    ],
)
def test_models_of_transformers_with_flat_modules(network: Callable[[], Any], module: str, tokens: bool) -> None:
    model = network().float().train()  # the kernels of experts have no double precision
    ids = torch.randint(VOCABULARY, (BATCH, TOKENS), generator=torch.Generator().manual_seed(0))
    members = members_of(tokens)
    route = Route(module, RULE, REGIONS, flattened=None if tokens else True)
    actual = routed_gradients(model, route, members, lambda: model(ids).logits.square().sum())
    with by_flat_formula(model, module, route, members):
        expected = gradients(model, lambda: model(ids).logits.square().sum())
    assert any(gradient.any() for gradient in expected.values())
    assert_equal(actual, expected)


def test_rows_that_nobody_can_tell_are_refused() -> None:
    flat = Flat()
    x = torch.randn(BATCH, TOKENS, 5)
    loss = lambda: flat(x).sum()  # noqa: E731 # called in the context
    route = Route("first", RULE, REGIONS)
    with pytest.raises(ValueError, match=r"3 samples, got 24 rows .* 8 tokens of each sample, set `flattened=True`"):
        routed_gradients(flat, route, members_of(tokens=False), loss)
    with pytest.raises(ValueError, match=r"\(3, 8\) samples \(and tokens\)"):
        routed_gradients(flat, Route("first", RULE, REGIONS, flattened=False), members_of(tokens=True), loss)
    with pytest.raises(ValueError, match=r"\(3, 8\) samples \(and tokens\).*got \(23, 6\)"):
        routed_gradients(flat, route, members_of(tokens=True), lambda: flat(x.reshape(-1, 5)[:23]).sum())


@pytest.mark.parametrize("network", [mixtral, qwen3_moe, deepseek])
def test_modules_that_see_chosen_tokens_are_refused_at_once(network: Callable[[], nn.Module]) -> None:
    """With one expert for each token the number of rows would fit, in an order that nobody knows."""
    route = Route("model.layers.0.mlp.experts.act_fn", RULE, REGIONS)
    with pytest.raises(RoutingError, match=r"within experts.*whole experts \(at='experts'\), the gate, or the block"):
        Router([route]).attach(network())


def test_experts_that_see_all_samples_are_no_mixture() -> None:
    model = nn.ModuleDict({"experts": nn.ModuleDict({"one": nn.Linear(3, 4), "two": nn.Linear(3, 4)})})
    router = Router([Route("experts.one", RULE, REGIONS)])
    router.attach(model)
    router.detach()
