"""From what a judge says of a batch to checked pairs of a video and a problem set."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_vista.metrics import ProblemSetScores
from lightning_vista.vista.batch import Question, VideoBatch
from lightning_vista.vista.run_folder import PairScores


@dataclass(frozen=True)
class Scores:
    """What a judge says of one video in one problem set.

    Attributes:
        values: One score for each candidate, `(candidates,)`, finite, higher is likelier; NaN = unscored.
        reason: Why candidates are unscored, if any are.
    """

    values: Tensor
    reason: str | None = None


def pair_scores(batch: VideoBatch, scores: Sequence[Sequence[Scores]], scorer: str) -> list[PairScores]:
    """Check a judge's scores and put them beside the targets.

    Args:
        batch: The videos with their candidates and, where known, targets.
        scores: What the judge said: for each video, one `Scores` for each of its problem sets.
        scorer: The judge's class, for error messages.

    Returns:
        One entry for each video and problem set; a video that could not be decoded is unscored in all of its own.

    Raises:
        ValueError: If the number or shape of the scores is wrong, or one is infinite.
    """
    asked = [len(question.candidates) for question in batch.questions]
    if [len(sets) for sets in scores] != asked:
        raise ValueError(
            f"{scorer}.score must return a list for each video, with one Scores for each of its problem sets: "
            f"expected lengths {asked}, got {[len(sets) for sets in scores]}."
        )
    pairs: list[PairScores] = []
    for question, sets in zip(batch.questions, scores, strict=True):
        pairs += _pairs(question, sets, scorer)
    for question, reason in batch.unreadable:
        nothing = [Scores(torch.full((len(c.labels),), math.nan), reason) for c in question.candidates]
        pairs += _pairs(question, nothing, scorer)
    return pairs


def metric_rows(metric: ProblemSetScores, pairs: Sequence[PairScores]) -> dict[str, Tensor]:
    """The arguments of `ProblemSetScores.update` for pairs with targets."""
    places = [metric.locate(pair.problem_set, pair.video) for pair in pairs]
    sizes = torch.tensor([len(pair.labels) for pair in pairs])
    return {
        "problem_set": torch.tensor([problem_set for problem_set, _ in places]).repeat_interleave(sizes),
        "video": torch.tensor([video for _, video in places]).repeat_interleave(sizes),
        "label": torch.cat([torch.arange(size) for size in sizes.tolist()]),
        "score": torch.tensor([score for pair in pairs for score in pair.scores], dtype=torch.float64),
        "target": torch.tensor([target for pair in pairs for target in pair.targets or ()]),
    }


def _pairs(question: Question, sets: Sequence[Scores], scorer: str) -> Iterator[PairScores]:
    """The pairs of one video."""
    targets = question.targets or [None] * len(sets)
    for candidates, scores, target in zip(question.candidates, sets, targets, strict=True):
        values = scores.values.detach().double().cpu()
        if values.shape != (len(candidates.labels),) or values.isinf().any():
            raise ValueError(
                f"{scorer}.score, video {question.video}, problem set {candidates.problem_set}: expected "
                f"{len(candidates.labels)} finite scores (NaN = unscored), got {values.tolist()}."
            )
        reason = (scores.reason or "the scorer gave NaN") if values.isnan().any() else None
        yield PairScores(
            candidates.problem_set, question.video, candidates.labels, tuple(values.tolist()), target, reason
        )
