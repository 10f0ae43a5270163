"""Identity of runs and of embeddings: the one place that decides whether two are the same."""

import hashlib
import inspect
import json
from collections.abc import Collection
from dataclasses import asdict
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import fsspec
import torch
from torch import nn

from lightning_vista import __version__
from lightning_vista.evaluation.protocols import Scorer
from lightning_vista.vista.index import Membership, ShardIndex

#: Arguments that change speed, not scores.
_SPEED = ("frame_batch_size",)
#: Distributions whose code prepares the inputs of transformers' models.
_PREPARING = ("tokenizers", "pillow", "torchvision")


def identity(
    scorer: Scorer,
    index: ShardIndex | None = None,
    ignored: Collection[str] = (),
    precision: str = "32-true",
    checkpoint: str | Path | None = None,
    controls: Collection[str] = (),
) -> str:
    """Return the hash of everything that scores depend on.

    That is the scorer's class, arguments, weights, modules, configurations and fingerprint (prompts, preprocessing,
    tokenizer); its frames; the precision of the arithmetic; the versions of the packages that compute; and the data.
    Batch size, workers and devices are not part of it, so that an interrupted run may be resumed with other ones.

    Args:
        scorer: The scorer.
        index: The shards with the selected problem sets; None for the scorer alone.
        ignored: Arguments of the scorer that do not count.
        precision: The trainer's precision.
        checkpoint: The file of weights that the trainer will load into the scorer, if any.
        controls: The controls of frame order that the run scores as well, in any order.

    Returns:
        64 hex digits.
    """
    settings = {key: value for key, value in arguments(scorer).items() if key not in (*_SPEED, *ignored)}
    parts: list[Any] = [class_path(scorer), settings, scorer.fingerprint(), asdict(scorer.frame_spec)]
    parts += [precision, _versions(scorer), _modules(scorer)]
    if isinstance(scorer, nn.Module):
        parts.append(hash_weights(scorer))
    if checkpoint is not None:
        parts += _hash_checkpoint(str(checkpoint))
    if controls:
        parts.append(sorted(controls))
    if index is not None:
        parts += [
            [(sample.sha256, sample.memberships) for sample in index.samples],
            # As pairs, since keys are sorted below: chat scorers see the order of the labels, and ties depend on it.
            [(problem_set.id, list(problem_set.descriptions.items())) for problem_set in index.problem_sets],
            [(problem_set.id, problem_set.hint, problem_set.example) for problem_set in index.problem_sets],
        ]
    digest = hashlib.sha256()
    for piece in json.JSONEncoder(sort_keys=True, default=_to_json).iterencode(parts):  # not all videos in one text
        digest.update(piece.encode())
    return digest.hexdigest()


def _to_json(value: object) -> object:
    return asdict(value) if isinstance(value, Membership) else str(value)


def _hash_checkpoint(checkpoint: str) -> list[str]:
    """Return the hashes of the files of a checkpoint, which is a folder where it is sharded."""
    folder = Path(checkpoint)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else [checkpoint]
    hashes = []
    for path in files:
        with fsspec.open(str(path)) as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes


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


def hash_weights(module: nn.Module) -> str:
    """Return the hash of a module's parameters and buffers, with their names, shapes and types.

    Args:
        module: Module on any device.

    Returns:
        SHA-256 as 64 hex digits.

    Example:
        >>> len(hash_weights(nn.Linear(2, 3)))
        64
    """
    digest = hashlib.sha256()
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        # Hashed as bytes, since numpy lacks bfloat16.
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _versions(scorer: Scorer) -> dict[str, str]:
    """Return the versions of the packages whose code decodes the frames, prepares inputs or runs in the modules."""
    parts: list[object] = [getattr(scorer, name, None) for name in ("tokenizer", "processor")]
    if isinstance(scorer, nn.Module):
        parts += scorer.modules()
    packages = {type(part).__module__.partition(".")[0] for part in parts} | {"av", "PIL", "torch"}
    packages -= {"__main__", "builtins"}
    found = {name: getattr(import_module(name), "__version__", "") for name in packages}
    if "transformers" in packages:
        installed = {each.name for each in metadata.distributions()}
        found |= {name: metadata.version(name) for name in _PREPARING if name in installed}
    return {**found, "lightning_vista": __version__}


def _modules(scorer: Scorer) -> list[Any]:
    """Describe the scorer's modules: the same weights mean something else under another activation."""
    if not isinstance(scorer, nn.Module):
        return []
    described: list[Any] = [
        (name, type(part).__qualname__, part.extra_repr(), _settings(part) if name else {})
        for name, part in scorer.named_modules()
    ]
    configs: dict[int, Any] = {id(config): config for config in _configs(scorer)}  # the layers share theirs
    return described + [config.to_json_string() for config in configs.values()]


def _configs(scorer: nn.Module) -> list[Any]:
    """Return the configurations of transformers' models."""
    configs: list[Any] = [getattr(part, "config", None) for part in scorer.modules()]
    return [config for config in configs if hasattr(config, "to_json_string")]


def _settings(part: nn.Module) -> dict[str, Any]:
    """Return the plain attributes of a module, such as a number of heads, which `extra_repr` seldom names.

    Transformers' modules are left out, which have a configuration, and change attributes while they run. So is the
    scorer itself, which has arguments.
    """
    if type(part).__module__.startswith("transformers."):
        return {}
    plain = {key: value for key, value in vars(part).items() if not key.startswith("_") and key != "training"}
    return {key: value for key, value in plain.items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
