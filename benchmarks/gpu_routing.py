"""Gradient routing on an accelerator: its exactness, its cost, and the paper's TinyStories run."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from lightning_vista.callbacks import GradientRouting, RoutingMonitor
from lightning_vista.routing import LabelRule, ParameterRoute, Route, Router, TokenRule, expand

MODULES = "transformer.h.*.mlp.act"
#: Names of the devices' arithmetic -> the type of the autocast, None for float32.
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Sizes:
    """The size of a GPT-Neo and of its batches.

    Attributes:
        width: Width of the residual stream.
        layers: Number of layers.
        heads: Number of heads.
        vocabulary: Number of token ids.
        batch: Number of sequences in a step.
        tokens: Number of tokens of a sequence.
    """

    width: int
    layers: int
    heads: int
    vocabulary: int
    batch: int
    tokens: int

    def model(self, device: torch.device) -> GPTNeoForCausalLM:
        """Build the model, with the same weights each time."""
        torch.manual_seed(0)
        config = GPTNeoConfig(
            vocab_size=self.vocabulary, hidden_size=self.width, num_layers=self.layers, num_heads=self.heads,
            attention_types=[[["global", "local"], self.layers // 2]], max_position_embeddings=2048, window_size=256,
            bos_token_id=0, eos_token_id=0, attention_dropout=0.0, embed_dropout=0.0, resid_dropout=0.0,
        )  # fmt: skip
        with device:
            return GPTNeoForCausalLM(config).train()

    def batch_of(self, device: torch.device, seed: int = 0) -> Tensor:
        """Return tokens `(batch, tokens)`, frequent ones first, as in texts (Zipf's law)."""
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.rand(self.batch, self.tokens, generator=generator, dtype=torch.float64)
        return (self.vocabulary**uniform - 1).long().clamp(0, self.vocabulary - 1).to(device)

    def routes(self, forget: int | None = None) -> list[Route]:
        """Build routes in which the first tenth of the token ids train an eighth of the units, the others the rest."""
        rule = TokenRule({"forget": list(range(forget or self.vocabulary // 10))}, otherwise="retain")
        return [Route(MODULES, rule, {"forget": f"0:{self.width // 2}", "retain": "rest"})]


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(works: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of works that take turns, after a warm-up round; every second round runs backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in list(works.items())[:: -1 if number % 2 else 1]:
            synchronize(device)
            start = time.perf_counter()
            work()
            synchronize(device)
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], ours: str, baseline: str) -> float:
    """Return the median over rounds of the ratio within a round."""
    return median(one / other for one, other in zip(seconds[ours], seconds[baseline], strict=True))


def exactness(sizes: Sizes, device: torch.device, compiler: str) -> Iterator[list[str]]:
    """Compare the gradients of routing with those of the paper's formula, and with zero where nothing may arrive.

    Args:
        sizes: Sizes of the model.
        device: Device.
        compiler: Backend of `torch.compile`.

    Yields:
        Precision and mode; differences from the gradients of the formula, as shares of their norm: of routing, of
        another run of the formula, and of no routing; and the largest gradient of blocked parameters.
    """
    tokens = sizes.batch_of(device)
    blocked = torch.randint(0, sizes.vocabulary // 10, tokens.shape, generator=torch.Generator().manual_seed(1))
    for name, dtype in PRECISIONS.items():
        for backend in (None, compiler):
            run = _Gradients(sizes, device, dtype, backend)
            formula, ours = run.by_formula(tokens), run.by_routing(tokens)
            others = [ours, run.by_formula(tokens), run.unrouted(tokens)]
            norm = torch.linalg.vector_norm(formula)
            differences = [f"{float(torch.linalg.vector_norm(other - formula) / norm):.1e}" for other in others]
            leak = run.leak(blocked.to(device))
            yield [name, "eager" if backend is None else "compiled", *differences, f"{leak:g}"]


class _Gradients:
    """Gradients of one model in one precision, eager or compiled."""

    def __init__(self, sizes: Sizes, device: torch.device, dtype: torch.dtype | None, backend: str | None) -> None:
        self.sizes, self.device, self.dtype, self.backend = sizes, device, dtype, backend

    def by_routing(self, tokens: Tensor) -> Tensor:
        model = self.sizes.model(self.device)
        router = Router(self.sizes.routes())
        router.attach(model)
        router.compute({"input_ids": tokens})
        return self._backward(model, tokens)

    def unrouted(self, tokens: Tensor) -> Tensor:
        return self._backward(self.sizes.model(self.device), tokens)

    def by_formula(self, tokens: Tensor) -> Tensor:
        """Return the gradients of `m * x + (1 - m) * stop_gradient(x)`, with a mask of the tensor's size."""
        model = self.sizes.model(self.device)
        (route,) = self.sizes.routes()
        region = (torch.arange(4 * self.sizes.width, device=self.device) >= self.sizes.width // 2).long()
        members = route.rule.memberships({"input_ids": tokens})
        mask = (1 + members @ (route.weight_table().float().to(self.device) - 1))[..., region]

        def hook(_: nn.Module, __: object, x: Tensor) -> Tensor:
            own = mask.to(x.dtype)
            return own * x + (1 - own) * x.detach()

        for block in model.get_submodule("transformer.h").children():
            block.get_submodule("mlp.act").register_forward_hook(hook)
        return self._backward(model, tokens)

    def leak(self, forget_tokens: Tensor) -> float:
        """Return the largest gradient of the rows that make units of "retain", where all tokens are of "forget"."""
        model = self.sizes.model(self.device)
        router = Router(self.sizes.routes())
        router.attach(model)
        router.compute({"input_ids": forget_tokens})
        self._backward(model, forget_tokens)
        first = self.sizes.width // 2
        # The last position of a text predicts nothing, so it is in no group, and no gradient reaches it.
        rows = [block.mlp.c_fc for block in model.transformer.h]
        return max(
            float(p.grad[first:].abs().max()) for row in rows for p in (row.weight, row.bias) if p.grad is not None
        )

    def _backward(self, model: Any, tokens: Tensor) -> Tensor:
        called = _compiled(model, self.backend)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            loss = called(tokens, labels=tokens).loss
        loss.backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        return torch.cat([gradient.flatten().double() for gradient in gradients])


def overhead(sizes: Sizes, device: torch.device, rounds: int, backend: str | None) -> list[str]:
    """Compare training steps in bfloat16: routed by units, with a route on all parameters, and unrouted.

    Args:
        sizes: Sizes of the model.
        device: Device.
        rounds: Number of rounds.
        backend: Backend of `torch.compile`; None for eager mode.

    Returns:
        Number of parameters in millions, mode, milliseconds of an unrouted step, and both ratios.
    """
    steps = {kind: make_step(kind, sizes, device, backend) for kind in ("plain", "routed", "parameters")}
    seconds = timed(steps, rounds, device)
    millions = sum(parameter.numel() for parameter in sizes.model(torch.device("meta")).parameters()) / 1e6
    ratios = [f"{ratio(seconds, kind, 'plain'):.3f}" for kind in ("routed", "parameters")]
    mode = "eager" if backend is None else "compiled"
    return [f"{millions:,.1f} M", mode, f"{1000 * median(seconds['plain']):.1f}", *ratios]


def make_step(kind: str, sizes: Sizes, device: torch.device, backend: str | None) -> Callable[[], None]:
    """Return a training step of a model, "plain", "routed" by units, or under a route on its "parameters"."""
    model, tokens = sizes.model(device), sizes.batch_of(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    before: Callable[[], object] = lambda: None  # noqa: E731 # replaced below
    if kind == "routed":
        router = Router(sizes.routes())
        router.attach(model)
        before = lambda: router.compute({"input_ids": tokens})  # noqa: E731
    elif kind == "parameters":
        router = Router([ParameterRoute(LabelRule("held", {"held": [1]}), {"held": 0.0}, exclude=["*.mlp.*"])])
        router.attach(model)
        router.guard(optimizer)
        held = torch.zeros(sizes.batch, dtype=torch.long, device=device)
        before = lambda: router.compute({"held": held})  # noqa: E731
    called = _compiled(model, backend)

    def step() -> None:
        before()
        with torch.autocast(device.type, torch.bfloat16):
            loss = called(tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _compiled(model: nn.Module, backend: str | None) -> Any:
    torch.compiler.reset()  # graphs of earlier models would count towards the limit of recompilations
    return model if backend is None else torch.compile(model, backend=backend)


class _Texts(L.LightningModule):
    """A language model that Lightning trains."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        super().__init__()
        self.model = sizes.model(device)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss."""
        loss: Tensor = self.model(batch["input_ids"], labels=batch["input_ids"]).loss
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


class _StepTimes(L.Callback):
    """A callback that records the seconds of each step, as the last one of the trainer."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Start the clock."""
        synchronize(trainer.strategy.root_device)
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Stop the clock."""
        synchronize(trainer.strategy.root_device)
        self.seconds.append(time.perf_counter() - self._start)


def monitor(sizes: Sizes, device: torch.device, steps: int) -> Iterator[list[str]]:
    """Time Lightning's training steps: unrouted, routed, and with a `RoutingMonitor` that measures each step.

    Yields:
        Name, median milliseconds of a step, and the ratio to the unrouted one.
    """
    callbacks: dict[str, list[L.Callback]] = {
        "unrouted": [],
        "`GradientRouting`": [_routing(sizes)],
        "`GradientRouting` and `RoutingMonitor(every_n_steps=1)`": [_routing(sizes), RoutingMonitor(every_n_steps=1)],
    }
    baseline = 0.0
    for name, own in callbacks.items():
        times = _StepTimes()
        trainer = L.Trainer(
            accelerator=device.type, devices=1, precision="bf16-mixed", max_steps=steps, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[*own, times],
        )  # fmt: skip
        batches = [{"input_ids": sizes.batch_of(torch.device("cpu"), seed)} for seed in range(steps)]
        trainer.fit(_Texts(sizes, torch.device("cpu")), DataLoader(batches, batch_size=None))
        spent = median(times.seconds[min(3, len(times.seconds) - 1) :])
        baseline = baseline or spent
        yield [name, f"{1000 * spent:.1f}", f"{spent / baseline:.3f}"]


def _routing(sizes: Sizes) -> GradientRouting:
    (route,) = sizes.routes()
    return GradientRouting(
        [Route(f"model.{route.module}", route.rule, {"forget": f"0:{sizes.width // 2}", "retain": "rest"})]
    )


def tiny_stories(sizes: Sizes, device: torch.device, seconds: float, most_steps: int = 5000) -> list[str]:
    """Train the paper's model of TinyStories on synthetic tokens for as many steps as fit.

    As in the paper's configuration: 64 new units in the first five MLPs, of which forget tokens alone train all, and
    which take -0.75 of their gradient from the old units; AdamW at 5e-4 after 100 steps of warm-up, clipped to 1.

    Args:
        sizes: Sizes of the paper's model and batch.
        device: Device.
        seconds: Time to train.
        most_steps: Number of steps in the paper.

    Returns:
        Number of steps, milliseconds of a step, tokens a second, hours of the paper's 5,000 steps, first and last loss,
        and the peak of memory in GB.
    """
    model, expanded = sizes.model(device), min(5, sizes.layers)
    for number in range(expanded):
        expand(model, f"transformer.h.{number}.mlp.act", 64)
    rule = TokenRule({"forget": list(range(40, 60))}, otherwise="retain")
    weights = {"forget": {"old": -0.75, "new": 1.0}, "retain": {"old": 1.0, "new": 1.0}}
    names = "|".join(map(str, range(expanded)))
    routes = [Route(f"transformer.h.[{names}].mlp.act", rule, {"new": "-64:", "old": "rest"}, weights=weights)]
    router = Router(routes)
    router.attach(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.95), weight_decay=0.1)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 100))
    losses, spent = [], []
    start = time.perf_counter()
    while time.perf_counter() - start < seconds and len(losses) < most_steps:
        began = time.perf_counter()
        tokens = sizes.batch_of(device, len(losses))
        router.compute({"input_ids": tokens})
        with torch.autocast(device.type, torch.bfloat16):
            loss = model(tokens, labels=tokens).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        warmup.step()
        losses.append(float(loss.detach()))
        spent.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")
    step = median(spent)
    rate = sizes.batch * sizes.tokens / step
    times = [f"{len(losses):,}", f"{1000 * step:.1f}", f"{rate:,.0f}", f"{most_steps * step / 3600:.2f}"]
    return [*times, f"{losses[0]:.3f}", f"{losses[-1]:.3f}", f"{peak:.1f}"]
