"""Tokenizers: one of words, made from texts, or that of a folder."""

from collections.abc import Iterable
from typing import Any

from lightning_vista.optional import require

PADDING, UNKNOWN, END = "[PAD]", "[UNK]", "[END]"


def word_tokenizer(texts: Iterable[str], vocabulary_size: int = 20_000) -> Any:
    """A tokenizer with a token for each of the most frequent words, in lower case, and each punctuation mark.

    Args:
        texts: What to find words in.
        vocabulary_size: Tokens at most, with those for padding, for other words and for the end of a text.

    Returns:
        A `transformers.PreTrainedTokenizerFast`.

    Raises:
        ModuleNotFoundError: If transformers is missing; the message names the extra.

    Example:
        >>> tokenizer = word_tokenizer(["A fox, a bear."])
        >>> tokenizer.tokenize("a fox, an owl.")
        ['a', 'fox', ',', '[UNK]', '[UNK]', '.']
    """
    transformers, tokenizers = require("transformers", extra="text"), require("tokenizers", extra="text")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token=UNKNOWN))
    words.normalizer = tokenizers.normalizers.Lowercase()
    words.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    special = [PADDING, UNKNOWN, END]
    trainer = tokenizers.trainers.WordLevelTrainer(
        vocab_size=vocabulary_size, special_tokens=special, show_progress=False
    )
    words.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=PADDING, unk_token=UNKNOWN, eos_token=END
    )


def load_tokenizer(folder: str) -> Any:
    """The tokenizer of a folder, or of a name, that transformers knows.

    Args:
        folder: Where `save_pretrained` has put it, such as a checkpoint's folder.

    Returns:
        The tokenizer. One without a token for padding pads with the token that ends texts.

    Raises:
        ValueError: If it has neither.
    """
    tokenizer = require("transformers", extra="text").AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ValueError(f"{folder}: expected a tokenizer with a token for padding, or one that ends texts.")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
