"""Which scorer, set up how, on which data: what decides whether a run folder may go on."""

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

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
    settings = {key: value for key, value in scorer.hparams.items() if not key.startswith("_")}
    settings = {key: value for key, value in settings.items() if key not in ("run_dir", "rescaling", "strict")}
    identity = [
        f"{type(scorer).__module__}.{type(scorer).__qualname__}",
        settings,
        asdict(scorer.frame_spec),
        [(sample.sha256, [asdict(membership) for membership in sample.memberships]) for sample in index.samples],
        [(problem_set.id, dict(problem_set.descriptions)) for problem_set in index.problem_sets],
    ]
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
