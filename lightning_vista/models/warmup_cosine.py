"""The learning-rate schedule of language models: warm-up, then a cosine to a tenth."""

import math
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(optimizer: Optimizer, warmup_steps: int, total_steps: int) -> LambdaLR:
    """Return a schedule in which each learning rate rises linearly, falls along a cosine to a tenth, and stays there.

    Groups of parameters with rates of their own end at a tenth of their own. Checkpoints contain `total_steps`: a run
    that resumes with a larger `max_steps` keeps the last rate.

    Args:
        optimizer: The optimizer, with its highest learning rates.
        warmup_steps: Number of steps in which the rate rises; the first step already has a share of `1 / warmup_steps`.
        total_steps: Number of steps until the rate is a tenth.

    Returns:
        The scheduler, to be stepped after each optimizer step.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = warmup_cosine(optimizer, warmup_steps=2, total_steps=4)
        >>> rates = []
        >>> for _ in range(6):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 2))
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.5, 1.0, 1.0, 0.55, 0.1, 0.1]
    """
    return LambdaLR(optimizer, _WarmupCosine(max(warmup_steps, 0), total_steps))


@dataclass
class _WarmupCosine:
    """The share of the highest rate at each step. LambdaLR keeps the fields of an object, not of a function."""

    warmup_steps: int
    total_steps: int

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        fall_steps = max(self.total_steps - self.warmup_steps, 1)
        progress = min((step - self.warmup_steps) / fall_steps, 1.0)
        return 0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2
