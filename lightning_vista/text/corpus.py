"""Texts from files, and their tokenizers."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_vista.optional import require

#: A text under the name of its field, with any other fields.
Record = Mapping[str, Any]
Splits = dict[str, Iterable[Record]]

#: Names of each split in names of files.
_SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_ENDINGS = (".jsonl", ".parquet", ".txt")


def read_corpus(data: str | Path, text_field: str = "text") -> Splits:
    """Read the texts of a file or folder lazily.

    A single file is training data. In a folder, files whose names begin with that of a split belong to it, such as
    `train-00000-of-00002.parquet` and `test.jsonl`; all others are training data. Folders of Hugging Face's
    `save_to_disk` are read with the package datasets.

    Args:
        data: File `.jsonl` (one JSON object per line), `.parquet` or `.txt` (one text per line), or a folder of them.
        text_field: Field for the texts of `.txt` files.

    Returns:
        Records of each split: `train`, and `validation` and `test` if the data has them.

    Raises:
        FileNotFoundError: If the file does not exist, or the folder does not contain such files.
        ValueError: If a file has another format.
        ModuleNotFoundError: If a package for reading is missing; the message names the extra.
    """
    path = Path(data)
    if path.is_file():
        return {"train": _Records([path], text_field)}
    if any((path / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        saved = require("datasets", extra="text").load_from_disk(str(path))
        return {split_of(name): part for name, part in saved.items()} if isinstance(saved, dict) else {"train": saved}
    files = sorted(file for file in path.rglob("*") if file.suffix in _ENDINGS)
    if not files:
        raise FileNotFoundError(
            f"`{path}`: expected a file of texts, or a folder with files {', '.join(_ENDINGS)}, got neither."
        )
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of(file.name), []).append(file)
    return {split: _Records(paths, text_field) for split, paths in by_split.items()}


def complete_splits(splits: Splits, validation_share: float, test_share: float, seed: int) -> Splits:
    """Draw missing splits from the training texts, each text with a fixed probability.

    Args:
        splits: Existing splits, with `train` among them.
        validation_share: Probability that a text belongs to the validation split.
        test_share: Probability that a text belongs to the test split.
        seed: Random seed of the draws.

    Returns:
        All three splits.

    Raises:
        ValueError: If training texts are missing, or the shares are negative or not below 1 in sum.
    """
    if "train" not in splits:
        raise ValueError(
            f"`splits`: expected training texts, got only {sorted(splits)}. Add a file or folder for 'train'."
        )
    if min(validation_share, test_share) < 0 or validation_share + test_share >= 1:
        raise ValueError(
            f"`validation_share`, `test_share`: expected at least 0, and less than 1 together, got {validation_share} "
            f"and {test_share}."
        )
    shares = {"validation": validation_share, "test": test_share}
    missing = {split: share for split, share in shares.items() if split not in splits}
    taken = {split: _Part(splits["train"], split, missing, seed) for split in ("train", *missing)}
    return {**splits, **taken} if missing else splits


def split_of(name: str) -> str:
    """Return the split that a name stands for.

    Example:
        >>> split_of("valid.jsonl"), split_of("test-00000-of-00001.parquet"), split_of("stories.txt")
        ('validation', 'test', 'train')
    """
    first = name.partition(".")[0].partition("-")[0].lower()
    return next((split for split, names in _SPLIT_NAMES.items() if first in names), "train")


class _Records:
    """Records of files, which each iteration reads again."""

    def __init__(self, paths: list[Path], text_field: str) -> None:
        self._paths, self._text_field = paths, text_field

    def __iter__(self) -> Iterator[Record]:
        for path in self._paths:
            yield from _read_file(path, self._text_field)


def _read_file(path: Path, text_field: str) -> Iterator[Record]:
    if path.suffix == ".parquet":
        yield from require("polars", extra="vista").read_parquet(path).iter_rows(named=True)
    elif path.suffix in _ENDINGS:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield {text_field: line.strip()} if path.suffix == ".txt" else _parse(line, path, number)
    else:
        raise ValueError(f"`{path}`: expected a file {', '.join(_ENDINGS)}, got {path.suffix!r}. Convert the file.")


def _parse(line: str, path: Path, number: int) -> Record:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"`{path}`, line {number}: expected a JSON object, got an error. Fix the line: {error}."
        ) from error
    if not isinstance(record, dict):
        raise ValueError(f"`{path}`, line {number}: expected a JSON object, got {type(record).__name__}. Fix the line.")
    return record


class _Part:
    """Part of records that fall to one split, at random."""

    def __init__(self, records: Iterable[Record], split: str, shares: Mapping[str, float], seed: int) -> None:
        self._records, self._split, self._seed = records, split, seed
        self._splits, self._weights = [*shares, "train"], [*shares.values(), 1 - sum(shares.values())]

    def __iter__(self) -> Iterator[Record]:
        # All parts draw the same numbers, so that each record falls to exactly one of them.
        rng = random.Random(self._seed)
        for record in self._records:
            if rng.choices(self._splits, self._weights) == [self._split]:
                yield record


PADDING, UNKNOWN, END = "[PAD]", "[UNK]", "[END]"


def word_tokenizer(texts: Iterable[str], vocabulary_size: int = 20_000) -> Any:
    """Build a tokenizer with a token for each of the most frequent words, in lower case, and each punctuation mark.

    Args:
        texts: Texts that contain the words.
        vocabulary_size: Highest number of tokens, including those for padding, other words and the end of a text.

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
    """Load a tokenizer of transformers by folder or name.

    Args:
        folder: Folder that `save_pretrained` wrote, such as a checkpoint's, or a name.

    Returns:
        The tokenizer. If it does not have a token for padding, it pads with the token that ends texts.

    Raises:
        ValueError: If the tokenizer has neither of these tokens.
    """
    tokenizer = require("transformers", extra="text").AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ValueError(
                f"`{folder}`: expected a tokenizer with a token for padding or for the end of texts, got neither."
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
