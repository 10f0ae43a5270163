"""From a scorer's scores of a batch to checked pairs of a video and a problem set."""

import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_vista.metrics import ProblemSetScores
from lightning_vista.vista.batch import Question, VideoBatch
from lightning_vista.vista.frame_order import FORWARD


@dataclass(frozen=True)
class Scores:
    """The scores of one video in one problem set.

    Attributes:
        values: One score for each candidate, `(candidates,)`, finite, higher is likelier; NaN = unscored.
        reason: Why candidates are unscored, if any are.
        transcript: The conversation that led to the scores, for people to read; None for scorers that do not talk.
    """

    values: Tensor
    reason: str | None = None
    transcript: str | None = None


class PairScores(NamedTuple):  # Lightning moves predictions to the CPU, and refuses frozen dataclasses
    """The checked scores of one video in one problem set, with names and targets.

    Attributes:
        problem_set: The id of the problem set.
        video: The video's path.
        labels: The label ids of the candidates.
        scores: One for each candidate; NaN where it is unscored.
        targets: Which candidates are true; None for predictions.
        reason: Why it is unscored, if it is.
        transcript: See `Scores`; it goes to a file of its own, not into journal and table.
        order: The order of the frames: `forward`, or a control (`frame_order.CONTROLS`).
    """

    problem_set: str
    video: str
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    targets: tuple[bool, ...] | None
    reason: str | None = None
    transcript: str | None = None
    order: str = FORWARD

    @property
    def is_scored(self) -> bool:
        """Say whether every candidate has a score."""
        return not any(map(math.isnan, self.scores))

    def rows(self, model: str) -> Iterator[dict[str, object]]:
        """Yield the rows of the score table, one per candidate."""
        targets: Sequence[bool | None] = self.targets or [None] * len(self.labels)
        for label, score, target in zip(self.labels, self.scores, targets, strict=True):
            yield {
                "model": model,
                "problem_set": self.problem_set,
                "video": self.video,
                "label": label,
                "score": None if math.isnan(score) else score,
                "target": target,
                "reason": self.reason,
            }

    def to_json(self) -> dict[str, Any]:
        """Return the pair as JSON can hold it, without the transcript."""
        return {name: value for name, value in self._asdict().items() if name != "transcript"}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "PairScores":
        """Return the pair that `to_json` and JSON made this of."""
        targets = entry["targets"]
        lists = {"labels": tuple(map(sys.intern, entry["labels"])), "scores": tuple(entry["scores"])}
        # One text for all pairs with the same problem set, label or order, of which JSON makes a new one each time.
        shared = {name: sys.intern(entry[name]) for name in ("problem_set", "order") if name in entry}
        return cls(**{**entry, **lists, **shared, "targets": None if targets is None else tuple(targets)})


def pair_scores(batch: VideoBatch, scores: Sequence[Sequence[Scores]], scorer: str) -> list[PairScores]:
    """Check the scores of a batch and join them with names and targets.

    Args:
        batch: The videos with their candidates and, where known, targets.
        scores: For each video, one `Scores` for each of its problem sets.
        scorer: The scorer's class, for error messages.

    Returns:
        One entry for each video and problem set; a video that could not be decoded is unscored in all of its own.

    Raises:
        ValueError: If the type, number or shape of the scores is wrong, or one is infinite.
    """
    _check_types(scores, scorer)
    asked = [len(question.candidates) for question in batch.questions]
    if [len(sets) for sets in scores] != asked:
        raise ValueError(
            f"{scorer}.score must return a list for each video, with one Scores for each of its problem sets: "
            f"expected lengths {asked}, got {[len(sets) for sets in scores]}."
        )
    if any(each.values.dtype in (torch.float16, torch.bfloat16) for sets in scores for each in sets):
        warnings.warn(
            f"{scorer}.score gives scores in half precision, whose 2 to 3 digits make ties of different scores. "
            "Compute them in float32, with torch.autocast(device_type, enabled=False).",
            stacklevel=2,
        )
    pairs: list[PairScores] = []
    for question, sets in zip(batch.questions, scores, strict=True):
        pairs += _pairs(question, sets, scorer)
    for question, reason in batch.unreadable:
        nothing = [Scores(torch.full((len(c.labels),), math.nan), reason) for c in question.candidates]
        pairs += _pairs(question, nothing, scorer)
    return pairs


def _check_types(scores: object, scorer: str) -> None:
    """Refuse what is not lists of `Scores`, before anything of it is journalled and read by every later run."""
    rows: Sequence[Any] = scores if isinstance(scores, Sequence) else [[None]]
    found: list[Any] = [each for row in rows for each in (row if isinstance(row, Sequence) else [None])]
    if wrong := [each for each in found if not isinstance(each, Scores)]:
        raise ValueError(
            f"{scorer}.score must return a list for each video, with one Scores for each of its problem sets: got "
            f"{type(scores).__name__} with {type(wrong[0]).__name__}."
        )
    for each in found:
        if not isinstance(each.values, Tensor) or each.values.is_complex():
            got = each.values.dtype if isinstance(each.values, Tensor) else type(each.values).__name__
            raise ValueError(f"{scorer}.score: expected a tensor of real numbers as `values` of Scores, got {got}.")
        for name, text in (("reason", each.reason), ("transcript", each.transcript)):
            if text is not None and not _is_text(text):
                raise ValueError(f"{scorer}.score: expected text or None as `{name}` of Scores, got {text!r:.80}.")


def _is_text(text: object) -> bool:
    """Say whether files can hold a text; not with halves of characters."""
    return isinstance(text, str) and text == text.encode(errors="ignore").decode()


def metric_rows(metric: ProblemSetScores, pairs: Sequence[PairScores]) -> dict[str, Tensor]:
    """Return the arguments of `ProblemSetScores.update` for pairs with targets."""
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
    """Yield the pairs of one video."""
    targets = question.targets or [None] * len(sets)
    for candidates, scores, target in zip(question.candidates, sets, targets, strict=True):
        values = scores.values.detach().double().cpu()
        if values.shape != (len(candidates.labels),) or values.isinf().any():
            raise ValueError(
                f"{scorer}.score, video {question.video}, problem set {candidates.problem_set}: expected "
                f"{len(candidates.labels)} finite scores (NaN = unscored), got {values.tolist()}."
            )
        yield PairScores(
            problem_set=candidates.problem_set,
            video=question.video,
            labels=candidates.labels,
            scores=tuple(values.tolist()),
            targets=target,
            reason=(scores.reason or "the scorer gave NaN") if values.isnan().any() else None,
            transcript=scores.transcript,
        )
