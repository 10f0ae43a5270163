"""The command `doctor`: what is installed here, and what each feature still needs."""

import argparse
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from lightning_vista import __version__

_PACKAGE = "lightning-vista"
#: Environment variables that hold keys. Only their presence is shown.
_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY", "HF_TOKEN", "WANDB_API_KEY")
#: Folders of weights and shards that programs keep: the variable that moves each, and its place in the home folder.
_CACHES = {
    "Hugging Face": ("HF_HOME", ".cache/huggingface"),
    "torch": ("TORCH_HOME", ".cache/torch"),
    "lightning-vista": ("XDG_CACHE_HOME", ".cache/lightning_vista"),
}
#: Extras that are for developers of this package.
_INTERNAL = ("dev",)
_WORD = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra == ['\"]([^'\"]+)['\"]")


class Feature(NamedTuple):
    """A feature and what it needs.

    Attributes:
        name: Words for the feature, with its command.
        extra: Extra that brings its packages; empty for the base installation.
        keys: Environment variables of which one must be set.
        packages: Those of the extra that the feature uses; all of them if empty.
    """

    name: str
    extra: str = ""
    keys: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


FEATURES = (
    Feature("route gradients in your own model (fit, routing check)"),
    Feature("pictures of routing (RoutingMonitor)", "plots", packages=("matplotlib", "pillow")),
    Feature("problem sets and shards (import, compose, shards)", "vista"),
    Feature("the embedded dataset (demo, mini)", "mini"),
    Feature("local scorers (CLIP, SigLIP, ViCLIP, Qwen3-VL, ...)", "vlm"),
    Feature("models of OpenAI", "vlm", ("OPENAI_API_KEY",)),
    Feature("models on a server of your own (vLLM, ollama)", "vlm"),
    Feature("models of Anthropic", "vlm", ("ANTHROPIC_API_KEY",)),
    Feature("models of Google", "vlm", ("GEMINI_API_KEY",)),
    Feature("models at OpenRouter", "vlm", ("OPENROUTER_API_KEY",)),
    Feature("reports and studies of scores (report, study)", "vista"),
    Feature("studies of images and poison (study)", "studies"),
    Feature("unlearning texts", "text"),
    Feature("the pretrained model of a tutorial", "pretrained"),
    Feature("LoRA adapters", "adapters"),
    Feature("routing in the Trainer of transformers", "trainer"),
    Feature("scorers as rewards", "rl"),
    Feature("wandb", "wandb"),
)


def add_doctor_command(commands: Any) -> None:  # argparse's own type is private
    """Add the command `doctor`.

    Args:
        commands: Subparsers of the main command.
    """
    doctor = commands.add_parser("doctor", help="show versions, extras, devices and keys, and what features still need")
    doctor.set_defaults(run=doctor_command)


def doctor_command(options: argparse.Namespace) -> None:
    """Print what is installed, and what each feature still needs."""
    missing = missing_packages()
    for title, lines in (
        ("Versions", _versions()),
        ("Devices", _devices()),
        ("Extras", _extras(missing)),
        ("Caches", _caches()),
        ("Keys in the environment (values are not shown)", _present_keys()),
        ("Features", _features(missing)),
    ):
        print(f"{title}\n" + "".join(f"  {line}\n" for line in lines))


def missing_packages() -> dict[str, list[str]]:
    """Return, for each extra, the packages of its list that are not installed or too old.

    Extras of an extra are included. Versions are compared with the lower and upper bounds of the list.
    """
    requirements = metadata.requires(_PACKAGE) or []
    direct: dict[str, list[str]] = {}
    for requirement in requirements:
        for extra in _EXTRA.findall(requirement):
            direct.setdefault(extra, []).append(requirement.partition(";")[0].strip())
    return {extra: sorted(set(_missing(extra, direct))) for extra in direct if extra not in _INTERNAL}


def _missing(extra: str, direct: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield the requirements of an extra that are not met, through the extras that it contains."""
    for requirement in direct.get(extra, []):
        if requirement.startswith(f"{_PACKAGE}["):
            for inner in requirement[len(_PACKAGE) + 1 :].partition("]")[0].split(","):
                yield from _missing(inner.strip(), direct)
        elif not _is_met(requirement):
            yield requirement


def _is_met(requirement: str) -> bool:
    """Tell whether an installed version fulfils a requirement such as `av>=17`."""
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        return wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def _versions() -> Iterator[str]:
    yield f"Python {platform.python_version()} on {platform.system()} {platform.machine()}: {sys.executable}"
    yield f"lightning-vista {__version__}: {Path(__file__).parents[1]}"
    for name in ("torch", "lightning", "torchmetrics", "jsonargparse", "transformers", "av", "polars"):
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield f"{name}: not installed"


def _devices() -> Iterator[str]:
    import torch

    yield f"CPU: {os.cpu_count()} cores, {torch.get_num_threads()} threads of torch"
    for number in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(number)
        memory, half = device.total_memory / 1e9, torch.cuda.is_bf16_supported()
        yield f"GPU {number}: {device.name}, {memory:.0f} GB, bfloat16 {'supported' if half else 'not supported'}"
    if torch.backends.mps.is_available():
        yield "MPS: Apple's GPU"
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        yield "no GPU that torch can use: everything runs on the CPU"


def _extras(missing: Mapping[str, list[str]]) -> Iterator[str]:
    for extra, packages in sorted(missing.items()):
        yield f"{extra:10} {'complete' if not packages else 'missing: ' + ', '.join(packages)}"


def _caches() -> Iterator[str]:
    for name, (variable, default) in _CACHES.items():
        chosen = os.environ.get(variable)
        folder = Path(chosen, "lightning_vista") if chosen and variable == "XDG_CACHE_HOME" else Path(chosen or "")
        folder = folder if chosen else Path.home() / default
        yield f"{name}: {folder} ({'exists' if folder.is_dir() else 'not there yet'}; {variable} moves it)"
    yield f"free space in this folder: {shutil.disk_usage('.').free / 1e9:.0f} GB"
    offline = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)]
    if offline:
        yield f"{', '.join(offline)}: set, so nothing is downloaded"


def _present_keys() -> Iterator[str]:
    for key in _KEYS:
        yield f"{key}: {'present' if os.environ.get(key) else 'not set'}"


def _features(missing: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield each feature with what it still needs."""
    for feature in FEATURES:
        needs = []
        lacking = missing.get(feature.extra, [feature.extra]) if feature.extra else []
        if feature.packages and feature.extra in missing:
            lacking = [package for package in lacking if package.startswith(feature.packages)]
        if lacking:
            needs.append(f"pip install 'lightning-vista[{feature.extra}]'")
        if feature.keys and not any(os.environ.get(key) for key in feature.keys):
            needs.append(f"the environment variable {' or '.join(feature.keys)}")
        yield f"{'ok     ' if not needs else 'MISSING'} {feature.name}{': ' if needs else ''}{' and '.join(needs)}"
    if find_spec("vllm") is None:
        yield "MISSING vLLM's engine in this process (configs vista/vllm.yaml): pip install vllm"
