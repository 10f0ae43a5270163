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
    own = clauses[batch.answers]
    logits: Tensor = torch.einsum("vfw,vcw->vfc", frames, own) / frames.shape[2] ** 0.5
    absent = torch.arange(own.shape[1], device=own.device) >= batch.levels[batch.answers][:, None]
    shown = (batch.steps >= 0) & (batch.levels[batch.answers] > 1)[:, None]
    if not shown.any():
        return frames.sum() * 0
    return cross_entropy(logits.masked_fill(absent[:, None], -1e4)[shown], batch.steps[shown].long())
