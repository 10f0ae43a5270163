"""Texts as rows of tokens, and rows as batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from lightning_vista.text.corpus import Record

Batch = dict[str, Tensor]
#: Number of texts that a tokenizer gets at once.
_CHUNK = 1000


class Row(NamedTuple):
    """Text, or a part of a long one.

    Attributes:
        tokens: Tokens, int32 `(length,)`.
        is_forget: Whether the text is to be forgotten.
        number: Number of the text.
        known: Label of the text: 1 labelled forget, 0 labelled retain, -1 unlabelled.
        states: Hidden states of the tokens in a frozen part of a model `(length, width)`, if they are kept.
    """

    tokens: Tensor
    is_forget: bool
    number: int
    known: int = -1
    states: Tensor | None = None


def encode_records(
    records: Iterable[Record],
    tokenizer: Any,
    is_forget: Callable[[Record], bool],
    text_field: str = "text",
    max_length: int = 144,
    add_bos: bool | None = None,
) -> Iterator[Row]:
    """Tokenize texts. Long ones become several rows.

    A text begins as the tokenizer begins it, see `text_beginning`, and ends with its token for the end, if it has one.
    Both occur once, even if the text itself has them.

    Args:
        records: The texts.
        tokenizer: Tokenizer of transformers.
        is_forget: Function that tells whether to forget a record.
        text_field: Field of the text.
        max_length: Highest number of tokens in a row.
        add_bos: Whether texts begin with the token for the beginning; None for what the tokenizer itself adds.

    Yields:
        Unlabelled rows. Texts without a token, and a last row of a single token, are dropped, since nothing can be
        learned from them.

    Raises:
        ValueError: If the tokenizer has no token for the beginning, and `add_bos` is true.
    """
    beginning = text_beginning(tokenizer, add_bos)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    numbered = enumerate(records)
    while chunk := list(islice(numbered, _CHUNK)):
        texts = [record[text_field] for _, record in chunk]
        encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        for (number, record), ids in zip(chunk, encoded, strict=True):
            if not ids:
                continue
            first = [] if ids[: len(beginning)] == beginning else beginning
            last = [] if ids[-1:] == end else end
            tokens = torch.tensor(first + ids + last, dtype=torch.int32)
            forget = is_forget(record)
            yield from (Row(part, forget, number) for part in tokens.split(max_length) if len(part) > 1)


def text_beginning(tokenizer: Any, add_bos: bool | None = None) -> list[int]:
    """Return the tokens before those of a text: context for its first token, without a loss of their own.

    Args:
        tokenizer: Tokenizer of transformers.
        add_bos: Whether there is the token for the beginning of a text; None for what the tokenizer itself adds, such
            as that token for Llama and Gemma, and nothing for GPT-2.

    Returns:
        The tokens.

    Raises:
        ValueError: If `add_bos` is true and the tokenizer has no such token, or it is None and nothing can be encoded.
    """
    if add_bos is False:
        return []
    if add_bos:
        if tokenizer.bos_token_id is None:
            raise ValueError("`add_bos`: expected a tokenizer with a `bos_token`, got one without. Set it to null.")
        return [tokenizer.bos_token_id]
    # Classes of tokenizers differ in how they announce what they add, so a text shows it. Some know only few texts.
    ordinary = (token for token in range(min(len(tokenizer), 1000)) if token not in tokenizer.all_special_ids)
    for text in ("a", *(tokenizer.decode([token]) for token in ordinary)):
        plain, whole = (tokenizer(text, add_special_tokens=add)["input_ids"] for add in (False, True))
        for place in range(len(whole) - len(plain) + 1 if plain else 0):
            if whole[place : place + len(plain)] == plain:
                return list(whole[:place])
    raise ValueError("`add_bos`: expected a tokenizer that encodes some text, got none. Set it to true or false.")


def collate_rows(rows: Sequence[Row], padding: int) -> Batch:
    """Collate rows to a batch, padded on the right.

    Args:
        rows: The rows.
        padding: Token for padding.

    Returns:
        `input_ids` and `attention_mask` (0 at padding) `(batch, tokens)`, `is_forget` (1 or 0) and `known` (1, 0 or -1)
        `(batch,)`, all int64. If the rows have states, also `hidden_states` `(batch, tokens, width)`, 0 at padding.

    Example:
        >>> rows = [Row(torch.tensor([5, 6]), True, 0, 1), Row(torch.tensor([7, 8, 9]), False, 1, -1)]
        >>> batch = collate_rows(rows, padding=0)
        >>> batch["input_ids"].tolist(), batch["known"].tolist()
        ([[5, 6, 0], [7, 8, 9]], [1, -1])
    """
    tokens = [row.tokens.long() for row in rows]
    lengths = torch.tensor([len(row) for row in tokens])
    input_ids = pad_sequence(tokens, batch_first=True, padding_value=padding)
    batch = {
        "input_ids": input_ids,
        "attention_mask": (torch.arange(input_ids.shape[1]) < lengths[:, None]).long(),
        "is_forget": torch.tensor([int(row.is_forget) for row in rows]),
        "known": torch.tensor([row.known for row in rows]),
    }
    states = [row.states for row in rows if row.states is not None]
    return {**batch, "hidden_states": pad_sequence(states, batch_first=True)} if states else batch


class RowDataset(Dataset[Batch]):
    """Rows in memory, fetched a batch at a time, for a DataLoader with `batch_size=None` and a sampler of batches.

    Args:
        rows: The rows.
        padding: Token for padding.
    """

    def __init__(self, rows: Sequence[Row], padding: int) -> None:
        self.rows, self.padding = list(rows), padding

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        return collate_rows([self.rows[index] for index in indices], self.padding)
