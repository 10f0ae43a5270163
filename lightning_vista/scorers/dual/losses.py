"""What a dual encoder is trained to do."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lightning_vista.scorers.dual.batch import PairBatch


def within_sets(logits: Tensor, batch: PairBatch) -> Tensor:
    """Cross-entropy of each video's description among those of its own problem set, as in the benchmark.

    Args:
        logits: Scaled dot products `(videos, texts)`.
        batch: Says which is which.

    Returns:
        The mean over videos, a scalar.
    """
    own = batch.video_groups[:, None] == batch.text_groups
    return cross_entropy(logits.masked_fill(~own, -torch.inf), batch.answers)


def across_sets(logits: Tensor, batch: PairBatch) -> Tensor:
    """InfoNCE over descriptions of several steps from all problem sets.

    Descriptions of one step stay out: that a lamp can be seen is true of many other videos too.

    Args:
        logits: Scaled dot products `(videos, texts)`.
        batch: Says which is which.

    Returns:
        The mean over videos of several steps, a scalar; 0 if there are none.
    """
    long = batch.levels > 1
    chosen = long[batch.answers]
    if not chosen.any():
        return logits.sum() * 0
    return cross_entropy(logits.masked_fill(~long, -torch.inf)[chosen], batch.answers[chosen])


def frames_to_clauses(frames: Tensor, clauses: Tensor, batch: PairBatch) -> Tensor:
    """Cross-entropy of the clause that a frame shows among those of its video's description.

    Args:
        frames: `(videos, frames, width)`.
        clauses: Of each description `(texts, clauses, width)`.
        batch: Says which is which.

    Returns:
        The mean over frames that show a step, a scalar; 0 if there are none.
    """
    logits = frames @ clauses[batch.answers].transpose(1, 2) / frames.shape[2] ** 0.5
    return _parts_to_clauses(logits, batch.steps, batch)


def slots_to_clauses(slots: Tensor, clauses: Tensor, scale: Tensor, batch: PairBatch) -> Tensor:
    """Cross-entropy of the n-th clause for the n-th slot, among those of the video's description.

    Args:
        slots: Unit vectors `(videos, slots, width)`.
        clauses: Unit vectors of each description `(texts, slots, width)`.
        scale: Multiplies cosines.
        batch: Says which is which.

    Returns:
        The mean over slots that have a clause, a scalar; 0 if there are none.
    """
    logits = scale * slots @ clauses[batch.answers].transpose(1, 2)
    numbers = torch.arange(slots.shape[1], device=slots.device)
    return _parts_to_clauses(logits, numbers.where(numbers < batch.levels[batch.answers][:, None], -1), batch)


def _parts_to_clauses(logits: Tensor, clauses: Tensor, batch: PairBatch) -> Tensor:
    """Cross-entropy of `(videos, parts, clauses)` where parts show a clause, not -1; videos of one step stay out."""
    levels = batch.levels[batch.answers][:, None]
    shown = (clauses >= 0) & (levels > 1)
    if not shown.any():
        return logits.sum() * 0
    absent = torch.arange(logits.shape[2], device=logits.device) >= levels
    return cross_entropy(logits.masked_fill(absent[:, None], -1e4)[shown], clauses[shown].long())
