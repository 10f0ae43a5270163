"""Batches and losses for the training of dual encoders."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class PairBatch:
    """Videos and descriptions of several problem sets.

    Attributes:
        frames: RGB frames `(videos, frames, 3, height, width)`, uint8, or features `(videos, frames, features)`, float.
        video_groups: Problem set of each video `(videos,)`, int64.
        answers: Position in `texts` of each video's true description `(videos,)`, int64.
        steps: Clause of that description which each frame shows `(videos, frames)`, integer; -1 for none.
        texts: Descriptions of all problem sets.
        text_groups: Problem set of each description `(texts,)`, int64.
        levels: Number of clauses of each description `(texts,)`, int64.
        video_types: World and type of each video's problem set, such as `home/remix`; empty where it is not labelled.
        text_types: The same for each description.
    """

    frames: Tensor
    video_groups: Tensor
    answers: Tensor
    steps: Tensor
    texts: tuple[str, ...]
    text_groups: Tensor
    levels: Tensor
    video_types: tuple[str, ...] = ()
    text_types: tuple[str, ...] = ()

    @property
    def frame_types(self) -> tuple[str, ...]:
        """The types of all frames, for routes in a network that sees `(videos * frames, ...)`."""
        return tuple(kind for kind in self.video_types for _ in range(self.frames.shape[1]))

    def to(self, *args: Any, **kwargs: Any) -> "PairBatch":  # whatever Tensor.to takes
        """Return the batch with its tensors moved, as `torch.Tensor.to` does; Lightning calls this."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(*args, **kwargs) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def within_sets(logits: Tensor, batch: PairBatch) -> Tensor:
    """Compute the cross-entropy of each video's description among those of its problem set, as in the benchmark.

    Args:
        logits: Scaled dot products `(videos, texts)`.
        batch: The videos and texts.

    Returns:
        The mean over videos, a scalar.
    """
    own = batch.video_groups[:, None] == batch.text_groups
    return cross_entropy(logits.masked_fill(~own, -torch.inf), batch.answers)


def across_sets(logits: Tensor, batch: PairBatch) -> Tensor:
    """Compute InfoNCE over descriptions of several steps from all problem sets.

    Descriptions of one step are left out: that a lamp is visible is true of many other videos as well.

    Args:
        logits: Scaled dot products `(videos, texts)`.
        batch: The videos and texts.

    Returns:
        The mean over videos of several steps, a scalar; 0 if there are none.
    """
    long = batch.levels > 1
    chosen = long[batch.answers]
    if not chosen.any():
        return logits.sum() * 0
    return cross_entropy(logits.masked_fill(~long, -torch.inf)[chosen], batch.answers[chosen])


def frames_to_clauses(frames: Tensor, clauses: Tensor, batch: PairBatch) -> Tensor:
    """Compute the cross-entropy of the clause that a frame shows among those of its video's description.

    Args:
        frames: Embeddings of frames `(videos, frames, width)`.
        clauses: Embeddings of each description's clauses `(texts, clauses, width)`.
        batch: The videos and texts.

    Returns:
        The mean over frames that show a step, a scalar; 0 if there are none.
    """
    logits = frames @ clauses[batch.answers].transpose(1, 2) / frames.shape[2] ** 0.5
    return _parts_to_clauses(logits, batch.steps, batch)


def slots_to_clauses(slots: Tensor, clauses: Tensor, scale: Tensor, batch: PairBatch) -> Tensor:
    """Compute the cross-entropy of the n-th clause for the n-th slot, among those of the video's description.

    Args:
        slots: Unit vectors `(videos, slots, width)`.
        clauses: Unit vectors of each description's clauses `(texts, slots, width)`.
        scale: Factor of the cosines, a scalar.
        batch: The videos and texts.

    Returns:
        The mean over slots that have a clause, a scalar; 0 if there are none.
    """
    logits = scale * slots @ clauses[batch.answers].transpose(1, 2)
    numbers = torch.arange(slots.shape[1], device=slots.device)
    return _parts_to_clauses(logits, numbers.where(numbers < batch.levels[batch.answers][:, None], -1), batch)


def _parts_to_clauses(logits: Tensor, clauses: Tensor, batch: PairBatch) -> Tensor:
    """Compute the cross-entropy of logits `(videos, parts, clauses)` over parts that show a clause.

    Parts without a clause (-1) and videos of one step, whose only clause needs no choice, are left out.
    """
    levels = batch.levels[batch.answers][:, None]
    shown = (clauses >= 0) & (levels > 1)
    if not shown.any():
        return logits.sum() * 0
    absent = torch.arange(logits.shape[2], device=logits.device) >= levels
    return cross_entropy(logits.masked_fill(absent[:, None], -1e4)[shown], clauses[shown].long())
