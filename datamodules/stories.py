"""Texts for language models, part of which is to be forgotten."""

import os
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_vista.options import check_word
from lightning_vista.run_files import run_files
from lightning_vista.text import (
    Exclude,
    Labelling,
    Row,
    by_field,
    by_words,
    collate_rows,
    encode_records,
    label_rows,
    load_tokenizer,
    read_corpus,
    tell_stories,
    word_tokenizer,
    write_token_shards,
)
from lightning_vista.text.batch_sampler import RowBatchSampler
from lightning_vista.text.corpus import Splits, complete_splits
from lightning_vista.text.rows import RowDataset
from lightning_vista.text.token_shards import TokenStream, find_token_shards, read_token_shards

Batch = dict[str, Tensor]
#: What `data` is called when it is the embedded corpus.
EMBEDDED = "stories"
_SPLITS = ("train", "validation", "test")


class StoriesDataModule(L.LightningDataModule):
    """Batches `{"input_ids", "attention_mask": (batch, tokens), "is_forget", "known": (batch,)}` of texts.

    `is_forget` is the truth, 1 or 0, for measuring; `known` is what a rule may look at: 1 labelled forget, 0 labelled
    retain, -1 unlabelled. Texts, splits and labels depend on `seed` alone, so that runs with other seeds of the trainer
    are tested on the same texts; the trainer's seed shuffles.

    Args:
        data: `stories` for the embedded corpus, made in seconds; a file or folder as `read_corpus` takes it; or a
            folder of token shards, which `write_shards` writes.
        forget_words: Forget texts in which one of these words occurs, or the words of this file, one a line.
        forget_field: Where there are no `forget_words`: forget texts that have one of `forget_values` in this field. In
            the embedded corpus, `world` is one of `lightning_vista.text.WORLDS`.
        forget_values: The values.
        text_field: The field of the text.
        labelling: How many texts are labelled, and how many labels are wrong.
        exclude: What to leave out of training.
        tokenizer: A folder with a tokenizer of transformers, such as a checkpoint's. By default each of the training
            data's most frequent words becomes a token, and `tokenizer/` in the run's folder keeps them.
        vocabulary_size: Tokens at most, where words become tokens.
        max_length: Tokens in a row; longer texts become several rows.
        batch_size: Rows in a batch.
        homogeneous: Whether all rows of a training batch are known to be of one group; for the strategy "parameter".
        labelled_first: Whether all labelled texts come before all others in each epoch.
        num_stories: Stories of the embedded corpus.
        validation_share: How much to validate on, where the data has no such split.
        test_share: How much to test on, likewise.
        num_workers: Processes that load, 0 for none.
        seed: Another seed makes, splits and labels otherwise.

    Attributes:
        tokenizer: The tokenizer, once set up.

    Raises:
        ValueError: If token shards are to be read in an order that only memory allows.

    Example:
        >>> data = StoriesDataModule(num_stories=40, forget_field="world", forget_values=["sea"])
        >>> data.setup("fit")
        >>> sorted(next(iter(data.train_dataloader())))
        ['attention_mask', 'input_ids', 'is_forget', 'known']
    """

    def __init__(
        self,
        data: str = EMBEDDED,
        forget_words: list[str] | str | None = None,
        forget_field: str = "world",
        forget_values: Sequence[Any] = ("forest",),
        text_field: str = "text",
        labelling: Labelling = Labelling(),  # noqa: B008 # frozen
        exclude: Exclude = "nothing",
        tokenizer: str | None = None,
        vocabulary_size: int = 20_000,
        max_length: int = 144,
        batch_size: int = 32,
        homogeneous: bool = False,
        labelled_first: bool = False,
        num_stories: int = 11_000,
        validation_share: float = 0.05,
        test_share: float = 0.05,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_word("exclude", exclude, get_args(Exclude))
        self.data, self.text_field, self.num_stories = data, text_field, num_stories
        self.is_forget = by_field(forget_field, forget_values)
        if forget_words is not None:
            self.is_forget = by_words(forget_words, text_field)
        self._label = partial(label_rows, labelling=labelling, exclude=exclude, seed=seed)
        self.tokenizer: Any = None
        self.tokenizer_folder, self.vocabulary_size, self.max_length = tokenizer, vocabulary_size, max_length
        self.batch_size, self.homogeneous, self.labelled_first = batch_size, homogeneous, labelled_first
        self.shares, self.num_workers, self.seed = (validation_share, test_share), num_workers, seed
        self._shards: list[Path] = []
        self._rows: dict[str, list[Row]] = {}

    def setup(self, stage: str) -> None:
        """Read and tokenize everything but the training data of token shards; the same for every stage."""
        if not self._rows:
            shards = find_token_shards(self.data)
            self._rows = self._tokenize() if shards is None else self._read_shards(shards)
            rank_zero_info(self._summary())
        trainer: Any = self.trainer
        if stage == "fit" and trainer is not None and trainer.is_global_zero and not trainer.fast_dev_run:
            self.tokenizer.save_pretrained(run_files(trainer) / "tokenizer")

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled; without end if the data are token shards."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", self.seed))  # what Lightning's own samplers do
        if self._shards:
            start = 0 if self.trainer is None else self.trainer.global_step  # a resumed run shuffles anew
            stream = TokenStream(
                self._shards,
                self.batch_size,
                self.tokenizer.pad_token_id,
                self._label,
                homogeneous=self.homogeneous,
                seed=seed + start,
                **self._process(),
            )
            return DataLoader(stream, batch_size=None, num_workers=self.num_workers)
        order: dict[str, Any] = {
            "shuffle": True,
            "homogeneous": self.homogeneous,
            "labelled_first": self.labelled_first,
            "seed": seed,
        }
        return self._loader(list(self._label(self._rows["train"])), **order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """In order."""
        return self._loader(self._rows["validation"], even=False)

    def test_dataloader(self) -> DataLoader[Batch]:
        """In order."""
        return self._loader(self._rows["test"], even=False)

    def sample(self, split: str, is_forget: bool, count: int, seed: int = 0) -> Batch:
        """Some rows of one kind in one batch, such as those to relearn from, or to restore coherence with.

        Args:
            split: `train` (of token shards the first of them), `validation` or `test`; nothing is excluded.
            is_forget: Rows to forget, or others.
            count: How many; more rows begin with the same ones.
            seed: Another seed draws others.

        Returns:
            The batch.

        Raises:
            ValueError: If there are not so many.
        """
        check_word("split", split, _SPLITS)
        rows = self._rows[split] if split in self._rows else list(read_token_shards(self._shards[:1]))
        chosen = [row for row in rows if row.is_forget == is_forget]
        if len(chosen) < count:
            kind = "to forget" if is_forget else "to retain"
            raise ValueError(f"Expected {count} rows {kind} in the {split} data, there are {len(chosen)}.")
        random.Random(seed).shuffle(chosen)
        return collate_rows(chosen[:count], self.tokenizer.pad_token_id)

    def write_shards(self, folder: str, rows_per_shard: int = 10_000) -> None:
        """Write the tokens of all splits as WebDataset shards, with the tokenizer, for `data`.

        Args:
            folder: A folder that does not exist yet.
            rows_per_shard: How many rows make a shard.
        """
        self.setup("fit")
        rng = random.Random(self.seed)
        mixed = {split: rng.sample(rows, len(rows)) for split, rows in self._rows.items()}
        write_token_shards(mixed, folder, rows_per_shard)
        self.tokenizer.save_pretrained(Path(folder) / "tokenizer")

    def _tokenize(self) -> dict[str, list[Row]]:
        splits = complete_splits(self._read(), *self.shares, self.seed)
        if self.tokenizer_folder is None:
            texts = (record[self.text_field] for record in splits["train"])
            self.tokenizer = word_tokenizer(texts, self.vocabulary_size)
        else:
            self.tokenizer = load_tokenizer(self.tokenizer_folder)
        encode = partial(
            encode_records,
            tokenizer=self.tokenizer,
            is_forget=self.is_forget,
            text_field=self.text_field,
            max_length=self.max_length,
        )
        return {split: list(encode(records)) for split, records in splits.items()}

    def _read(self) -> Splits:
        if self.data == EMBEDDED:
            return {"train": list(tell_stories(self.num_stories, self.seed))}
        return read_corpus(self.data, self.text_field)

    def _read_shards(self, shards: dict[str, list[Path]]) -> dict[str, list[Row]]:
        if self.labelled_first:
            raise ValueError("Token shards are read in a random order: `labelled_first` is not possible.")
        self.tokenizer = load_tokenizer(self.tokenizer_folder or str(Path(self.data, "tokenizer")))
        self._shards = shards.pop("train")
        return {split: list(read_token_shards(paths)) for split, paths in shards.items()}

    def _loader(self, rows: Sequence[Row], **order: Any) -> DataLoader[Batch]:
        sampler = RowBatchSampler([row.known for row in rows], self.batch_size, **order, **self._process())
        dataset = RowDataset(rows, self.tokenizer.pad_token_id)
        return DataLoader(dataset, batch_size=None, sampler=sampler, num_workers=self.num_workers)

    def _process(self) -> dict[str, Any]:
        if self.trainer is None:
            return {"rank": 0, "world_size": 1}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def _summary(self) -> str:
        """What there is, in one line."""
        parts = []
        for split, rows in self._rows.items():
            forget = sum(row.is_forget for row in rows) / max(len(rows), 1)
            parts.append(f"{len(rows)} rows of {split} data ({forget:.1%} to forget)")
            if self.tokenizer_folder is None and rows:
                unknown = torch.cat([row.tokens for row in rows]) == self.tokenizer.unk_token_id
                parts[-1] += f", {unknown.float().mean():.1%} unknown words"
        return f"{self.data}: {'; '.join(parts)}; {len(self.tokenizer)} different tokens"
