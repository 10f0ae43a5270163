"""Groups of single tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_vista.routing.rules.tokenwise import TokenwiseRule, encode


class TokenRule(TokenwiseRule):
    """Positions whose target is one of a group's tokens belong to that group (arXiv 2410.04332, section 4.2.1).

    Args:
        groups: Group -> its tokens, as ids or as text that is one token, such as " California".
        field: The batch's field with the token ids.
        mask_field: The batch's field that is 0 at padding.
        otherwise: A further group for all other tokens.

    Example:
        >>> TokenRule({"seven": [7]}).memberships({"input_ids": torch.tensor([[5, 7, 5]])}).squeeze()
        tensor([1., 0., 0.])
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[int | str]],
        field: str = "input_ids",
        mask_field: str = "attention_mask",
        otherwise: str | None = None,
    ) -> None:
        super().__init__(tuple(groups), field, mask_field, otherwise)
        self.tokens = {group: list(tokens) for group, tokens in groups.items()}
        self._ids: list[Tensor] = []

    def setup(self, datamodule: Any) -> None:
        """Turn text into token ids.

        Raises:
            ValueError: If a text is not one token.
        """
        self.tokens = {group: [_one(token, datamodule) for token in tokens] for group, tokens in self.tokens.items()}
        self._ids = []

    def match(self, tokens: Tensor) -> Tensor:
        """Whether a token is one of the group's."""
        if not self._ids:
            self._ids = [torch.tensor(_ids(group, chosen)) for group, chosen in self.tokens.items()]
        self._ids = [ids.to(tokens.device) for ids in self._ids]
        return torch.stack([torch.isin(tokens, ids) for ids in self._ids], dim=-1)


def _one(token: int | str, datamodule: Any) -> int:
    if isinstance(token, int):
        return token
    ids = encode(token, datamodule)
    if len(ids) != 1:
        raise ValueError(f"Expected {token!r} to be one token, got {len(ids)}: use ConceptRule for words and phrases.")
    return ids[0]


def _ids(group: str, tokens: Sequence[int | str]) -> list[int]:
    if texts := [token for token in tokens if isinstance(token, str)]:
        raise ValueError(f"Group {group!r} has text, {texts[0]!r}: call `rule.setup(datamodule)` to turn it into ids.")
    return [int(token) for token in tokens]
