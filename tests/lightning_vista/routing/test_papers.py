"""Every experiment of the papers, written as routes: who trains what is as they say (arXiv 2410.04332, and SGTM)."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from routing_oracles import gradients
from torch import Tensor, nn

from lightning_vista.routing import (
    FieldRule,
    FrequencyRule,
    LabelRule,
    PartialLabels,
    Route,
    Router,
    Rule,
    SequenceRule,
    TokenRule,
    expand,
)
from lightning_vista.routing.reach import reach

TREE, VIRUS, CALIFORNIA, OTHER = 3, 4, 5, 1


def language_model(layers: int = 2) -> nn.Module:
    """A GPT-Neo of 16 units and hidden layers of 64; untied, so that the residual stream can be routed."""
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=8, hidden_size=16, num_layers=layers, num_heads=4, attention_types=[[["global"], layers]],
        max_position_embeddings=8, tie_word_embeddings=False, attention_dropout=0.0, embed_dropout=0.0,
        resid_dropout=0.0,
    )  # fmt: skip
    model: nn.Module = GPTNeoForCausalLM(config)
    return model.train()


def routed(model: nn.Module, router: Router, batch: Mapping[str, Any], loss: Any) -> dict[str, Tensor]:
    router.attach(model)
    try:
        router.compute(batch)
        return gradients(model, loss)
    finally:
        router.detach()


def texts(*rows: list[int]) -> dict[str, Tensor]:
    return {"input_ids": torch.tensor(rows)}


def language_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    loss: Tensor = model(input_ids=batch["input_ids"], labels=batch["input_ids"]).loss
    return loss


def reached(model: nn.Module, routes: list[Route], num_samples: int, inputs: Tensor) -> Mapping[str, Any]:
    router = Router(routes)
    router.attach(model)
    return reach(model, [router], num_samples, lambda: model(inputs).square().sum())


def test_the_split_encoding_of_an_autoencoder() -> None:
    """Section 4.1: digits 0-4 train one half of 32 units, 5-9 the other."""
    model = nn.Sequential(nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 32, bias=False)), nn.Linear(32, 20))
    rule = LabelRule("label", {"low": [0, 1, 2, 3, 4], "high": [5, 6, 7, 8, 9]})
    shares = reached(model, [Route("0", rule, {"low": "0:16", "high": "rest"})], 6, torch.randn(6, 20))
    assert shares["0.2.weight"] == {"low": 0.5, "high": 0.5}
    assert shares["1.weight"] == {"low": 1, "high": 1}


def test_the_split_channels_of_a_resnet() -> None:
    """Appendix: classes 0-49 of CIFAR-100 train one half of the channels, 50-99 the other."""
    import timm

    model = timm.create_model("resnet10t", num_classes=100, stem_width=8)
    rule = LabelRule("label", {"first": list(range(50)), "second": list(range(50, 100))})
    shares = reached(
        model, [Route("layer3", rule, {"first": "0:128", "second": "rest"}, dim=1)], 4, torch.randn(4, 3, 32, 32)
    )
    assert shares["layer3.0.bn2.bias"] == {"first": 0.5, "second": 0.5}
    assert shares["fc.weight"] == {"first": 1, "second": 1}


def test_the_steering_scalar() -> None:
    """Section 4.2.1: where the target is the concept, only unit 0 of the residual stream is trained from a block on."""
    model = language_model(layers=3)
    route = Route(
        "transformer.h.[12]", TokenRule({"concept": [CALIFORNIA]}), {"steer": "0", "others": "rest"},
        weights={"concept": {"steer": 1.0, "others": 0.0}},
    )  # fmt: skip
    batch = texts([OTHER, CALIFORNIA], [OTHER, CALIFORNIA])
    gradient = routed(model, Router([route]), batch, lambda: language_loss(model, batch))
    bias = gradient["transformer.h.2.mlp.c_proj.bias"]
    assert bias[0] != 0
    assert not bias[1:].any()
    batch = texts([OTHER, TREE])
    assert routed(model, Router([route]), batch, lambda: language_loss(model, batch))[
        "transformer.h.2.mlp.c_proj.bias"
    ].all()


class Data:
    """What a frequency is counted in."""

    tokenizer = range(8)

    def train_dataloader(self) -> list[dict[str, Tensor]]:
        return [texts([OTHER, TREE] * 4, [OTHER, OTHER] * 4)]


@pytest.mark.parametrize("labelled", [1, 0, -1])
def test_expand_route_ablate(labelled: int) -> None:
    """Section 4.2.2: forget stories train new units, and old ones backwards by frequency; retain stories all units."""
    model = language_model()
    expand(model, "transformer.h.0.mlp.act", num_units=4)
    split = SequenceRule(TokenRule({"forget": [TREE]}), otherwise="retain")
    rule = PartialLabels(FrequencyRule(split, forget_smoothing=1, retain_smoothing=1), "known", unlabelled="retain")
    rule.setup(Data())
    weights = {"forget": {"new": 1.0, "old": -0.75}, "retain": {"new": 1.0, "old": 1.0}}
    route = Route("transformer.h.0.mlp.act", rule, {"old": ":64", "new": "rest"}, weights=weights)
    batch = texts([OTHER, TREE]) | {"known": torch.tensor([labelled])}
    plain = gradients(model, lambda: language_loss(model, batch))["transformer.h.0.mlp.c_fc.bias"]
    actual = routed(model, Router([route]), batch, lambda: language_loss(model, batch))["transformer.h.0.mlp.c_fc.bias"]
    members = rule.memberships(batch)[0, 0]
    factor = (members * torch.tensor([-0.75, 1.0])).sum()
    assert factor < 0 if labelled == 1 else factor == 1
    torch.testing.assert_close(actual[:64], factor * plain[:64])
    torch.testing.assert_close(actual[64:], plain[64:])


def test_virology_tokens() -> None:
    """Section 4.2.2, 0.7B parameters: single tokens, and hardly any weight off target."""
    model = language_model()
    weights = {"virology": {"new": 1.0, "old": -5e-8}}
    route = Route(
        "transformer.h.*.mlp.act", TokenRule({"virology": [VIRUS]}), {"new": "-4:", "old": "rest"}, weights=weights
    )
    batch = texts([OTHER, VIRUS])
    plain = gradients(model, lambda: language_loss(model, batch))
    actual = routed(model, Router([route]), batch, lambda: language_loss(model, batch))
    name = "transformer.h.1.mlp.c_fc.bias"
    torch.testing.assert_close(actual[name][:-4], -5e-8 * plain[name][:-4])
    torch.testing.assert_close(actual[name][-4:], plain[name][-4:])


class Experts(nn.Module):
    """Two experts, mixed by a gate, with one output layer (section 4.3, and DEMix)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.diamond, self.ghost, self.gate = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(4, 1)
        self.output = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        share = self.gate(x).sigmoid()
        result: Tensor = self.output(share * self.diamond(x).tanh() + (1 - share) * self.ghost(x).tanh())
        return result


def experts(rule: Rule) -> list[Route]:
    return [Route(expert, rule, {expert: "rest"}) for expert in ("diamond", "ghost")]


def test_the_experts_of_a_reinforcement_learner() -> None:
    """Section 4.3: episodes seen to reach the diamond train its expert, ghost likewise, unseen ones train both."""
    model, x = Experts(), torch.randn(4, 4)
    seen = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    rule = FieldRule("seen", ["diamond", "ghost"])
    actual = routed(model, Router(experts(rule)), {"seen": seen}, lambda: model(x).sum())
    every, unseen = gradients(model, lambda: model(x).sum()), gradients(model, lambda: model(x[2:]).sum())
    torch.testing.assert_close(actual["diamond.weight"], every["diamond.weight"])
    torch.testing.assert_close(actual["ghost.weight"], unseen["ghost.weight"])
    torch.testing.assert_close(actual["gate.weight"], every["gate.weight"])


def test_a_domain_expert_for_each_group() -> None:
    """DEMix: each group trains its own expert, and all else together."""
    rule = LabelRule("domain", {"diamond": [0], "ghost": [1]})
    shares = reached(Experts(), experts(rule), 4, torch.randn(4, 4))
    assert shares["diamond.weight"] == {"diamond": 1, "ghost": 0}
    assert shares["ghost.weight"] == {"diamond": 0, "ghost": 1}
    assert shares["output.weight"] == {"diamond": 1, "ghost": 1}


@pytest.mark.parametrize("strategy", ["gradient", "parameter", "activation"])
@pytest.mark.parametrize("group", ["forget", "retain"])
def test_selective_gradient_masking(strategy: Any, group: str) -> None:
    """SGTM: forget data trains forget units only, one of three ways; on retain data forget units are zero."""
    model = language_model()
    rule = SequenceRule(TokenRule({"forget": [TREE]}), otherwise="retain")
    routes = [
        Route(
            module, rule, {"retain": retain, "forget": "rest"}, at="input", unit_size=unit_size,
            weights={"forget": {"forget": 1.0, "retain": 0.0}, "retain": {"forget": 1.0, "retain": 1.0}},
            forward={"retain": ["forget"]},
        )
        for module, retain, unit_size in (
            ("transformer.h.*.mlp.c_proj", ":56", 1),
            ("transformer.h.*.attn.attention.out_proj", ":3", 4),
        )
    ]  # fmt: skip
    batch = texts([OTHER, TREE if group == "forget" else OTHER, OTHER])
    router = Router(routes, strategy=strategy)
    router.attach(model)
    router.compute(batch)
    gradient = gradients(model, lambda: language_loss(model, batch))
    hidden = gradient["transformer.h.1.mlp.c_fc.weight"]
    values = gradient["transformer.h.1.attn.attention.v_proj.weight"]
    columns = gradient["transformer.h.1.mlp.c_proj.weight"]
    trains_retain, trains_forget = group == "retain", group == "forget"
    assert bool(hidden[:56].any()) == bool(values[:12].any()) == trains_retain
    assert bool(hidden[56:].any()) == bool(values[12:].any()) == trains_forget
    assert bool(columns[:, 56:].any()) == trains_forget  # what is zero teaches its readers nothing
    if strategy != "gradient":
        assert bool(columns[:, :56].any()) == trains_retain
