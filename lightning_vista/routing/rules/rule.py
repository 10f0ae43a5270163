"""What all rules have in common: they tell to which groups the data of a batch belongs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


class Rule(ABC):
    """Maps a batch to memberships. A new rule needs `memberships` only.

    Args:
        groups: The names of the groups, in the order of the memberships' last dimension.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups = tuple(groups)
        if not self.groups or len(set(self.groups)) < len(self.groups):
            raise ValueError(f"Expected a rule to have groups of different names, got {list(groups)}.")

    @abstractmethod
    def memberships(self, batch: Any) -> Tensor:
        """How much each sample, or each token, belongs to each group.

        Args:
            batch: What the dataloader gave.

        Returns:
            `(batch, groups)` or `(batch, tokens, groups)`, from 0 to 1. The sum over groups is at most 1; what is
            missing to 1 is ordinary backpropagation.
        """

    def setup(self, datamodule: Any) -> None:  # noqa: B027 # most rules need none
        """Prepare the rule once before training, such as resolve words with the datamodule's tokenizer.

        Args:
            datamodule: The LightningDataModule, or None where the trainer has none.
        """


def batch_field(batch: Any, field: str | int) -> Any:
    """A field of a batch, whatever the batch is.

    Args:
        batch: A mapping, a sequence or an object with attributes.
        field: The key, the position or the attribute's name.

    Returns:
        The field's value.

    Raises:
        ValueError: If the batch has no such field; names those it has.

    Example:
        >>> batch_field({"label": 3}, "label"), batch_field(("image", 3), 1)
        (3, 3)
    """
    if isinstance(batch, Mapping):
        if field in batch:
            return batch[field]
        known = f"a mapping with {sorted(map(str, batch))}"
    elif isinstance(field, int):
        if isinstance(batch, Sequence) and -len(batch) <= field < len(batch):
            return batch[field]
        known = f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, Sequence) else "")
    else:
        if hasattr(batch, field):
            return getattr(batch, field)
        known = f"a {type(batch).__name__}"
        if isinstance(batch, Sequence):
            known += f" of {len(batch)} (name its fields by position, such as 0)"
    raise ValueError(f"A routing rule expected the batch to have {field!r}, but it is {known}.")
