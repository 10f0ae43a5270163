"""Memberships that the batch brings along."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_vista.routing.rules.base import Rule, batch_field


class FieldRule(Rule):
    """A field of the batch holds the memberships themselves.

    Args:
        field: The field, a tensor `(batch, groups)` or `(batch, tokens, groups)` from 0 to 1.
        groups: The names of its last dimension.
    """

    def __init__(self, field: str | int, groups: Sequence[str]) -> None:
        super().__init__(groups)
        self.field = field

    def memberships(self, batch: Any) -> Tensor:
        """The field, as floating-point numbers."""
        members = torch.as_tensor(batch_field(batch, self.field))
        return members if members.is_floating_point() else members.float()
