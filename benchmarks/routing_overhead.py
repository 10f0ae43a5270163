"""The cost of gradient routing, each figure beside a baseline of the same run.

    python benchmarks/routing_overhead.py --json results.json

A GPT-Neo with 28 million parameters (4 layers, width 400, 8 heads, 50,257 tokens, tied embeddings) is trained on random
tokens with AdamW; the hidden units of all MLPs are routed by token. A route on parameters covers all of them: its data
train them, or hold all but those of the MLPs still. `--width 256 --vocabulary 1344` measures a small model, whose steps
are short.

The variants take turns. Each figure is the median over rounds of the ratio of CPU seconds within a round, which other
work on the machine disturbs less than wall-clock seconds; their ratio is reported beside it.
"""

import argparse
import ctypes
import json
import logging
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from loop import Cost
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from lightning_vista.routing import LabelRule, ParameterRoute, Route, Router, TokenRule

_MODULES = "transformer.h.*.mlp.act"
_RULE_TOKENS = 65_536


@dataclass
class Measurement:
    """One line of the table.

    Attributes:
        name: Name of the measurement.
        value: Figure with a target.
        target: Largest acceptable value.
        details: Parts of the figure.
    """

    name: str
    value: float
    target: float
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """True if the value meets the target."""
        return self.value <= self.target


def make_model(options: argparse.Namespace) -> GPTNeoForCausalLM:
    """Build the model, with the same weights each time."""
    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=options.vocabulary, hidden_size=options.width, num_layers=4, num_heads=8,
        attention_types=[[["global", "local"], 2]], max_position_embeddings=512, bos_token_id=0, eos_token_id=0,
        attention_dropout=0.0, embed_dropout=0.0, resid_dropout=0.0,
    )  # fmt: skip
    return GPTNeoForCausalLM(config).train()


def make_routes(options: argparse.Namespace) -> list[Route]:
    """Build routes in which a tenth of the tokens train one eighth of the hidden units, and the others the rest."""
    rule = TokenRule({"forget": list(range(options.vocabulary // 10))}, otherwise="retain")
    return [Route(_MODULES, rule, {"forget": f"0:{options.width // 2}", "retain": "rest"})]


def by_formula(model: nn.Module, options: argparse.Namespace) -> Callable[[Tensor], None]:
    """Route by the paper's formula, `m * x + (1 - m) * stop_gradient(x)`, with a mask of the tensor's size.

    Returns:
        A function to call with the tokens before each step.
    """
    (route,) = make_routes(options)
    region = (torch.arange(4 * options.width) >= options.width // 2).long()
    weights = torch.empty(0)

    def before(tokens: Tensor) -> None:
        nonlocal weights
        members = route.rule.memberships({"input_ids": tokens})
        weights = 1 + members @ (route.weight_table().float() - 1)

    def hook(_: nn.Module, __: object, x: Tensor) -> Tensor:
        mask = weights[..., region]
        return mask * x + (1 - mask) * x.detach()

    for block in model.get_submodule("transformer.h").children():
        block.get_submodule("mlp.act").register_forward_hook(hook)
    return before


def make_routed(kind: str, options: argparse.Namespace) -> tuple[GPTNeoForCausalLM, Callable[[Tensor], None]]:
    """Build a "plain" or "routed" model, or one by "formula", with a function to call before each step."""
    model = make_model(options)
    if kind == "formula":
        return model, by_formula(model, options)
    if kind == "plain":
        return model, lambda tokens: None
    router = Router(make_routes(options))
    router.attach(model)
    return model, lambda tokens: router.compute({"input_ids": tokens})


def make_held_step(kind: str, options: argparse.Namespace) -> Callable[[], None]:
    """Return a training step on data that train all parameters of a route on parameters, or that "hold" them."""
    model = make_model(options)
    rule = LabelRule("held", {"held": [1]})
    router = Router([ParameterRoute(rule, {"held": 0.0}, exclude=["*.mlp.*"] if kind == "held" else [])])
    router.attach(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    router.guard(optimizer)
    held = torch.full((options.batch,), int(kind == "held"))
    return train(model, optimizer, lambda tokens: router.compute({"held": held}), options)


def make_step(kind: str, options: argparse.Namespace, is_compiled: bool = False) -> Callable[[], None]:
    """Return a training step."""
    model, before = make_routed(kind, options)
    called: Any = torch.compile(model) if is_compiled else model
    return train(called, torch.optim.AdamW(model.parameters(), lr=1e-4), before, options)


def train(
    model: Any, optimizer: torch.optim.Optimizer, before: Callable[[Tensor], None], options: argparse.Namespace
) -> Callable[[], None]:
    """Return a training step of a model, with a function to call before it."""
    tokens = torch.randint(options.vocabulary, (options.batch, options.tokens))

    def step() -> None:
        before(tokens)
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def make_activations(kind: str, options: argparse.Namespace) -> Callable[[], None]:
    """Return a step of the routed activations alone, forward and backward.

    In a whole training step their cost would be lost in the noise.
    """
    model, before = make_routed(kind, options)
    tokens = torch.randint(options.vocabulary, (options.batch, options.tokens))
    hidden = torch.randn(*tokens.shape, 4 * options.width, requires_grad=True)
    gradient = torch.randn_like(hidden)
    modules = [block.get_submodule("mlp.act") for block in model.get_submodule("transformer.h").children()]

    def step() -> None:
        before(tokens)
        for module in modules:
            hidden.grad = None
            module(hidden).backward(gradient)

    return step


def keep_memory() -> None:
    """Let the C library keep what is freed: a tenth of a step can be page faults, of whichever variant comes next."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # glibc
        library.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
        library.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD


def take_turns(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[Cost]]:
    """Measure the costs of some works, each done once in every round, after a warm-up round.

    Every second round runs backwards: what a work finds in caches and free memory depends on the one before it.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in list(works.items())[:: -1 if number % 2 else 1]:
            cost = Cost.of(work)
            if number:
                costs[name].append(cost)
    return costs


def ratio(costs: Mapping[str, Sequence[Cost]], ours: str, baseline: str) -> tuple[float, dict[str, Any]]:
    """Return the median ratio of CPU seconds, and details such as the ratio of seconds."""
    pairs = list(zip(costs[ours], costs[baseline], strict=True))
    details = {
        "seconds_ratio": median(one.seconds / other.seconds for one, other in pairs),
        "cpu_seconds": median(one.cpu for one in costs[ours]),
        "baseline_cpu_seconds": median(other.cpu for other in costs[baseline]),
        "all": {name: costs[name] for name in (ours, baseline)},
        "load": os.getloadavg()[0],
    }
    return median(one.cpu / other.cpu for one, other in pairs), details


def steps(options: argparse.Namespace, is_compiled: bool) -> Measurement:
    """Compare a routed step with an unrouted one."""
    works = {kind: make_step(kind, options, is_compiled) for kind in ("plain", "routed")}
    value, details = ratio(take_turns(works, options.rounds), "routed", "plain")
    return Measurement(f"{'compiled ' * is_compiled}step: routed / unrouted", value, 1.02, details)


def parameters(options: argparse.Namespace, kind: str) -> Measurement:
    """Compare a step under a route on parameters with an unrouted one."""
    works = {"plain": make_step("plain", options), kind: make_held_step(kind, options)}
    value, details = ratio(take_turns(works, options.rounds), kind, "plain")
    return Measurement(f"ParameterRoute, {kind} parameters: routed / unrouted", value, 1.02, details)


def activations(options: argparse.Namespace) -> Measurement:
    """Compare the cost that our operation adds to the routed activations, including the rule, with the formula's."""
    kinds = ("plain", "routed", "formula")
    costs = take_turns({kind: make_activations(kind, options) for kind in kinds}, 10 * options.rounds)
    plain, routed, formula = (median(cost.cpu for cost in costs[kind]) for kind in kinds)
    details = {"plain_cpu_seconds": plain, "routed_cpu_seconds": routed, "formula_cpu_seconds": formula}
    value = (routed - plain) / (formula - plain)
    return Measurement("activations: what routing adds / what the formula adds", value, 1 / 8, details)


def rules(options: argparse.Namespace) -> Measurement:
    """Compare the rule on many tokens with a step on as many, which is extrapolated from a smaller step."""
    tokens = torch.randint(options.vocabulary, (_RULE_TOKENS // options.tokens, options.tokens))
    (route,) = make_routes(options)
    works = {"rule": lambda: route.rule.memberships({"input_ids": tokens}), "step": make_step("plain", options)}
    costs = take_turns(works, options.rounds)
    rule, step = (median(cost.cpu for cost in costs[name]) for name in works)
    step *= _RULE_TOKENS / (options.batch * options.tokens)
    details = {"rule_cpu_seconds": rule, "extrapolated_step_cpu_seconds": step}
    return Measurement(f"rule on {_RULE_TOKENS:,} tokens / step on as many", rule / step, 0.01, details)


def memory() -> Measurement:
    """Compare the peak memory of two processes that train."""
    script = [sys.executable, __file__, *sys.argv[1:], "--peak-of"]
    peaks = {
        kind: int(subprocess.run([*script, kind], check=True, capture_output=True, text=True, timeout=600).stdout)
        for kind in ("plain", "routed")
    }
    return Measurement("peak memory: routed / unrouted", peaks["routed"] / peaks["plain"], 1.01, {"bytes": peaks})


def print_peak(kind: str, options: argparse.Namespace) -> None:
    """Train for three steps and print the largest resident set of this process, in bytes."""
    step = make_step(kind, options)
    for _ in range(3):
        step()
    # Not `ru_maxrss`, which starts at the resident set of the process that started this one.
    kilobytes = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    print(int(kilobytes[0]) * 1024)


def imports(rounds: int) -> Measurement:
    """Compare the import of our callbacks with the import of Lightning alone."""
    codes = {"ours": "import lightning_vista.callbacks", "lightning": "import lightning"}
    works = {name: partial(subprocess.run, [sys.executable, "-c", code], check=True) for name, code in codes.items()}
    value, details = ratio(take_turns(works, rounds), "ours", "lightning")
    return Measurement("import: lightning_vista.callbacks / lightning", value, 1.15, details)


def measure(options: argparse.Namespace) -> Iterator[Measurement]:
    """Yield the selected measurements."""
    if "eager" in options.only:
        yield steps(options, is_compiled=False)
    if "parameters" in options.only:
        yield parameters(options, "trained")
        yield parameters(options, "held")
    if "activations" in options.only:
        yield activations(options)
    if "rule" in options.only:
        yield rules(options)
    if "compiled" in options.only:
        yield steps(options, is_compiled=True)
    if "memory" in options.only:
        yield memory()
    if "imports" in options.only:
        yield imports(options.rounds)


def main() -> None:
    """Measure, print a table, write JSON."""
    options = parse()
    torch.set_num_threads(1)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    if options.peak_of:
        print_peak(options.peak_of, options)
        return
    keep_memory()
    started = time.strftime("%Y-%m-%d %H:%M")
    size = sum(parameter.numel() for parameter in make_model(options).parameters())
    measurements = list(measure(options))
    title = f"Routing overhead, {size / 1e6:.1f} M parameters, one thread, load {os.getloadavg()[0]:.1f}"
    table = Table("measured", "CPU ratio", "target", "met", "ratio of seconds", title=title)
    for item in measurements:
        seconds = item.details.get("seconds_ratio")
        cells = (f"{item.value:.4g}", f"<= {item.target:g}", "yes" if item.met else "NO")
        table.add_row(item.name, *cells, "" if seconds is None else f"{seconds:.3f}")
    Console(width=120).print(table)
    if options.json:
        machine = {"cores": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version(), "at": started}
        machine |= {"torch": torch.__version__, "parameters": size}
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
        lines = [asdict(item) | {"met": item.met} for item in measurements]
        document = {"machine": machine, "settings": settings, "measurements": lines}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Parse the options; all of them have defaults."""
    parser = argparse.ArgumentParser(description="Measure the cost of gradient routing.")
    parts = ["eager", "parameters", "activations", "rule", "compiled", "memory", "imports"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="parts to measure")
    parser.add_argument("--json", type=Path, help="file for all measurements")
    parser.add_argument("--rounds", type=int, default=15, help="number of rounds")
    parser.add_argument("--batch", type=int, default=8, help="number of sequences in a step")
    parser.add_argument("--tokens", type=int, default=128, help="number of tokens of a sequence")
    parser.add_argument("--width", type=int, default=400, help="width of the model")
    parser.add_argument("--vocabulary", type=int, default=50_257, help="number of token ids")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
