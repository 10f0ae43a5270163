"""Several rules at once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_vista.routing.rules.base import Rule


class MixtureRule(Rule):
    """The sum of several rules; where memberships add up to more than 1 they are divided by their sum.

    Args:
        rules: The rules; groups of one name are the same group.
        coefficients: The factor of each rule; 1 by default.
    """

    def __init__(self, rules: list[Rule], coefficients: Sequence[float] | None = None) -> None:
        super().__init__(list(dict.fromkeys(group for rule in rules for group in rule.groups)))
        self.rules = rules
        self.coefficients = list(coefficients) if coefficients is not None else [1.0] * len(rules)
        if len(self.coefficients) != len(rules) or min(self.coefficients) < 0:
            raise ValueError(f"Expected {len(rules)} coefficients of at least 0, one a rule, got {self.coefficients}.")

    def setup(self, datamodule: Any) -> None:
        """Prepare the rules."""
        for rule in self.rules:
            rule.setup(datamodule)

    def memberships(self, batch: Any) -> Tensor:
        """The normalised sum: of tokens if any of the rules is about tokens, else of samples."""
        parts = [rule.memberships(batch) for rule in self.rules]
        like = max(parts, key=Tensor.dim)
        total = like.new_zeros(*like.shape[:-1], len(self.groups))
        for rule, part, coefficient in zip(self.rules, parts, self.coefficients, strict=True):
            part = part.unsqueeze(1) if part.dim() < like.dim() else part
            columns = torch.tensor([self.groups.index(group) for group in rule.groups], device=like.device)
            total.index_add_(-1, columns, (coefficient * part).expand(*like.shape[:-1], -1).to(total))
        return total / total.sum(-1, keepdim=True).clamp(min=1)
