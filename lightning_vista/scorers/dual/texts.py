"""Encoders of descriptions, clause by clause."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_vista.scorers.dual.head_modules import project_items

_PADDING = 0


def split_clauses(text: str) -> list[list[str]]:
    """Split a description into clauses at its commas, and each clause into lower-case words.

    Args:
        text: Description.

    Returns:
        Words of each clause; a single empty clause for a text without words.

    Example:
        >>> split_clauses("First, we open the red box, and then we wait")
        [['first', 'we', 'open', 'the', 'red', 'box'], ['and', 'then', 'we', 'wait']]
    """
    clauses = [re.findall(r"[a-z0-9]+", clause) for clause in text.lower().split(",")]
    clauses = [clause for clause in clauses if clause]
    if len(clauses) > 1 and len(clauses[0]) == 1:  # a lone 'First,' is not a step of its own
        clauses[:2] = [clauses[0] + clauses[1]]
    return clauses or [[]]


class ClauseEncoder(nn.Module):
    """An encoder of single clauses: word vectors, two convolutions over words, and the maximum.

    Args:
        vocabulary: Known words; other words are ignored.
        dim: Size of a word vector and of an encoded clause.

    Example:
        >>> encoder = ClauseEncoder(["open", "the", "box"], dim=8)
        >>> clauses, is_there = encoder(["open the box", "open the box, open the box"])
        >>> clauses.shape, is_there.tolist()
        (torch.Size([2, 2, 8]), [[True, False], [True, True]])
    """

    def __init__(self, vocabulary: Sequence[str], dim: int) -> None:
        super().__init__()
        self.vocabulary = {word: number for number, word in enumerate(vocabulary, start=1)}
        self.words = nn.Embedding(len(vocabulary) + 1, dim, padding_idx=_PADDING)
        self.first = nn.Conv1d(dim, dim, 3, padding=1)
        self.second = nn.Conv1d(dim, dim, 3, padding=1)
        self.norm = nn.LayerNorm(dim)

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a description that are not in the vocabulary."""
        return [word for clause in split_clauses(text) for word in clause if word not in self.vocabulary]

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Encode the clauses of descriptions, equal clauses only once.

        Args:
            texts: Descriptions.

        Returns:
            Clauses `(texts, clauses, dim)`, zeros where a text has fewer, and their presence `(texts, clauses)`, bool.
        """
        split = [[tuple(clause) for clause in split_clauses(text)] for text in texts]
        places = {clause: number for number, clause in enumerate(dict.fromkeys(c for text in split for c in text), 1)}
        longest = max(map(len, split))
        # Row 0 of `encoded` is all zeros and stands for an absent clause; the distinct clauses count from 1.
        table = torch.tensor([[places[c] for c in text] + [0] * (longest - len(text)) for text in split])
        table = table.to(self.words.weight.device)
        encoded = self._encode(list(places))
        encoded = torch.cat([torch.zeros_like(encoded[:1]), encoded])
        return encoded[table], table > 0

    def _encode(self, clauses: Sequence[Sequence[str]]) -> Tensor:
        """Encode distinct clauses; returns `(clauses, dim)`."""
        numbers = [[self.vocabulary[word] for word in clause if word in self.vocabulary] for clause in clauses]
        longest = max(1, *map(len, numbers))
        padded = torch.tensor([row + [_PADDING] * (longest - len(row)) for row in numbers])
        padded = padded.to(self.words.weight.device)
        is_word = (padded != _PADDING)[:, None]
        features = self.words(padded).transpose(1, 2)
        features = features + torch.relu(self.first(features)) * is_word
        features = features + torch.relu(self.second(features)) * is_word
        features = features.masked_fill(~is_word, -1e4).amax(dim=2)
        result: Tensor = self.norm(features.where(is_word.any(dim=2), 0.0))
        return result


class SequenceEncoder(nn.Module):
    """An encoder of whole descriptions: a transformer over their clauses, and the mean.

    Args:
        clauses: Encoder of the clauses.
        width: Size of an encoded clause.
        dim: Size of an encoded description.
        max_clauses: Largest number of clauses of a description.
    """

    def __init__(self, clauses: ClauseEncoder, width: int, dim: int, max_clauses: int) -> None:
        super().__init__()
        self.clauses = clauses
        self.positions = nn.Parameter(0.1 * torch.randn(max_clauses, width))
        layer = nn.TransformerEncoderLayer(width, 4, width, dropout=0.0, batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.project = nn.Linear(width, dim)

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Encode descriptions.

        Args:
            texts: Descriptions of at most `max_clauses` clauses.

        Returns:
            Texts `(texts, dim)`, followed by the results of `ClauseEncoder`.
        """
        clauses, is_there = self.clauses(texts)
        features = self.transformer(clauses + self.positions[: clauses.shape[1]], src_key_padding_mask=~is_there)
        # The projection of the mean is the mean of projections, which named modules may change.
        projected = project_items(self.project, features, is_there)
        mean = (projected * is_there[..., None]).sum(1) / is_there.sum(1, keepdim=True)
        return mean, clauses, is_there
