"""Naive Bayes on tokens: the simplest classifier that extends labels to other texts."""

from collections.abc import Sequence

import torch
from torch import Tensor


def naive_bayes(labelled: Sequence[Tensor], labels: Sequence[bool], texts: Sequence[Tensor]) -> list[bool]:
    """Classify texts by the counts of their tokens (multinomial naive Bayes, smoothed by 1).

    Args:
        labelled: Tokens of the labelled texts, each `(length,)`.
        labels: Their labels, of which both occur.
        texts: Tokens of the texts to classify.

    Returns:
        The more likely label of each text; False where both are equally likely.

    Raises:
        ValueError: If one of the labels does not occur.

    Example:
        >>> cat, entity = torch.tensor([1, 2]), torch.tensor([3])
        >>> naive_bayes([cat, entity], [True, False], [torch.tensor([2]), torch.tensor([3])])
        [True, False]
    """
    if len(set(labels)) < 2:
        raise ValueError(
            f"`labels`: expected texts of both labels, got only {set(labels) or 'none'}. Label more texts."
        )
    places = 1 + int(torch.cat([*labelled, *texts]).max())
    counts = [
        torch.cat([tokens for tokens, label in zip(labelled, labels, strict=True) if label == kind]).bincount(
            minlength=places
        )
        for kind in (True, False)
    ]
    likely, unlikely = ((count + 1.0).log() - (count + 1.0).sum().log() for count in counts)
    evidence = likely - unlikely  # of each token
    prior = torch.tensor(sum(labels) / (len(labels) - sum(labels))).log()
    return [bool(prior + evidence[tokens.long()].sum() > 0) for tokens in texts]
