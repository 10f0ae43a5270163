"""Groups of words and phrases."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_vista.routing.rules.tokenwise import TokenwiseRule, encode


class ConceptRule(TokenwiseRule):
    """Positions whose target is part of one of a group's words or phrases belong to that group.

    A concept is looked for as written, in lower case and in title case, with and without a space before it; all its
    tokens count. As with any match of tokens, "tree" is also found at the start of a longer word that is encoded as
    "tree" and an ending.

    Args:
        groups: Group -> its words and phrases, or lists of token ids.
        field: The batch's field with the token ids.
        mask_field: The batch's field that is 0 at padding.
        otherwise: A further group for all other tokens.

    Example:
        >>> rule = ConceptRule({"tree": [[7, 8]]})
        >>> rule.memberships({"input_ids": torch.tensor([[5, 7, 8, 7]])}).squeeze()
        tensor([1., 1., 0., 0.])
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[str | list[int]]],
        field: str = "input_ids",
        mask_field: str = "attention_mask",
        otherwise: str | None = None,
    ) -> None:
        super().__init__(tuple(groups), field, mask_field, otherwise)
        self.concepts = {group: list(concepts) for group, concepts in groups.items()}

    def setup(self, datamodule: Any) -> None:
        """Turn words into token ids.

        Raises:
            ValueError: If the tokenizer knows none of the variants of a concept.
        """
        self.concepts = {
            group: [ids for concept in concepts for ids in _variants(concept, datamodule)]
            for group, concepts in self.concepts.items()
        }

    def match(self, tokens: Tensor) -> Tensor:
        """Whether a token is part of one of the group's concepts; of several groups, the first."""
        found = torch.zeros(*tokens.shape, len(self.concepts), dtype=torch.bool, device=tokens.device)
        for group, concepts in enumerate(self.concepts.values()):
            for concept in concepts:
                found[..., group] |= occurrences(tokens, _ids(concept))
        return found & (found.cumsum(-1) == 1)


def occurrences(tokens: Tensor, pattern: Sequence[int]) -> Tensor:
    """Which tokens are part of an occurrence of a pattern.

    Args:
        tokens: Token ids `(batch, tokens)`.
        pattern: The ids to look for, one after the other.

    Returns:
        Booleans `(batch, tokens)`.

    Example:
        >>> occurrences(torch.tensor([[1, 2, 1, 2, 3]]), [2, 3])
        tensor([[False, False, False,  True,  True]])
    """
    found = torch.zeros_like(tokens, dtype=torch.bool)
    starts = tokens.shape[1] - len(pattern) + 1
    if starts < 1:
        return found
    begins = torch.ones_like(tokens[:, :starts], dtype=torch.bool)
    for offset, token in enumerate(pattern):
        begins &= tokens[:, offset : offset + starts] == token
    for offset in range(len(pattern)):
        found[:, offset : offset + starts] |= begins
    return found


def _variants(concept: str | list[int], datamodule: Any) -> list[list[int]]:
    """The different encodings of a concept."""
    if not isinstance(concept, str):
        return [concept]
    spellings = dict.fromkeys([concept, concept.lower(), concept.title()])
    encodings = [encode(space + spelling, datamodule) for spelling in spellings for space in ("", " ")]
    unknown = getattr(datamodule.tokenizer, "unk_token_id", None)
    known = [ids for ids in encodings if ids and unknown not in ids]
    if not known:
        raise ValueError(f"Expected the tokenizer to know the concept {concept!r}, but all its spellings are unknown.")
    return list(map(list, dict.fromkeys(map(tuple, known))))


def _ids(concept: str | list[int]) -> list[int]:
    if isinstance(concept, str):
        raise ValueError(f"The concept {concept!r} is text: call `rule.setup(datamodule)` to turn it into token ids.")
    return concept
