"""Rules for samples: by label, by a field of memberships, with partial labels, and mixtures of rules."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_vista.options import check_word
from lightning_vista.routing.rules.rule import Rule, batch_field, float_memberships


class LabelRule(Rule):
    """A rule by label: samples belong to the group that lists their label, and to none if no group does.

    Args:
        field: The batch's field with the labels: a tensor `(batch,)` or `(batch, tokens)` of integers or booleans, or a
            list of `batch` strings or numbers.
        groups: Group -> its labels.

    Raises:
        ValueError: If two groups list one label.

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
            raise ValueError(f"`groups`: expected each label in one group, got {sorted(twice, key=str)} several times.")

    def memberships(self, batch: Any) -> Tensor:
        """Return 1 for the group of the label, see the base class."""
        values = batch_field(batch, self.field)
        if isinstance(values, Tensor):
            lists = (_as_numbers(labels, values.device) for labels in self.labels.values())
            return torch.stack([torch.isin(_unbool(values), labels) for labels in lists], dim=-1).float()
        return torch.tensor([[float(value in labels) for labels in self.labels.values()] for value in values])

    def describe(self, batch: Any) -> Mapping[str, Sequence[str]]:
        """Return the different labels of the batch."""
        values = batch_field(batch, self.field)
        different = values.unique().tolist() if isinstance(values, Tensor) else dict.fromkeys(values)
        # As Python writes them: "0" and 0 look alike otherwise, and are different labels.
        return {repr(self.field): [repr(value) for value in different]}


def _as_numbers(labels: Sequence[Any], device: torch.device) -> Tensor:
    """Return labels as a tensor, to compare with a tensor of values."""
    if texts := [label for label in labels if isinstance(label, str)]:
        raise ValueError(
            f"`groups`: expected numbers or booleans as labels, since the batch's field is a tensor, got {texts[0]!r}. "
            "Write labels without quotation marks."
        )
    return _unbool(torch.as_tensor(labels, device=device))


def _unbool(values: Tensor) -> Tensor:
    """Return booleans as 0 and 1, which is how they compare with numbers; `torch.isin` has no booleans."""
    return values.long() if values.dtype == torch.bool else values


class FieldRule(Rule):
    """A rule whose memberships are a field of the batch.

    Args:
        field: The field, a tensor `(batch, groups)` or `(batch, tokens, groups)` from 0 to 1.
        groups: The names of its last dimension.
    """

    def __init__(self, field: str | int, groups: Sequence[str]) -> None:
        super().__init__(groups)
        self.field = field

    def memberships(self, batch: Any) -> Tensor:
        """Return the field, as floating-point numbers."""
        members = torch.as_tensor(batch_field(batch, self.field))
        return members if members.is_floating_point() else members.float()


FORGET, RETAIN, UNLABELLED = 1, 0, -1
Unlabelled = Literal["default", "retain"]


class PartialLabels(Rule):
    """A rule for labelled forget rows; the other rows are retain data or not routed.

    Args:
        rule: The rule for labelled forget rows.
        field: The batch's field with what is known of each row `(batch,)`: 1 labelled forget, 0 labelled retain, -1
            unlabelled.
        retain: The group of labelled retain rows, with all their tokens; may be one of the rule's groups.
        unlabelled: The treatment of unlabelled rows: "default" for ordinary backpropagation, "retain" to count them as
            retain data (arXiv 2410.04332, partial labelling).

    Raises:
        ValueError: If `unlabelled` is another word.

    Example:
        >>> from lightning_vista.routing import LabelRule
        >>> rule = PartialLabels(LabelRule("topic", {"forget": [5]}), field="known")
        >>> rule.memberships({"topic": torch.tensor([5, 5, 1]), "known": torch.tensor([1, -1, 0])})
        tensor([[1., 0.],
                [0., 0.],
                [0., 1.]])
    """

    def __init__(
        self, rule: Rule, field: str | int, retain: str = "retain", unlabelled: Unlabelled = "default"
    ) -> None:
        check_word("unlabelled", unlabelled, get_args(Unlabelled))
        super().__init__(list(dict.fromkeys([*rule.groups, retain])))
        self.rule = rule
        self.field = field
        self.retain = retain
        self.unlabelled = unlabelled

    def setup(self, datamodule: Any) -> None:
        """Prepare the inner rule."""
        self.rule.setup(datamodule)

    def describe(self, batch: Any) -> Mapping[str, Sequence[str]]:
        """Return the values of the inner rule."""
        return self.rule.describe(batch)

    def memberships(self, batch: Any) -> Tensor:
        """Return the rule's memberships in labelled forget rows, and retain or nothing in the others.

        Raises:
            ValueError: If the field holds anything but 1, 0 and -1.
        """
        members = float_memberships(self.rule, batch)
        known = _unbool(torch.as_tensor(batch_field(batch, self.field), device=members.device))
        if not torch.isin(known, torch.tensor([FORGET, RETAIN, UNLABELLED], device=known.device)).all():
            raise ValueError(
                f"{self.field!r}: expected {FORGET} (forget), {RETAIN} (retain) or {UNLABELLED} (unlabelled), got "
                f"{sorted(set(known.flatten().tolist()))[:5]}."
            )
        if self.retain not in self.rule.groups:
            members = torch.cat([members, torch.zeros_like(members[..., :1])], dim=-1)
        # What is known is about rows; memberships may be about tokens.
        known = known.view(-1, *[1] * (members.dim() - 1))
        is_retain = known == RETAIN if self.unlabelled == "default" else known != FORGET
        retain_only = torch.tensor([group == self.retain for group in self.groups], device=members.device)
        return members * (known == FORGET) + is_retain * retain_only


class MixtureRule(Rule):
    """A sum of several rules; memberships that add up to more than 1 are divided by their sum.

    Args:
        rules: The rules; groups of one name are the same group.
        coefficients: The factor of each rule; 1 by default.

    Raises:
        ValueError: If there is not one coefficient of at least 0 for each rule.
    """

    def __init__(self, rules: list[Rule], coefficients: Sequence[float] | None = None) -> None:
        super().__init__(list(dict.fromkeys(group for rule in rules for group in rule.groups)))
        self.rules = rules
        self.coefficients = list(coefficients) if coefficients is not None else [1.0] * len(rules)
        if len(self.coefficients) != len(rules) or min(self.coefficients) < 0:
            raise ValueError(
                f"`coefficients`: expected {len(rules)} of at least 0, one for each rule, got {self.coefficients}."
            )

    def setup(self, datamodule: Any) -> None:
        """Prepare the rules."""
        for rule in self.rules:
            rule.setup(datamodule)

    def describe(self, batch: Any) -> Mapping[str, Sequence[str]]:
        """Return the values of all rules."""
        return {field: values for rule in self.rules for field, values in rule.describe(batch).items()}

    def memberships(self, batch: Any) -> Tensor:
        """Return the normalised sum: for tokens if any of the rules is about tokens, else for samples."""
        parts = [float_memberships(rule, batch) for rule in self.rules]
        like = max(parts, key=Tensor.dim)
        total = like.new_zeros(*like.shape[:-1], len(self.groups))
        for rule, part, coefficient in zip(self.rules, parts, self.coefficients, strict=True):
            # A rule of samples speaks for all tokens of a sample.
            part = part.unsqueeze(1) if part.dim() < like.dim() else part
            columns = torch.tensor([self.groups.index(group) for group in rule.groups], device=like.device)
            total.index_add_(-1, columns, (coefficient * part).expand(*like.shape[:-1], -1).to(total))
        return total / total.sum(-1, keepdim=True).clamp(min=1)
