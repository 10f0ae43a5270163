"""Groups by label."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_vista.routing.rules.base import Rule, batch_field


class LabelRule(Rule):
    """Samples belong to the group that lists their label; labels in no group belong to none.

    Args:
        field: The batch's field with the labels: a tensor `(batch,)` or `(batch, tokens)` of integers or booleans, or a
            list of `batch` strings or numbers.
        groups: Group -> its labels.

    Example:
        >>> rule = LabelRule("label", {"low": [0, 1], "high": [2]})
        >>> rule.memberships({"label": torch.tensor([1, 2, 3])})
        tensor([[1., 0.],
                [0., 1.],
                [0., 0.]])
    """

    def __init__(self, field: str | int, groups: Mapping[str, Sequence[Any]]) -> None:
        super().__init__(tuple(groups))
        self.field = field
        self.labels = {group: list(labels) for group, labels in groups.items()}
        every = [label for labels in self.labels.values() for label in labels]
        if twice := {label for label in every if every.count(label) > 1}:
            raise ValueError(f"Expected each label in one group, got {sorted(twice, key=str)} several times.")

    def memberships(self, batch: Any) -> Tensor:
        """1 for the group of the label, see the base class."""
        values = batch_field(batch, self.field)
        if isinstance(values, Tensor):
            lists = (torch.as_tensor(labels, device=values.device) for labels in self.labels.values())
            return torch.stack([torch.isin(values, labels) for labels in lists], dim=-1).float()
        return torch.tensor([[float(value in labels) for labels in self.labels.values()] for value in values])
