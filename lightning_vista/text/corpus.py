"""Texts from files, and their tokenizers."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities import rank_zero_info

from lightning_vista.files.checkpoints import load_without_code
from lightning_vista.optional import require
from lightning_vista.text.corpus_files import ENDINGS, describe_corpus, find_corpus_files, group_by_split

#: A text under the name of its field, with any other fields.
Record = Mapping[str, Any]
Splits = dict[str, Iterable[Record]]


def read_corpus(data: str | Path, text_field: str = "text") -> Splits:
    """Read the texts of a file or folder lazily.

    A single file is training data. In a folder, a word of a file's name, or of a folder on the way, names its split:
    `train-00000-of-00002.parquet`, `my_test.jsonl`, `validation/0.txt`, see `corpus_files.SPLIT_WORDS`. Files that name
    no split are training data, also beside others that do. Hidden files, licences and the like are left out. A line of
    the log names the files of each split, and those that are left out. Folders of Hugging Face's `save_to_disk` are
    read with the package datasets, and the words of their splits' names count alike.

    Args:
        data: File `.jsonl` (one JSON object per line), `.parquet` or `.txt` (one text per line), or a folder of them.
        text_field: Field of the texts.

    Returns:
        Records of each split: `train`, and `validation` and `test` if the data has them.

    Raises:
        FileNotFoundError: If the file does not exist, or the folder does not contain such files.
        ValueError: If a file has another format or names two splits, or, while reading, if a record has no text.
        ModuleNotFoundError: If a package for reading is missing; the message names the extra.
    """
    path = Path(data)
    if path.is_file():
        return {"train": _Records([path], text_field)}
    if any((path / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        saved = require("datasets", extra="text").load_from_disk(str(path))
        return saved_splits(saved if isinstance(saved, dict) else {"train": saved}, str(path), text_field)
    files, left_out = find_corpus_files(path)
    if not files:
        raise FileNotFoundError(
            f"`{path}`: expected a file of texts, or a folder with files {', '.join(ENDINGS)}, got neither."
        )
    rank_zero_info(describe_corpus(path, files, left_out))
    return {split: _Records(paths, text_field) for split, paths in files.items()}


def saved_splits(parts: Mapping[str, Iterable[Record]], owner: str, text_field: str = "text") -> Splits:
    """Join the parts of a saved dataset that belong to one split, such as `train` and `unsupervised`.

    Args:
        parts: Records by the name of their part.
        owner: Name of the dataset, for errors.
        text_field: Field of the texts.

    Returns:
        Records of each split.

    Raises:
        ValueError: If a name stands for two splits.
    """
    by_split = group_by_split(parts, owner)
    return {
        split: _SavedParts({f"{owner}/{name}": parts[name] for name in names}, text_field)
        for split, names in by_split.items()
    }


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


class _Records:
    """Records of files, which each iteration reads again."""

    def __init__(self, paths: list[Path], text_field: str) -> None:
        self._paths, self._text_field = paths, text_field

    def __iter__(self) -> Iterator[Record]:
        for path in self._paths:
            for number, record in _read_file(path, self._text_field):
                yield _checked(record, self._text_field, f"`{path}`, {number}")


class _SavedParts:
    """Records of several parts of a saved dataset, one after the other."""

    def __init__(self, parts: Mapping[str, Iterable[Record]], text_field: str) -> None:
        self._parts, self._text_field = parts, text_field

    def __iter__(self) -> Iterator[Record]:
        for name, records in self._parts.items():
            for number, record in enumerate(records, start=1):
                yield _checked(record, self._text_field, f"`{name}`, row {number}")


def _checked(record: Record, text_field: str, place: str) -> Record:
    """Return a record that has a text; tokenizers would take a null for another text, or fail without a place."""
    if text_field not in record:
        raise ValueError(f"{place}: expected a field {text_field!r}, got {sorted(record)}. Name it in `text_field`.")
    if not isinstance(text := record[text_field], str):
        got = "null" if text is None else type(text).__name__
        raise ValueError(f"{place}: expected a text in {text_field!r}, got {got}. Fix or remove the record.")
    return record


def _read_file(path: Path, text_field: str) -> Iterator[tuple[str, Record]]:
    """Yield each record of a file with its place."""
    ending = path.suffix.lower()
    if ending == ".parquet":
        rows = require("polars", extra="vista").read_parquet(path).iter_rows(named=True)
        yield from ((f"row {number}", row) for number, row in enumerate(rows, start=1))
    elif ending in ENDINGS:
        for number, line in enumerate(_read_lines(path), start=1):
            if line.strip():
                yield f"line {number}", _parse(line, path, number) if ending == ".jsonl" else {text_field: line.strip()}
    else:
        raise ValueError(f"`{path}`: expected a file {', '.join(ENDINGS)}, got {path.suffix!r}. Convert the file.")


def _read_lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as lines:  # without the mark that some editors put first
            yield from lines
    except UnicodeDecodeError as error:
        raise ValueError(f"`{path}`: expected UTF-8, got other bytes. Convert the file: {error}.") from error


def _parse(line: str, path: Path, number: int) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
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
    tokenizer = load_without_code(require("transformers", extra="text").AutoTokenizer.from_pretrained, str(folder))
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ValueError(
                f"`{folder}`: expected a tokenizer with a token for padding or for the end of texts, got neither."
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
