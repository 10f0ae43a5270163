"""Identity of runs and of embeddings: the one place that decides whether two are the same."""

import hashlib
import inspect
import json
from collections.abc import Collection
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import fsspec
from torch import nn

from lightning_vista import __version__
from lightning_vista.evaluation.protocols import Scorer
from lightning_vista.vista.index import ShardIndex

#: Arguments that change speed, not scores.
_SPEED = ("frame_batch_size",)


def identity(
    scorer: Scorer,
    index: ShardIndex | None = None,
    ignored: Collection[str] = (),
    precision: str = "32-true",
    checkpoint: str | Path | None = None,
) -> str:
    """Return the hash of everything that scores depend on.

    That is the scorer's class, arguments, modules, configurations and fingerprint (weights, prompts, preprocessing);
    its frames; the precision of the arithmetic; the versions of the packages that compute; and the data. Batch size,
    workers and devices are not part of it, so that an interrupted run may be resumed with other ones.

    Args:
        scorer: The scorer.
        index: The shards with the selected problem sets; None for the scorer alone.
        ignored: Arguments of the scorer that do not count.
        precision: The trainer's precision.
        checkpoint: The file of weights that the trainer will load into the scorer, if any.

    Returns:
        64 hex digits.
    """
    settings = {key: value for key, value in arguments(scorer).items() if key not in (*_SPEED, *ignored)}
    parts: list[Any] = [class_path(scorer), settings, scorer.fingerprint(), asdict(scorer.frame_spec)]
    parts += [precision, _versions(scorer), _modules(scorer)]
    if checkpoint is not None:
        with fsspec.open(str(checkpoint)) as file:
            parts.append(hashlib.file_digest(file, "sha256").hexdigest())
    if index is not None:
        parts += [
            [(sample.sha256, [asdict(membership) for membership in sample.memberships]) for sample in index.samples],
            [(problem_set.id, dict(problem_set.descriptions)) for problem_set in index.problem_sets],
            [(problem_set.id, problem_set.hint, problem_set.example) for problem_set in index.problem_sets],
        ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def arguments(scorer: Scorer) -> dict[str, Any]:
    """Return the arguments of the scorer's own class; Lightning also collects those of its bases, and keys of its own.

    Args:
        scorer: The scorer.

    Returns:
        Argument -> value.
    """
    parameters = inspect.signature(type(scorer)).parameters
    forwards = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = {key: value for key, value in scorer.hparams.items() if not key.startswith("_")}
    return {key: value for key, value in known.items() if forwards or key in parameters}


def class_path(scorer: Scorer) -> str:
    """Return the import path of the scorer's class, as YAML names it."""
    return f"{type(scorer).__module__}.{type(scorer).__qualname__}"


def _versions(scorer: Scorer) -> dict[str, str]:
    """Return the versions of the packages whose code decodes the frames or runs in the scorer's modules."""
    modules = scorer.modules() if isinstance(scorer, nn.Module) else ()
    packages = {type(module).__module__.partition(".")[0] for module in modules} | {"av", "torch"}
    found = {name: getattr(import_module(name), "__version__", "") for name in packages - {"__main__"}}
    return {**found, "lightning_vista": __version__}


def _modules(scorer: Scorer) -> list[str]:
    """Describe the scorer's modules: the same weights mean something else under another activation."""
    if not isinstance(scorer, nn.Module):
        return []
    described = [f"{name}: {type(part).__qualname__}({part.extra_repr()})" for name, part in scorer.named_modules()]
    configs: list[Any] = [getattr(part, "config", None) for part in scorer.modules()]  # of transformers' models
    return described + [config.to_json_string() for config in configs if hasattr(config, "to_json_string")]
