"""Every parameter's gradient, against the formula written naively and against one backward pass per sample."""

from functools import cache, partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from routing_oracles import SUBJECTS, Gradients, Subject, by_formula, gradients
from torch import Tensor

from lightning_vista.routing import FieldRule, Route, Router

pytestmark = pytest.mark.portable

SITES = [(name, site) for name, make in SUBJECTS.items() for site in make().sites]
GROUPS = ["a", "b", "c"]

subject = cache(lambda name: SUBJECTS[name]())


@st.composite
def routes(draw: st.DrawFn, name: str, site: str) -> tuple[Route, Tensor]:
    """A route at a site, and memberships for it: contiguous or scattered regions, hard or soft, any weights."""
    tested: Subject = subject(name)
    module, at, dim, unit_size, size = tested.sites[site]
    if draw(st.booleans()):
        cut = draw(st.integers(1, size - 1))
        regions: dict[str, Any] = {"a": f"0:{cut}", "b": "rest"}
    else:
        chosen = draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=size - 1, unique=True))
        regions = {"a": "rest", "b": chosen}
    weight = st.sampled_from([0.0, 1.0, 0.5, -0.75])
    weights = {g: {r: draw(weight) for r in regions} for g in GROUPS} if draw(st.booleans()) else None
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    tokens = [tested.tokens] if tested.tokens is not None and draw(st.booleans()) else []
    shape = (len(tested.inputs), *tokens, len(GROUPS) + 1)
    members = torch.randn(shape, generator=generator, dtype=torch.float64).mul(3).softmax(-1)
    if draw(st.booleans()):
        members = torch.nn.functional.one_hot(members.argmax(-1), len(GROUPS) + 1).double()
    return Route(module, FieldRule("members", GROUPS), regions, at, dim, unit_size, weights), members[..., :-1]


def routed(tested: Subject, route: Route, members: Tensor, inputs: Tensor | None = None) -> Gradients:
    router = Router([route])
    router.attach(tested.model)
    try:
        with router.memberships(dict(zip(GROUPS, members.unbind(-1), strict=True))):
            return gradients(tested.model, lambda: tested.loss(tested.inputs if inputs is None else inputs))
    finally:
        router.detach()


def assert_same(tested: Subject, actual: Gradients, expected: Gradients) -> None:
    unrouted = gradients(tested.model, lambda: tested.loss(tested.inputs))
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        assert torch.allclose(actual[name], gradient, rtol=1e-12, atol=1e-12 * scale), name
        blocked = (gradient == 0) & (unrouted[name].abs() > 1e-9 * scale)  # zero by routing, not by chance
        assert not actual[name][blocked].any(), f"{name} should not be trained"


@pytest.mark.parametrize(("name", "site"), SITES)
def test_gradients_are_those_of_the_formula(name: str, site: str) -> None:
    tested = subject(name)

    @settings(max_examples=6, deadline=None, derandomize=True)
    @given(routes(name, site))
    def check(case: tuple[Route, Tensor]) -> None:
        route, members = case
        with by_formula(tested.model, str(route.module), route, members):
            expected = gradients(tested.model, lambda: tested.loss(tested.inputs))
        assert_same(tested, routed(tested, route, members), expected)

    check()


@pytest.mark.parametrize(("name", "site"), SITES)
def test_gradients_are_the_sum_of_one_backward_pass_per_sample(name: str, site: str) -> None:
    """Each sample alone is of one group, or of none, so that whole regions are detached and nothing is weighed."""
    tested = subject(name)
    module, at, dim, unit_size, size = tested.sites[site]
    route = Route(module, FieldRule("members", GROUPS), {"a": f"0:{size // 2}", "b": "rest"}, at, dim, unit_size)
    groups = torch.tensor([0, 1, 3, 2])[: len(tested.inputs)]
    total: Gradients = {}
    for sample, group in zip(tested.inputs, groups.tolist(), strict=True):
        with detached(tested, route, {0: ["b"], 1: ["a"], 2: ["a", "b"], 3: []}[group]):
            alone = gradients(tested.model, partial(tested.loss, sample[None]))
        total = {key: total.get(key, 0) + gradient for key, gradient in alone.items()}
    members = torch.nn.functional.one_hot(groups, len(GROUPS) + 1).double()[:, :-1]
    assert_same(tested, routed(tested, route, members), total)


def detached(tested: Subject, route: Route, regions: list[str]) -> Any:
    """Stop the gradient of whole regions, by cutting the routed tensor in two."""
    module, _, dim, unit_size, size = tested.sites[next(s for s, v in tested.sites.items() if v[0] == route.module)]
    cut = size // 2 * unit_size

    def stop(x: Tensor) -> Tensor:
        parts: Any = x.split([cut, x.shape[dim] - cut], dim)
        return torch.cat([p.detach() if r in regions else p for p, r in zip(parts, ("a", "b"), strict=True)], dim)

    def on_output(_: Any, args: Any, output: Any) -> Any:
        return (stop(output[0]), *output[1:]) if isinstance(output, tuple) else stop(output)

    found = tested.model.get_submodule(module)
    if route.at == "output":
        return found.register_forward_hook(on_output)
    return found.register_forward_pre_hook(lambda _, args: (stop(args[0]), *args[1:]))
