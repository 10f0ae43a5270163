"""Metrics of the benchmark and of unlearning: pure functions on tensors, and classes that hold state."""

from lightning_vista.metrics.aggregation import bootstrap_interval, standard_error, video_clusters
from lightning_vista.metrics.baselines import majority_baseline, random_baseline
from lightning_vista.metrics.problem_set_scores import ProblemSetScores
from lightning_vista.metrics.rescaling import RESCALINGS, Rescaling, rescale_scores
from lightning_vista.metrics.scoring import (
    ProblemSetResult,
    accuracy,
    count_ties,
    macro_f1,
    predict_labels,
    score_problem_set,
    share_changed,
)
from lightning_vista.metrics.unlearning import (
    alignment_tax,
    compute_ratio,
    leakage,
    retain_forget_frontier,
    robust_unlearning,
    shallow_unlearning,
    summarize_seeds,
)

__all__ = [
    "RESCALINGS",
    "Rescaling",
    "rescale_scores",
    "predict_labels",
    "count_ties",
    "macro_f1",
    "accuracy",
    "ProblemSetResult",
    "score_problem_set",
    "share_changed",
    "majority_baseline",
    "random_baseline",
    "standard_error",
    "video_clusters",
    "bootstrap_interval",
    "ProblemSetScores",
    "shallow_unlearning",
    "robust_unlearning",
    "alignment_tax",
    "retain_forget_frontier",
    "leakage",
    "compute_ratio",
    "summarize_seeds",
]
