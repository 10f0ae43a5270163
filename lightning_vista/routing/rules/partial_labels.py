"""Rules where only part of the data is labelled."""

from typing import Any, Literal

import torch
from torch import Tensor

from lightning_vista.routing.rules.base import Rule, batch_field

FORGET, RETAIN, UNLABELLED = 1, 0, -1


class PartialLabels(Rule):
    """Applies a rule to what is labelled as forget data; the rest is retain data or not routed.

    Args:
        rule: The rule of labelled forget rows.
        field: The batch's field that says what is known of each row `(batch,)`: 1 labelled forget, 0 labelled retain,
            -1 unlabelled.
        retain: The group of labelled retain rows, all tokens of them; may be one of the rule's.
        unlabelled: What happens to unlabelled rows: "default" is ordinary backpropagation, "retain" counts them as
            retain data (arXiv 2410.04332, partial labelling).

    Example:
        >>> from lightning_vista.routing import LabelRule
        >>> rule = PartialLabels(LabelRule("topic", {"forget": [5]}), field="known")
        >>> rule.memberships({"topic": torch.tensor([5, 5, 1]), "known": torch.tensor([1, -1, 0])})
        tensor([[1., 0.],
                [0., 0.],
                [0., 1.]])
    """

    def __init__(
        self, rule: Rule, field: str, retain: str = "retain", unlabelled: Literal["default", "retain"] = "default"
    ) -> None:
        super().__init__(list(dict.fromkeys([*rule.groups, retain])))
        self.rule = rule
        self.field = field
        self.retain = retain
        self.unlabelled = unlabelled

    def setup(self, datamodule: Any) -> None:
        """Prepare the rule inside."""
        self.rule.setup(datamodule)

    def memberships(self, batch: Any) -> Tensor:
        """The rule's memberships in labelled forget rows, retain or nothing in the others.

        Raises:
            ValueError: If the field holds anything but 1, 0 and -1.
        """
        members = self.rule.memberships(batch)
        known = torch.as_tensor(batch_field(batch, self.field), device=members.device)
        if not torch.isin(known, torch.tensor([FORGET, RETAIN, UNLABELLED], device=known.device)).all():
            raise ValueError(
                f"Expected {self.field!r} to be {FORGET} (forget), {RETAIN} (retain) or {UNLABELLED} (unlabelled), "
                f"got {sorted(set(known.flatten().tolist()))[:5]}."
            )
        if self.retain not in self.rule.groups:
            members = torch.cat([members, torch.zeros_like(members[..., :1])], dim=-1)
        known = known.view(-1, *[1] * (members.dim() - 1))
        is_retain = known == RETAIN if self.unlabelled == "default" else known != FORGET
        retain_only = torch.tensor([group == self.retain for group in self.groups], device=members.device)
        return members * (known == FORGET) + is_retain * retain_only
