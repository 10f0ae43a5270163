"""Which scorer, set up how, on which data: what decides whether a run folder may go on."""

import hashlib
import inspect
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lightning_vista.vista.index import ShardIndex

if TYPE_CHECKING:
    from lightning_vista.scorers.base import VLMScorer


def config_hash(scorer: "VLMScorer", index: ShardIndex) -> str:
    """The hash of everything that the scores depend on.

    Batch size, workers and devices are not part of it, so that an interrupted run may go on with other ones.

    Args:
        scorer: The scorer; its class, hyper-parameters and frames count.
        index: The shards with what is selected of them.

    Returns:
        64 hex digits.
    """
    settings = _settings(scorer)
    for key in ("run_dir", "rescaling", "strict", "frame_batch_size"):  # these change figures or speed, not the scores
        settings.pop(key, None)
    identity = [
        _class_path(scorer),
        settings,
        scorer.fingerprint(),
        asdict(scorer.frame_spec),
        [(sample.sha256, [asdict(membership) for membership in sample.memberships]) for sample in index.samples],
        [(problem_set.id, dict(problem_set.descriptions)) for problem_set in index.problem_sets],
    ]
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def write_config(scorer: "VLMScorer", path: Path) -> None:
    """Write down a scorer that was not started by LightningCLI, in LightningCLI's format.

    Args:
        scorer: The scorer.
        path: The file; one that exists is left alone.
    """
    if path.exists():
        return
    settings = json.loads(json.dumps(_settings(scorer), default=str))
    model = {"class_path": _class_path(scorer), "init_args": settings}
    path.write_text(yaml.safe_dump({"model": model}, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _settings(scorer: "VLMScorer") -> dict[str, Any]:
    """The arguments of the scorer's class; Lightning also collects its base classes' and keys of its own."""
    parameters = inspect.signature(type(scorer)).parameters
    forwards = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = {key: value for key, value in scorer.hparams.items() if not key.startswith("_")}
    return {key: value for key, value in known.items() if forwards or key in parameters}


def _class_path(scorer: "VLMScorer") -> str:
    return f"{type(scorer).__module__}.{type(scorer).__qualname__}"
