"""What rules that look at tokens have in common: the target token decides, padding belongs to no group."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_vista.routing.rules.base import Rule, batch_field


class TokenwiseRule(Rule):
    """Groups of tokens; position `t` of a language model is governed by its target, token `t + 1`.

    A subclass says which tokens belong to which group (`match`).

    Args:
        groups: The names of the groups.
        field: The batch's field with the token ids `(batch, tokens)`.
        mask_field: The batch's field that is 0 at padding `(batch, tokens)`; a batch without it has no padding.
        otherwise: A further group for all tokens that no other group has, such as "retain".
    """

    def __init__(
        self,
        groups: Sequence[str],
        field: str = "input_ids",
        mask_field: str = "attention_mask",
        otherwise: str | None = None,
    ) -> None:
        super().__init__([*groups, *([otherwise] if otherwise else [])])
        self.field = field
        self.mask_field = mask_field
        self.otherwise = otherwise

    @abstractmethod
    def match(self, tokens: Tensor) -> Tensor:
        """Which tokens belong to which group.

        Args:
            tokens: Token ids `(batch, tokens)`.

        Returns:
            Booleans or weights `(batch, tokens, groups)`, without the group `otherwise`.
        """

    def memberships(self, batch: Any) -> Tensor:
        """The groups of the next token `(batch, tokens, groups)`; zeros at the last position and at padding."""
        tokens, mask = self.read(batch)
        return of_targets(with_others(self.match(tokens).float(), self.otherwise), mask)

    def read(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The tokens of a batch and which of them are no padding, both `(batch, tokens)`.

        Raises:
            ValueError: If the tokens are not a matrix.
        """
        tokens = batch_field(batch, self.field)
        if not isinstance(tokens, Tensor) or tokens.ndim != 2:
            shape = tuple(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
            raise ValueError(f"Expected {self.field!r} to hold token ids of shape (batch, tokens), got {shape}.")
        has_mask = isinstance(batch, Mapping) and self.mask_field in batch
        mask = batch[self.mask_field].bool() if has_mask else torch.ones_like(tokens, dtype=torch.bool)
        return tokens, mask


def with_others(members: Tensor, otherwise: str | None) -> Tensor:
    """Memberships with one more group, where asked for, that has what the others leave of 1."""
    if otherwise is None:
        return members
    return torch.cat([members, 1 - members.sum(-1, keepdim=True)], dim=-1)


def of_targets(members: Tensor, mask: Tensor) -> Tensor:
    """Move the memberships of tokens to the positions that predict them.

    Args:
        members: Of each token `(batch, tokens, groups)`.
        mask: Whether a token is no padding `(batch, tokens)`.

    Returns:
        Of each position `(batch, tokens, groups)`: the next token's, 0 where there is no next token or it is padding.

    Example:
        >>> of_targets(torch.tensor([[[0.0], [1.0], [1.0]]]), torch.tensor([[1, 1, 0]])).squeeze()
        tensor([1., 0., 0.])
    """
    targets = torch.zeros_like(members)
    targets[:, :-1] = members[:, 1:] * (mask[:, 1:] & mask[:, :-1]).unsqueeze(-1)
    return targets


def encode(text: str, datamodule: Any) -> list[int]:
    """The token ids of a text, without special tokens.

    Args:
        text: What to encode.
        datamodule: Anything with a `tokenizer` in the manner of transformers.

    Returns:
        The ids.

    Raises:
        ValueError: If there is no tokenizer.
    """
    tokenizer = getattr(datamodule, "tokenizer", None)
    if tokenizer is None:
        raise ValueError(
            f"A routing rule has to encode {text!r}, but the datamodule {type(datamodule).__name__} has no "
            "`tokenizer`: give it one, or write token ids instead of words."
        )
    return list(tokenizer.encode(text, add_special_tokens=False))
