"""The run of a scorer: journal, resuming, run folder, figures.

Names are imported when they are first used: the callbacks re-export `Evaluation`, and people who only route gradients
need not have the packages of the extra `vista`.
"""

from typing import TYPE_CHECKING

from lightning_vista.optional import lazy_exports

if TYPE_CHECKING:
    from lightning_vista.evaluation.evaluation import Evaluation, find_evaluation
    from lightning_vista.evaluation.pairs import PairScores, Scores, pair_scores
    from lightning_vista.evaluation.protocols import EvaluationData, Scorer
    from lightning_vista.evaluation.run_folder import RunFolder, RunFolderError

_HOMES = {
    "evaluation": ("Evaluation", "find_evaluation"),
    "pairs": ("PairScores", "Scores", "pair_scores"),
    "protocols": ("EvaluationData", "Scorer"),
    "run_folder": ("RunFolder", "RunFolderError"),
}

__all__ = [
    "Evaluation",
    "EvaluationData",
    "PairScores",
    "RunFolder",
    "RunFolderError",
    "Scorer",
    "Scores",
    "find_evaluation",
    "pair_scores",
]


__getattr__ = lazy_exports(__name__, _HOMES)
