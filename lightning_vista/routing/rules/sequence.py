"""Groups of whole sequences, by what occurs in them."""

from typing import Any

from torch import Tensor

from lightning_vista.routing.rules.base import Rule
from lightning_vista.routing.rules.tokenwise import TokenwiseRule, with_others


class SequenceRule(Rule):
    """A whole sequence belongs to a group if one of its tokens does; to the first of several.

    Args:
        rule: Tells the groups of tokens, such as a `ConceptRule`.
        otherwise: A further group for sequences in which nothing occurs, such as "retain".

    Example:
        >>> import torch
        >>> from lightning_vista.routing import TokenRule
        >>> rule = SequenceRule(TokenRule({"forget": [7]}), otherwise="retain")
        >>> rule.memberships({"input_ids": torch.tensor([[5, 7], [5, 5]])})
        tensor([[1., 0.],
                [0., 1.]])
    """

    def __init__(self, rule: TokenwiseRule, otherwise: str | None = None) -> None:
        if rule.otherwise is not None:
            raise ValueError(f"Give `otherwise={rule.otherwise!r}` to the SequenceRule, not to the rule inside it.")
        super().__init__([*rule.groups, *([otherwise] if otherwise else [])])
        self.rule = rule
        self.otherwise = otherwise

    def setup(self, datamodule: Any) -> None:
        """Prepare the rule inside."""
        self.rule.setup(datamodule)

    def memberships(self, batch: Any) -> Tensor:
        """One group for each sequence `(batch, groups)`."""
        tokens, mask = self.rule.read(batch)
        occurs = (self.rule.match(tokens).bool() & mask.unsqueeze(-1)).any(dim=1)
        first = occurs & (occurs.cumsum(-1) == 1)
        return with_others(first.float(), self.otherwise)
