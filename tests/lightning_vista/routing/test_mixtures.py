"""Mixtures of experts: gates, whole experts and blocks are routed as the formula says, whatever computes them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal

import pytest
import torch
from routing_oracles import contributions, experts_by_formula, full_mask, gate_by_formula, gradients
from tiny_families import DEEPSEEK, GPT_OSS, MIXTRAL, QWEN3_MOE, SAMPLES, TOKENS, Family
from tiny_networks import VOCABULARY
from torch import Tensor, nn

from lightning_vista.routing import (
    FieldRule,
    Route,
    Router,
    RoutingError,
    UnknownStructureError,
    ablate,
    expand,
    unit_group,
)
from lightning_vista.routing.hooking import hook_tensor

FAMILIES = [MIXTRAL, QWEN3_MOE, DEEPSEEK, GPT_OSS]
EXPERTS = "model.layers.0.mlp.experts"
RULE = FieldRule("members", ["low", "high"])
REGIONS: dict[str, Any] = {"low": "0:3", "high": "rest"}
WEIGHTS = {"low": {"low": 1.0, "high": -0.5}, "high": {"low": 0.0, "high": 1.0}}
ROWS = torch.Size([SAMPLES * TOKENS, 4])
families = pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
per = pytest.mark.parametrize("per", ["samples", "tokens"])


def gate(family: Family) -> str:
    return f"model.layers.0.mlp.{'router' if family is GPT_OSS else 'gate'}"


def members_of(per: str) -> Tensor:
    torch.manual_seed(3)
    members = torch.rand(SAMPLES, TOKENS, 2, dtype=torch.float64).softmax(-1) * 0.9
    return members if per == "tokens" else members[:, 0]


def mask_of(route: Route, members: Tensor) -> Tensor:
    """The mask of all rows, built for samples and tokens apart."""
    return full_mask(route, members, torch.Size([SAMPLES, TOKENS, ROWS[1]])).view(ROWS)


def loss_of(family: Family, model: nn.Module) -> Callable[[], Tensor]:
    return lambda: family.run(model).pow(2).sum()


@contextmanager
def routed(model: nn.Module, route: Route, members: Tensor, **options: Any) -> Iterator[Router]:
    router = Router([route], **options)
    router.attach(model)
    with router.memberships({"low": members[..., 0], "high": members[..., 1]}):
        yield router
    router.detach()


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    noise = 1e-6 * max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, rtol=1e-3, atol=noise, msg=name)


@per
@families
def test_whole_experts_are_routed_by_the_formula(family: Family, per: str) -> None:
    model, members = family.build(), members_of(per)
    route = Route(EXPERTS, RULE, REGIONS, at="experts", weights=WEIGHTS)
    plain = family.run(model)
    with routed(model, route, members):
        assert torch.equal(family.run(model), plain)
        actual = gradients(model, loss_of(family, model))
    with experts_by_formula(model.get_submodule(EXPERTS), mask_of(route, members)):
        expected = gradients(model, loss_of(family, model))
    assert_close(actual, expected)
    assert not torch.equal(
        actual[gate(family) + ".weight"], gradients(model, loss_of(family, model))[gate(family) + ".weight"]
    )


@per
@families
def test_logits_of_gates_are_routed_by_the_formula(family: Family, per: str) -> None:
    model, members = family.build(), members_of(per)
    route = Route(gate(family), RULE, REGIONS, weights=WEIGHTS)
    mask = mask_of(route, members).float()
    with routed(model, route, members):
        actual = gradients(model, loss_of(family, model))
    with gate_by_formula(model.get_submodule(gate(family)), lambda x: mask * x + (1 - mask) * x.detach()):
        expected = gradients(model, loss_of(family, model))
    assert_close(actual, expected)


@families
def test_a_gate_is_trained_by_chosen_data_only(family: Family) -> None:
    model = family.build()
    members = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    route = Route(gate(family), RULE, {"all": "rest"}, weights={"low": {"all": 0.0}, "high": {"all": 1.0}})
    with routed(model, route, members):
        actual = gradients(model, loss_of(family, model))
    keeps = torch.tensor([0.0, 1.0, 1.0]).repeat_interleave(TOKENS).unsqueeze(1)
    with gate_by_formula(model.get_submodule(gate(family)), lambda x: keeps * x + (1 - keeps) * x.detach()):
        assert_close(actual, gradients(model, loss_of(family, model)))


@families
def test_the_output_of_the_block_is_routed_as_a_tensor(family: Family) -> None:
    model, members = family.build(), members_of("tokens")
    block = "model.layers.0.mlp"
    route = Route(block, RULE, {"low": "0:3", "high": "rest"})
    with routed(model, route, members):
        actual = gradients(model, loss_of(family, model))

    def on_output(_: nn.Module, args: Any, output: Any) -> Any:
        x = output[0] if isinstance(output, tuple) else output
        m = full_mask(route, members, x.shape).to(x)
        x = m * x + (1 - m) * x.detach()
        return (x, *output[1:]) if isinstance(output, tuple) else x

    handle = model.get_submodule(block).register_forward_hook(on_output)
    assert_close(actual, gradients(model, loss_of(family, model)))
    handle.remove()


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
def test_any_kernel_of_experts_is_routed(implementation: str) -> None:
    model, members = MIXTRAL.build(), members_of("tokens")
    route = Route(EXPERTS, RULE, REGIONS, at="experts", weights=WEIGHTS)
    with experts_by_formula(model.get_submodule(EXPERTS), mask_of(route, members)):
        expected = gradients(model, loss_of(MIXTRAL, model))
    model.config._experts_implementation = implementation
    with routed(model, route, members):
        assert_close(gradients(model, loss_of(MIXTRAL, model)), expected)


def test_the_auxiliary_loss_is_routed_with_the_gate() -> None:
    model, members = MIXTRAL.build(), members_of("tokens")
    ids = torch.randint(VOCABULARY, (SAMPLES, TOKENS), generator=torch.Generator().manual_seed(0))
    route = Route(gate(MIXTRAL), RULE, REGIONS)
    mask = mask_of(route, members).float()
    loss = lambda: model(ids, output_router_logits=True, labels=ids).aux_loss  # noqa: E731
    with routed(model, route, members):
        actual = gradients(model, loss)
    with gate_by_formula(model.get_submodule(gate(MIXTRAL)), lambda x: mask * x + (1 - mask) * x.detach()):
        expected = gradients(model, loss)
    assert expected[gate(MIXTRAL) + ".weight"].any()
    assert_close(actual, expected)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("at", ["experts", "output"])
def test_checkpointing_changes_nothing(at: Literal["experts", "output"], reentrant: bool) -> None:
    model, members = MIXTRAL.build(), members_of("tokens")
    route = Route(EXPERTS if at == "experts" else gate(MIXTRAL), RULE, REGIONS, at=at)
    with routed(model, route, members):
        expected = gradients(model, loss_of(MIXTRAL, model))
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    model.get_input_embeddings().register_forward_hook(lambda _, args, output: output.requires_grad_())
    with routed(model, route, members):
        assert_close(gradients(model, loss_of(MIXTRAL, model)), expected)


@families
@pytest.mark.parametrize("zeroes", ["strategy", "forward"])
def test_zeroed_experts_add_nothing(family: Family, zeroes: str) -> None:
    model = family.build()
    members = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    regions: dict[str, Any] = {"low": "0:3", "high": "rest"}
    options: dict[str, Any] = {"strategy": "activation"} if zeroes == "strategy" else {}
    forward = {"low": ["high"], "high": ["low"]} if zeroes == "forward" else None
    route = Route(EXPERTS, RULE, regions, at="experts", forward=forward)
    with routed(model, route, members, **options):
        actual = family.run(model)
    experts: Any = model.get_submodule(EXPERTS)
    kept = torch.cat([members[:, :1].expand(-1, 3), members[:, 1:]], 1).repeat_interleave(TOKENS, 0)
    forward_of = experts.forward
    experts.forward = lambda *args: (kept.T.unsqueeze(-1) * contributions(forward_of, 4, *args)).sum(0)
    torch.testing.assert_close(actual, family.run(model), rtol=1e-4, atol=1e-4)


@families
def test_parameters_of_experts_and_gates_are_masked(family: Family) -> None:
    model = family.build()
    plain = gradients(model, loss_of(family, model))
    members = torch.tensor([[0.0, 1.0]] * SAMPLES)
    for module, at in ((EXPERTS, "experts"), (gate(family), "output")):
        place: Any = {"module": module, "at": at}
        with routed(
            model, Route(rule=RULE, regions={"low": "0:2", "high": "rest"}, **place), members, strategy="parameter"
        ):
            actual = gradients(model, loss_of(family, model))
        made = {piece.name for piece in unit_group(model, **place).producers}
        for name, gradient in plain.items():
            if name in made:
                assert not actual[name][:2].any()
            assert torch.equal(actual[name][2:], gradient[2:]) if name in made else torch.equal(actual[name], gradient)


@families
def test_ablated_experts_add_nothing(family: Family) -> None:
    model = family.build().eval()
    removed = deepcopy(model)
    ablate(removed, unit_group(removed, EXPERTS, "experts"), [1, 2], mode="zero")
    experts: Any = model.get_submodule(EXPERTS)
    forward_of = experts.forward
    experts.forward = lambda *args: contributions(forward_of, 4, *args)[[0, 3]].sum(0)
    torch.testing.assert_close(family.run(removed), family.run(model), rtol=1e-4, atol=1e-4)


def test_energies_are_those_of_single_contributions() -> None:
    model, members = MIXTRAL.build(), members_of("tokens")
    for place in ({"module": EXPERTS, "at": "experts"}, {"module": gate(MIXTRAL)}):
        route = Route(rule=RULE, regions=REGIONS, weights=WEIGHTS, **place)  # type: ignore[arg-type]
        mask, seen = mask_of(route, members).float(), list[Tensor]()
        with routed(model, route, members) as router:
            tap = router.taps[0]
            tap.probe = torch.zeros(2, 2, 2, requires_grad=True)
            gradients(model, loss_of(MIXTRAL, model))
            assert tap.probe.grad is not None
            actual = tap.probe.grad
        module: Any = model.get_submodule(route.patterns[0])

        def keep(_: nn.Module, args: Any, output: Any, seen: list[Tensor] = seen) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            chosen = torch.zeros(ROWS).scatter_(1, args[1], 1.0) if len(args) > 1 else torch.ones(ROWS)
            # Each chosen expert gets the gradient of the whole row; each logit has its own.
            tensor.register_hook(
                lambda grad: seen.append(grad if len(args) == 1 else chosen * grad.norm(dim=1, keepdim=True))
            )

        handle = module.register_forward_hook(keep)
        gradients(model, loss_of(MIXTRAL, model))
        handle.remove()
        for energies, factor in zip(actual, (mask, torch.ones_like(mask)), strict=True):  # behind the mask, before it
            squares = (seen[0] * factor).square()
            by_region = torch.stack([squares[:, :3].sum(1), squares[:, 3:].sum(1)], 1)
            torch.testing.assert_close(energies, members.flatten(0, 1).float().T @ by_region, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("at", ["experts", "output"])
def test_calls_without_gradients_may_have_any_samples(at: Literal["experts", "output"]) -> None:
    model = MIXTRAL.build()
    route = Route(EXPERTS if at == "experts" else gate(MIXTRAL), RULE, REGIONS, at=at)
    with routed(model, route, members_of("tokens")), torch.no_grad():
        model(torch.zeros(2, 1, dtype=torch.long))


class ScoreTopKRouter(nn.Module):
    """A gate that returns probabilities in the place of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = nn.functional.linear(x, self.weight).softmax(-1)
        return scores, scores.topk(2).values


class ScaledTopKRouter(ScoreTopKRouter):
    """A gate whose scores have a parameter of their own."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = nn.functional.linear(x, self.weight)
        return logits, logits.softmax(-1) * self.weight.sum()


class InputExperts(nn.Module):
    """Experts whose scores scale what they are given."""

    is_transposed, num_experts = False, 2
    _apply_gate = nn.Identity.forward

    def __init__(self) -> None:
        super().__init__()
        self.up_proj = nn.Parameter(torch.randn(2, 3, 3))

    def forward(self, x: Tensor, chosen: Tensor, scores: Tensor) -> Tensor:
        hidden = (x.unsqueeze(1) * scores.unsqueeze(-1)).unsqueeze(-2) @ self.up_proj[chosen]
        return hidden.squeeze(-2).tanh().sum(1)


def test_experts_that_use_scores_otherwise_are_refused_when_they_are_called() -> None:
    experts = InputExperts()
    route = Route("", RULE, {"low": "0:1", "high": "rest"}, at="experts")
    with pytest.raises(RoutingError, match="use the scores otherwise"), routed(experts, route, torch.eye(2)):
        experts(torch.randn(4, 3), torch.tensor([[0, 1]] * 4), torch.rand(4, 2))


@pytest.mark.parametrize("kind", [ScoreTopKRouter, ScaledTopKRouter])
def test_gates_with_other_outputs_are_refused_when_they_are_called(kind: type[nn.Module]) -> None:
    model = nn.Sequential(kind())
    with (
        pytest.raises(RoutingError, match="0: expected a gate that returns its logits"),
        routed(model, Route("0", RULE, REGIONS), torch.tensor([[1.0, 0.0]])),
    ):
        model(torch.randn(1, 3))


def test_what_has_no_meaning_for_mixtures_is_refused() -> None:
    model = MIXTRAL.build()
    for module, at in ((EXPERTS, "experts"), (gate(MIXTRAL), "output")):
        with pytest.raises(ValueError, match="a tensor that the model reads.*set `at: end` and `mode: zero`"):
            hook_tensor(model.get_submodule(module), at, lambda x: x, module)  # type: ignore[arg-type]
    with pytest.raises(RoutingError, match="module that holds all experts.*MixtralSparseMoeBlock"):
        Router([Route("model.layers.0.mlp", RULE, REGIONS, at="experts")]).attach(model)
    with pytest.raises(RoutingError, match="gate without `forward`"):
        Router([Route(gate(MIXTRAL), RULE, REGIONS, forward={"low": ["high"]})]).attach(model)
    with pytest.raises(RoutingError, match=r"within experts.*whole experts"):
        Router([Route(f"{EXPERTS}.act_fn", RULE, REGIONS)]).attach(model)
    members = torch.tensor([[1.0, 0.0]] * SAMPLES)
    with (
        pytest.raises(ValueError, match="zeros for the logits of a gate"),
        routed(model, Route(gate(MIXTRAL), RULE, REGIONS), members, strategy="activation"),
    ):
        MIXTRAL.run(model)
    with pytest.raises(UnknownStructureError, match="Ablate whole experts"):
        ablate(model, unit_group(model, gate(MIXTRAL)), [0], mode="zero")
    with pytest.raises(UnknownStructureError, match="experts compete"):
        expand(model, EXPERTS, 1, at="experts")
    with pytest.raises(UnknownStructureError, match="experts compete"):
        ablate(model, unit_group(model, EXPERTS, "experts"), [0])
