"""Rules for tokens: the target token decides, padding belongs to no group."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_vista.routing.rules.rule import Rule, batch_field, optional_batch_field


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
        field: str | int = "input_ids",
        mask_field: str | int = "attention_mask",
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
        return read_tokens(batch, self.field, self.mask_field)


def read_tokens(batch: Any, field: str | int, mask_field: str | int) -> tuple[Tensor, Tensor]:
    """Read the tokens of a batch, and which of them are not padding.

    Args:
        batch: A mapping, a sequence or an object with attributes, such as a dataclass.
        field: The field with the token ids `(batch, tokens)`.
        mask_field: The field that is 0 at padding `(batch, tokens)`; a batch without it has no padding.

    Returns:
        Token ids, and booleans that are False at padding, both `(batch, tokens)`.

    Raises:
        ValueError: If the batch has no tokens, or they are not a matrix.
    """
    tokens = batch_field(batch, field)
    if not isinstance(tokens, Tensor) or tokens.ndim != 2:
        shape = tuple(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
        raise ValueError(f"Expected {field!r} to hold token ids of shape (batch, tokens), got {shape}.")
    mask = optional_batch_field(batch, mask_field)
    return tokens, torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.bool()


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
        field: str | int = "input_ids",
        mask_field: str | int = "attention_mask",
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
        field: str | int = "input_ids",
        mask_field: str | int = "attention_mask",
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
                found[..., group] |= occurrences(tokens, _phrase_ids(concept))
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


def _phrase_ids(concept: str | list[int]) -> list[int]:
    if isinstance(concept, str):
        raise ValueError(f"The concept {concept!r} is text: call `rule.setup(datamodule)` to turn it into token ids.")
    return concept


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
