"""What makes two runs, or two embeddings, the same: the one place where that is decided."""

import hashlib
import inspect
import json
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from lightning_vista.evaluation.protocols import Scorer
from lightning_vista.vista.index import ShardIndex

#: Arguments that change speed, not scores.
_SPEED = ("frame_batch_size",)


def identity(scorer: Scorer, index: ShardIndex | None = None, ignored: Collection[str] = ()) -> str:
    """Return the hash of everything that scores depend on.

    Batch size, workers and devices are not part of it, so that an interrupted run may be resumed with other ones.

    Args:
        scorer: The scorer; its class, arguments, fingerprint and frames count.
        index: The shards with the selected problem sets; None for the scorer alone.
        ignored: Arguments of the scorer that do not count.

    Returns:
        64 hex digits.
    """
    settings = {key: value for key, value in arguments(scorer).items() if key not in (*_SPEED, *ignored)}
    parts: list[Any] = [class_path(scorer), settings, scorer.fingerprint(), asdict(scorer.frame_spec)]
    if index is not None:
        parts += [
            [(sample.sha256, [asdict(membership) for membership in sample.memberships]) for sample in index.samples],
            [(problem_set.id, dict(problem_set.descriptions)) for problem_set in index.problem_sets],
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
