"""Rules for tokens: the target token decides, and padding belongs to no group."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from lightning_vista.options import check_word
from lightning_vista.routing.rules.rule import Rule, batch_field, optional_batch_field
from lightning_vista.routing.rules.targets import Target


class TokenwiseRule(Rule):
    """Base class of rules for tokens: position `t` of a language model is governed by the token that it predicts.

    That is token `t + 1` of a causal language model, and token `t` of a masked one, whether or not it is masked. A
    subclass writes `match`, which assigns tokens to groups.

    Args:
        groups: The names of the groups.
        field: The batch's field with the token ids `(batch, tokens)`.
        mask_field: The batch's field that is 0 at padding `(batch, tokens)`; a batch without it has no padding.
        otherwise: The name of a further group for all tokens in no other group, such as "retain".
        target: The token that governs a position: "next", or "same" for masked language models.

    Raises:
        ValueError: If `target` is another word.
    """

    def __init__(
        self,
        groups: Sequence[str],
        field: str | int = "input_ids",
        mask_field: str | int = "attention_mask",
        otherwise: str | None = None,
        target: Target = "next",
    ) -> None:
        check_word("target", target, get_args(Target))
        super().__init__([*groups, *([otherwise] if otherwise else [])])
        self.target = target
        self.field = field
        self.mask_field = mask_field
        self.otherwise = otherwise

    @abstractmethod
    def match(self, tokens: Tensor) -> Tensor:
        """Return which tokens belong to which group.

        Args:
            tokens: Token ids `(batch, tokens)`.

        Returns:
            Booleans or weights `(batch, tokens, groups)`, without the group `otherwise`.
        """

    def memberships(self, batch: Any) -> Tensor:
        """Return the groups of the target `(batch, tokens, groups)`; zeros without a target, and at padding."""
        tokens, mask = self.read(batch)
        return of_targets(with_others(self.match(tokens).float(), self.otherwise), mask, self.target)

    def read(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Read the tokens of a batch, and which of them are not padding, both `(batch, tokens)`.

        Raises:
            ValueError: If the batch has no tokens, or they are not a matrix.
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

    Example:
        >>> read_tokens({"ids": torch.tensor([[5, 0]]), "mask": torch.tensor([[1, 0]])}, "ids", "mask")
        (tensor([[5, 0]]), tensor([[ True, False]]))
    """
    tokens = batch_field(batch, field)
    if not isinstance(tokens, Tensor) or tokens.ndim != 2:
        shape = tuple(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
        raise ValueError(f"{field!r}: expected token ids of shape (batch, tokens), got {shape}.")
    mask = optional_batch_field(batch, mask_field)
    return tokens, torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.bool()


def with_others(members: Tensor, otherwise: str | None) -> Tensor:
    """Add one more group, if it has a name, for the part of 1 that the other groups leave.

    Args:
        members: Memberships `(..., groups)`.
        otherwise: The name of the further group, or None for no change.

    Returns:
        Memberships `(..., groups)` or `(..., groups + 1)`.
    """
    if otherwise is None:
        return members
    return torch.cat([members, 1 - members.sum(-1, keepdim=True)], dim=-1)


def of_targets(members: Tensor, mask: Tensor, target: Target = "next") -> Tensor:
    """Move the memberships of tokens to the positions that predict them.

    Args:
        members: Memberships of each token `(batch, tokens, groups)`.
        mask: Whether a token is not padding `(batch, tokens)`.
        target: The token that a position predicts, the next one or the same.

    Returns:
        Memberships of each position `(batch, tokens, groups)`: those of its target, or 0 without one.

    Example:
        >>> of_targets(torch.tensor([[[0.0], [1.0], [1.0]]]), torch.tensor([[1, 1, 0]])).squeeze()
        tensor([1., 0., 0.])
    """
    if target == "same":
        return members * mask.unsqueeze(-1)
    targets = torch.zeros_like(members)
    # Both must be real: with padding on the left a padded position would predict the first token.
    targets[:, :-1] = members[:, 1:] * (mask[:, 1:] & mask[:, :-1]).unsqueeze(-1)
    return targets


def encode(text: str, datamodule: Any) -> list[int]:
    """Encode a text without special tokens.

    Args:
        text: The text.
        datamodule: Any object with a `tokenizer` in the style of transformers.

    Returns:
        The token ids.

    Raises:
        ValueError: If the datamodule lacks a tokenizer.
    """
    tokenizer = getattr(datamodule, "tokenizer", None)
    if tokenizer is None:
        raise ValueError(
            f"`tokenizer`: expected the datamodule to have one that encodes {text!r}, got {type(datamodule).__name__} "
            "without it. Add one, or write token ids instead of words."
        )
    return list(tokenizer.encode(text, add_special_tokens=False))


class TokenRule(TokenwiseRule):
    """A rule by single tokens: positions whose target is a token of a group belong to it (gradient routing, 4.2.1).

    Args:
        groups: Group -> its tokens, as ids or as text that is one token, such as " California".
        field: The batch's field with the token ids.
        mask_field: The batch's field that is 0 at padding.
        otherwise: The name of a further group for all other tokens.
        target: The token that governs a position, "next" or "same", see `TokenwiseRule`.

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
        target: Target = "next",
    ) -> None:
        super().__init__(tuple(groups), field, mask_field, otherwise, target)
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
        """Return whether a token is one of the group's."""
        if not self._ids:
            self._ids = [torch.tensor(_ids(group, chosen)) for group, chosen in self.tokens.items()]
        self._ids = [ids.to(tokens.device) for ids in self._ids]
        return torch.stack([torch.isin(tokens, ids) for ids in self._ids], dim=-1)


def _one(token: int | str, datamodule: Any) -> int:
    if isinstance(token, int):
        return token
    ids = encode(token, datamodule)
    if len(ids) != 1:
        raise ValueError(f"{token!r}: expected one token, got {len(ids)}. Use ConceptRule for words and phrases.")
    return ids[0]


def _ids(group: str, tokens: Sequence[int | str]) -> list[int]:
    if texts := [token for token in tokens if isinstance(token, str)]:
        raise ValueError(
            f"{group!r}: expected token ids, got the text {texts[0]!r}. Call `rule.setup(datamodule)` first."
        )
    return [int(token) for token in tokens]


class ConceptRule(TokenwiseRule):
    """A rule by words and phrases: positions whose target is part of a group's word or phrase belong to it.

    A concept is matched as written, in lower case and in title case, with and without a space before it; all its tokens
    count. As with any match of tokens, "tree" also matches the start of a longer word that is encoded as "tree" and an
    ending.

    Args:
        groups: Group -> its words and phrases, or lists of token ids.
        field: The batch's field with the token ids.
        mask_field: The batch's field that is 0 at padding.
        otherwise: The name of a further group for all other tokens.
        target: The token that governs a position, "next" or "same", see `TokenwiseRule`.

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
        target: Target = "next",
    ) -> None:
        super().__init__(tuple(groups), field, mask_field, otherwise, target)
        self.concepts = {group: list(concepts) for group, concepts in groups.items()}

    def setup(self, datamodule: Any) -> None:
        """Turn words into token ids.

        Raises:
            ValueError: If the tokenizer knows no spelling of a concept.
        """
        self.concepts = {
            group: [ids for concept in concepts for ids in _variants(concept, datamodule)]
            for group, concepts in self.concepts.items()
        }

    def match(self, tokens: Tensor) -> Tensor:
        """Return whether a token is part of a group's concept; of several groups, the first one has it."""
        found = torch.zeros(*tokens.shape, len(self.concepts), dtype=torch.bool, device=tokens.device)
        for group, concepts in enumerate(self.concepts.values()):
            for concept in concepts:
                found[..., group] |= occurrences(tokens, _phrase_ids(concept))
        # Memberships may not exceed 1 in sum, so the first group with a match keeps the token.
        return found & (found.cumsum(-1) == 1)


def occurrences(tokens: Tensor, pattern: Sequence[int]) -> Tensor:
    """Return which tokens are part of an occurrence of a pattern.

    Args:
        tokens: Token ids `(batch, tokens)`.
        pattern: The ids to match, in order.

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
    """Return the different encodings of a concept."""
    if not isinstance(concept, str):
        return [concept]
    spellings = dict.fromkeys([concept, concept.lower(), concept.title()])
    encodings = [encode(space + spelling, datamodule) for spelling in spellings for space in ("", " ")]
    unknown = getattr(datamodule.tokenizer, "unk_token_id", None)
    known = [ids for ids in encodings if ids and unknown not in ids]
    if not known:
        raise ValueError(
            f"{concept!r}: expected a concept that the tokenizer knows, got unknown tokens in all spellings."
        )
    return list(map(list, dict.fromkeys(map(tuple, known))))


def _phrase_ids(concept: str | list[int]) -> list[int]:
    if isinstance(concept, str):
        raise ValueError(f"{concept!r}: expected token ids, got text. Call `rule.setup(datamodule)` first.")
    return concept


class SequenceRule(Rule):
    """A rule for whole sequences: a sequence belongs to the group of any of its tokens; of several, to the first.

    Args:
        rule: The rule that assigns tokens to groups, such as a `ConceptRule`.
        otherwise: The name of a further group for sequences without any match, such as "retain".

    Raises:
        ValueError: If the inner rule has a group `otherwise` of its own.

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
            raise ValueError(
                f"`rule`: expected a rule without `otherwise`, got {rule.otherwise!r}. Set it on the SequenceRule."
            )
        super().__init__([*rule.groups, *([otherwise] if otherwise else [])])
        self.rule = rule
        self.otherwise = otherwise

    def setup(self, datamodule: Any) -> None:
        """Prepare the inner rule."""
        self.rule.setup(datamodule)

    def memberships(self, batch: Any) -> Tensor:
        """Return the one group of each sequence `(batch, groups)`."""
        tokens, mask = self.rule.read(batch)
        occurs = (self.rule.match(tokens).bool() & mask.unsqueeze(-1)).any(dim=1)
        first = occurs & (occurs.cumsum(-1) == 1)
        return with_others(first.float(), self.otherwise)
