"""The base class of rules, and the reading of a batch's fields."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor


def float_memberships(rule: "Rule", batch: Any) -> Tensor:
    """Return the memberships of a rule as floating-point numbers, for rules that compute with those of another.

    Args:
        rule: The rule, whose memberships may be integers or booleans.
        batch: A batch of the dataloader.
    """
    members = rule.memberships(batch)
    return members if members.is_floating_point() else members.float()


class Rule(ABC):
    """Base class of rules, which map a batch to memberships. A new rule only needs `memberships`.

    Args:
        groups: The names of the groups, in the order of the last dimension of memberships.

    Raises:
        ValueError: If `groups` is empty, or repeats a name.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups = tuple(groups)
        if not self.groups or len(set(self.groups)) < len(self.groups):
            raise ValueError(f"`groups`: expected at least one group and different names, got {list(groups)}.")

    @abstractmethod
    def memberships(self, batch: Any) -> Tensor:
        """Return how much each sample, or each token, belongs to each group.

        Args:
            batch: A batch of the dataloader.

        Returns:
            Memberships `(batch, groups)` or `(batch, tokens, groups)`, from 0 to 1. The sum over groups is at most 1;
            the remainder to 1 is ordinary backpropagation.
        """

    @property
    def parts(self) -> Sequence["Rule"]:
        """The rules that this rule wraps: those among its attributes, or in lists among them."""
        held = [value if isinstance(value, list | tuple) else [value] for value in vars(self).values()]
        return [rule for rules in held for rule in rules if isinstance(rule, Rule)]

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know to continue; empty for rules that only look at their batch."""
        states = {str(number): part.state_dict() for number, part in enumerate(self.parts)}
        return {number: state for number, state in states.items() if state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Args:
            state_dict: The state of a rule with the same parts.
        """
        for number, part in enumerate(self.parts):
            part.load_state_dict(state_dict.get(str(number), {}))

    @property
    def fields(self) -> list[str | int]:
        """The batch's fields that the rule reads, for loops that would drop them otherwise.

        These are the values of attributes named `field` or `*_field`, and the fields of `parts`. A rule that reads
        other fields overrides this.

        Example:
            >>> from lightning_vista.routing import LabelRule, PartialLabels
            >>> PartialLabels(LabelRule("topic", {"forget": [5]}), field="known").fields
            ['known', 'topic']
        """
        own = [value for name, value in vars(self).items() if name == "field" or name.endswith("_field")]
        return list(dict.fromkeys([*own, *(field for part in self.parts for field in part.fields)]))

    def describe(self, batch: Any) -> Mapping[str, Sequence[str]]:
        """Return values of a batch that the rule compares with its groups, to say why a group never occurs.

        Args:
            batch: A batch of the dataloader.

        Returns:
            Field -> values as text; empty for rules that compare no values.
        """
        return {}

    def setup(self, datamodule: Any) -> None:  # noqa: B027 # most rules need none
        """Prepare the rule once before training, such as by resolving words with the datamodule's tokenizer.

        Args:
            datamodule: The LightningDataModule, or None where the trainer has none.
        """


#: Distinguishes an absent field from a field that holds None.
_ABSENT = object()


def batch_field(batch: Any, field: str | int) -> Any:
    """Return a field of a batch, whatever the batch is.

    Args:
        batch: A mapping, a sequence or an object with attributes, such as a dataclass.
        field: The key, the position or the attribute's name.

    Returns:
        The field's value.

    Raises:
        ValueError: If the batch has no such field; the error names those it has.

    Example:
        >>> batch_field({"label": 3}, "label"), batch_field(("image", 3), 1)
        (3, 3)
    """
    value = _look_up(batch, field)
    if value is _ABSENT:
        raise ValueError(f"`field`: expected a batch with {field!r}, got {_describe(batch)}.")
    return value


def optional_batch_field(batch: Any, field: str | int) -> Any:
    """Return a field of a batch, or None where the batch has none.

    Args:
        batch: A mapping, a sequence or an object with attributes, such as a dataclass.
        field: The key, the position or the attribute's name.

    Returns:
        The field's value; None also where the field holds None.

    Example:
        >>> optional_batch_field({"label": 3}, "attention_mask") is None
        True
    """
    value = _look_up(batch, field)
    return None if value is _ABSENT else value


def _look_up(batch: Any, field: str | int) -> Any:
    """Return a field, or `_ABSENT`; only this function knows the kinds of batches."""
    if isinstance(batch, Mapping):  # before attributes: a mapping has attributes of its own, such as `items`
        return batch.get(field, _ABSENT)
    if isinstance(field, int):
        has_position = isinstance(batch, Sequence) and -len(batch) <= field < len(batch)
        return batch[field] if has_position else _ABSENT
    return getattr(batch, field, _ABSENT)


def _describe(batch: Any) -> str:
    """Describe the fields of a batch, for an error."""
    if isinstance(batch, Mapping):
        return f"a mapping with {sorted(map(str, batch))}"
    kind = f"a {type(batch).__name__}"
    if isinstance(batch, Sequence):
        return f"{kind} of {len(batch)}, whose fields have positions such as 0"
    return f"{kind} with {[field.name for field in fields(batch)]}" if is_dataclass(batch) else kind
