"""The learning rate of language models."""

import math


def warmup_cosine(step: int, warmup_steps: int, total_steps: int, floor: float = 0.1) -> float:
    """The share of the highest learning rate: it rises evenly, then falls as a cosine to a tenth.

    Args:
        step: Steps done.
        warmup_steps: Steps in which it rises.
        total_steps: All steps.
        floor: What is left at the end.

    Returns:
        More than 0, at most 1.

    Example:
        >>> [round(warmup_cosine(step, 2, 10), 2) for step in (0, 1, 2, 6, 10)]
        [0.5, 1.0, 1.0, 0.55, 0.1]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
