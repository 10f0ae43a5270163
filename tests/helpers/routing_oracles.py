"""Slow, independent ways to route gradients, and small models to route in."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_vista.routing import Route

Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class Subject:
    """A model, an input and the routes to try.

    Attributes:
        model: In double precision and training mode; samples do not influence each other.
        inputs: The batch.
        tokens: The number of tokens that memberships may be about, or None.
        sites: Name -> module, at, dim, unit_size and the number of units.
    """

    model: nn.Module
    inputs: Tensor
    tokens: int | None
    sites: Mapping[str, tuple[str, Any, int, int, int]]

    def loss(self, inputs: Tensor) -> Tensor:
        """A sum over samples of something that depends on all outputs."""
        output = self.model(inputs)
        output = output if isinstance(output, Tensor) else output.logits
        weights = torch.linspace(-1, 2, output[0].numel(), dtype=output.dtype).view(output[0].shape)
        return (output.square() * weights).sum()


def gradients(model: nn.Module, loss: Callable[[], Tensor]) -> Gradients:
    """The gradient of every parameter, zeros where there is none."""
    model.zero_grad()
    loss().backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}


def full_mask(route: Route, members: Tensor, shape: torch.Size) -> Tensor:
    """The mask `m` in the shape of the routed tensor, built one unit at a time from the definition."""
    groups, dim = route.rule.groups, route.dim % len(shape)
    mask = torch.empty(shape, dtype=torch.float64)
    size = shape[dim] // route.unit_size
    named = {u: name for name, spec in route.regions.items() if spec != "rest" for u in _units(spec, size)}
    rest = next((name for name, spec in route.regions.items() if spec == "rest"), "")
    for unit in range(size):
        region = named.get(unit, rest)
        given = route.weights or {}
        weight = [given.get(group, {}).get(region, 1.0 if group == region else 0.0) for group in groups]
        m = (members * torch.tensor(weight, dtype=torch.float64)).sum(-1) + 1 - members.sum(-1)
        m = m.view(*m.shape, *[1] * (len(shape) - m.dim() - 1))
        entries = slice(unit * route.unit_size, (unit + 1) * route.unit_size)
        mask.movedim(dim, -1)[..., entries] = m.unsqueeze(-1)
    return mask


def _units(spec: str | list[int], size: int) -> list[int]:
    return (
        list(range(size))[slice(*(int(p) if p else None for p in spec.split(":")))] if isinstance(spec, str) else spec
    )


@contextmanager
def by_formula(model: nn.Module, module: str, route: Route, members: Tensor) -> Iterator[None]:
    """Replace the routed tensor by `m * x + (1 - m) * stop_gradient(x)`, with a mask of its full size."""

    def routed(x: Tensor) -> Tensor:
        m = full_mask(route, members, x.shape).to(x.dtype)
        return m * x + (1 - m) * x.detach()

    def on_output(_: nn.Module, args: Any, output: Any) -> Any:
        return (routed(output[0]), *output[1:]) if isinstance(output, tuple) else routed(output)

    def on_input(_: nn.Module, args: Any) -> Any:
        return (routed(args[0]), *args[1:])

    found = model.get_submodule(module)
    handle = (
        found.register_forward_hook(on_output) if route.at == "output" else found.register_forward_pre_hook(on_input)
    )
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def contributions(forward: Callable[..., Tensor], size: int, x: Tensor, chosen: Tensor, scores: Tensor) -> Tensor:
    """What each expert of a mixture adds to its output, by a call in which all others have the score 0."""
    return torch.stack([forward(x, chosen, scores * (chosen == expert)) for expert in range(size)])


@contextmanager
def experts_by_formula(module: Any, mask: Tensor) -> Iterator[None]:
    """Mask what each expert contributes by `mask` `(rows, experts)`, before the contributions are added up."""
    forward = module.forward

    def routed(x: Tensor, chosen: Tensor, scores: Tensor) -> Tensor:
        terms, m = contributions(forward, mask.shape[1], x, chosen, scores), mask.to(x).T.unsqueeze(-1)
        return (m * terms + (1 - m) * terms.detach()).sum(0)

    with _replaced(module, "forward", routed):
        yield


@contextmanager
def gate_by_formula(module: Any, routed: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Mask the logits of a gate where it computes them, by the only linear map that it has."""
    forward, linear = module.forward, nn.functional.linear

    def call(*args: Any) -> Any:
        with _replaced(nn.functional, "linear", lambda *given: routed(linear(*given))):
            return forward(*args)

    with _replaced(module, "forward", call):
        yield


def mlp() -> Subject:
    """Two hidden layers on tokens."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 12), nn.ReLU(inplace=True), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 3)
    ).double()
    sites = {
        "first": ("0", "output", -1, 1, 12),
        "pairs": ("2", "input", -1, 2, 6),
        "second": ("3", "output", -1, 1, 6),
    }
    return Subject(model, torch.randn(4, 7, 5, dtype=torch.float64), 7, sites)


def resnet() -> Subject:
    """A residual network of convolutions; channels are units."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=3, stem_width=8).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # in training its samples would influence each other
    sites = {"stage": ("layer2", "output", 1, 1, 128), "inside": ("layer3.0.conv1", "output", 1, 1, 256)}
    return Subject(model, torch.randn(3, 3, 32, 32, dtype=torch.float64), None, sites)


def vit() -> Subject:
    """A vision transformer; heads and the residual stream."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=24, depth=2, num_heads=3, num_classes=3
    ).double()
    sites = {
        "heads": ("blocks.0.attn.proj", "input", -1, 8, 3),
        "residual": ("blocks.0", "output", -1, 1, 24),
        "hidden": ("blocks.1.mlp.act", "output", -1, 1, 96),
    }
    return Subject(model, torch.randn(3, 3, 32, 32, dtype=torch.float64), None, sites)


def gpt_neo() -> Subject:
    """GPT-Neo; MLP units, heads and the residual stream."""
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=19, hidden_size=16, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]],
        max_position_embeddings=8, window_size=4, attention_dropout=0.0, embed_dropout=0.0, resid_dropout=0.0,
    )  # fmt: skip
    sites = {
        "hidden": ("transformer.h.0.mlp.act", "output", -1, 1, 64),
        "heads": ("transformer.h.1.attn.attention.out_proj", "input", -1, 4, 4),
        "residual": ("transformer.h.0", "output", -1, 1, 16),
    }
    return Subject(GPTNeoForCausalLM(config).double().train(), torch.randint(19, (3, 8)), 8, sites)


def llama() -> Subject:
    """Llama with grouped queries; units of the gated MLP, heads and the residual stream."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=19, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=8,
    )  # fmt: skip
    sites = {
        "hidden": ("model.layers.0.mlp.down_proj", "input", -1, 1, 24),
        "heads": ("model.layers.1.self_attn.o_proj", "input", -1, 4, 4),
        "residual": ("model.layers.0", "output", -1, 1, 16),
    }
    return Subject(LlamaForCausalLM(config).double().train(), torch.randint(19, (3, 8)), 8, sites)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "mlp": mlp,
    "resnet": resnet,
    "vit": vit,
    "gpt_neo": gpt_neo,
    "llama": llama,
}
