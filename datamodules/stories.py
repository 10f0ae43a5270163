"""Texts for language models, of which a part is to be forgotten."""

import os
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_vista.files.run_files import run_files
from lightning_vista.models.hidden_states import HiddenStates
from lightning_vista.options import check_word
from lightning_vista.processes.resumable_loader import ResumableLoader, init_worker
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
from lightning_vista.text.cipher import tell_in_two_languages
from lightning_vista.text.corpus import Splits, complete_splits
from lightning_vista.text.labelling import draw_texts, read_words
from lightning_vista.text.rows import RowDataset, text_beginning
from lightning_vista.text.token_shards import TokenStream, check_settings, find_token_shards, read_token_shards

Batch = dict[str, Tensor]
#: Value of `data` for the embedded corpus.
EMBEDDED = "stories"
#: What all rows of a batch have in common: their label, or label and true kind.
Homogeneity = Literal["labels", "kinds"]
_SPLITS = ("train", "validation", "test")


class StoriesDataModule(L.LightningDataModule):
    """Texts as batches `{"input_ids", "attention_mask": (batch, tokens), "is_forget", "known": (batch,)}`.

    `is_forget` is the truth, 1 or 0, for measurements. `known` is for rules: 1 labelled forget, 0 labelled retain, -1
    unlabelled. Texts, splits and labels depend on `seed` only, so that runs with other seeds of the trainer are tested
    on the same texts. The trainer's seed determines the order.

    Args:
        data: `stories` for the embedded corpus, which is generated in seconds; a file or folder for `read_corpus`; or a
            folder of token shards, as `write_shards` writes them, with the same texts to forget.
        forget_words: Words whose texts are to be forgotten, or the path of a file with one word per line.
        forget_field: Field whose values determine the texts to forget, if `forget_words` is not given. In the embedded
            corpus, `world` is one of `lightning_vista.text.WORLDS`, and `language` is `plain` or `cipher`.
        forget_values: Values of `forget_field` whose texts are to be forgotten.
        text_field: Field of the text.
        labelling: Shares of labelled texts and of wrong labels.
        exclude: Texts to exclude from training.
        tokenizer: Folder with a tokenizer of transformers, such as a checkpoint's. By default each of the training
            data's most frequent words becomes a token, and `tokenizer/` in the run's folder keeps this tokenizer.
        add_bos: Whether texts begin with the tokenizer's token for the beginning (BOS), as context only. None begins
            them as the tokenizer does by itself: those of Llama and Gemma add BOS, that of GPT-2 does not. Token shards
            that were written otherwise are refused.
        vocabulary_size: Highest number of tokens, if words become tokens.
        max_length: Number of tokens in a row; longer texts become several rows.
        batch_size: Number of rows in a batch.
        homogeneous: Whether all rows of a training batch have the same label, as the strategy "parameter" needs it:
            true or "labels". With "kinds", unlabelled rows to forget and to retain do not share a batch either, so that
            `RoutingMonitor` can tell them apart.
        labelled_first: Whether all labelled texts come before all others in each epoch.
        group_by_length: Whether rows of similar lengths share a batch, which saves padding.
        num_stories: Number of stories of the embedded corpus.
        cipher_share: Share of the embedded stories that are told in another language, see
            `lightning_vista.text.encipher`.
        num_texts: Split -> number of texts to draw from it, of each kind: as many to forget as to retain. Other splits
            stay whole.
        hidden_states: Frozen part of a model whose states the batches hold too, as `hidden_states` `(batch, tokens,
            width)`, for `UpperLanguageModelModule`.
        validation_share: Share of the texts to validate on, if the data does not have that split.
        test_share: Share of the texts to test on, if the data does not have that split.
        num_workers: Number of loading processes, 0 for none.
        seed: Random seed of the texts, splits and labels.

    Attributes:
        tokenizer: The tokenizer, after `setup`.

    Raises:
        ValueError: If `exclude` or `homogeneous` is an unknown word, `cipher_share` is not between 0 and 1 or is given
            for data other than the embedded corpus, token shards cannot be read in the wanted order or with the wanted
            options, or were written with other texts to forget or another `add_bos`, `add_bos` is true for a tokenizer
            without such a token, or there are too few texts to draw.

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
        add_bos: bool | None = None,
        vocabulary_size: int = 20_000,
        max_length: int = 144,
        batch_size: int = 32,
        homogeneous: bool | Homogeneity = False,
        labelled_first: bool = False,
        group_by_length: bool = False,
        num_stories: int = 11_000,
        cipher_share: float = 0.0,
        num_texts: dict[str, int] | None = None,
        hidden_states: HiddenStates | None = None,
        validation_share: float = 0.05,
        test_share: float = 0.05,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_word("exclude", exclude, get_args(Exclude))
        if isinstance(homogeneous, str):
            check_word("homogeneous", homogeneous, get_args(Homogeneity))
        if not 0 <= cipher_share <= 1 or (cipher_share and data != EMBEDDED):
            raise ValueError(
                f"`cipher_share`: expected a share between 0 and 1, and 0 for data other than {EMBEDDED!r}, got "
                f"{cipher_share} for {data!r}."
            )
        self.data, self.text_field = data, text_field
        self.num_stories, self.cipher_share = num_stories, cipher_share
        self.is_forget = by_field(forget_field, forget_values)
        self._forget: dict[str, Any] = {"forget_field": forget_field, "forget_values": list(forget_values)}
        if forget_words is not None:
            self.is_forget = by_words(forget_words, text_field)
            self._forget = {"forget_words": read_words(forget_words)}
        self.num_texts, self.hidden_states, self.labelling = num_texts or {}, hidden_states, labelling
        for split in self.num_texts:
            check_word("num_texts", split, _SPLITS)
        self._label = partial(label_rows, labelling=labelling, exclude=exclude, seed=seed)
        self.tokenizer: Any = None
        self.tokenizer_folder, self.add_bos = tokenizer, add_bos
        self.vocabulary_size, self.max_length = vocabulary_size, max_length
        self.batch_size, self.homogeneous, self.labelled_first = batch_size, bool(homogeneous), labelled_first
        self.of_one_kind = homogeneous == "kinds"
        self.group_by_length = group_by_length
        if group_by_length and labelled_first and not homogeneous:
            raise ValueError(
                "`group_by_length`: expected `homogeneous` beside `labelled_first`, got only the latter, whose order "
                "would be lost. Set it, too."
            )
        self.shares, self.num_workers, self.seed = (validation_share, test_share), num_workers, seed
        self._shards: list[Path] = []
        self._rows: dict[str, list[Row]] = {}

    def setup(self, stage: str) -> None:
        """Read and tokenize everything but the training data of token shards, for every stage."""
        if not self._rows:
            shards = find_token_shards(self.data)
            self._rows = self._tokenize() if shards is None else self._read_shards(shards)
            rank_zero_info(self._summary())
            *_, chosen = self._forget.values()
            if chosen and not any(row.is_forget for rows in self._rows.values() for row in rows):
                rank_zero_warn(
                    f"`{list(self._forget)[-1]}`: expected some texts to forget in {self.data}, got none by "
                    f"{self._forget}. Check these options."
                )
        trainer: Any = self.trainer
        if stage == "fit" and trainer is not None and trainer.is_global_zero and not trainer.fast_dev_run:
            self.tokenizer.save_pretrained(run_files(trainer) / "tokenizer")

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches, which are endless for token shards; a resumed run continues with the next ones."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", self.seed))  # as Lightning's own samplers do
        if self._shards:
            stream = TokenStream(
                self._shards,
                self.batch_size,
                self.tokenizer.pad_token_id,
                self._label,
                homogeneous=self.homogeneous,
                of_one_kind=self.of_one_kind,
                seed=seed,
                **self._process(),
            )
            return ResumableLoader(stream, batch_size=None, num_workers=self.num_workers, trainer=self.trainer)
        order: dict[str, Any] = {
            "shuffle": True,
            "homogeneous": self.homogeneous,
            "labelled_first": self.labelled_first,
            "seed": seed,
        }
        rows = list(self._label(self._rows["train"]))
        kinds = [row.is_forget for row in rows] if self.of_one_kind else None
        return self._loader(rows, kinds=kinds, **order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return batches in order."""
        return self._loader(self._rows["validation"], even=False)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return batches in order."""
        return self._loader(self._rows["test"], even=False)

    def sample(self, split: str, is_forget: bool, count: int, seed: int = 0) -> Batch:
        """Sample rows of one kind as one batch, for example for relearning or for restoring coherence.

        Args:
            split: `train` (of token shards, the first shard), `validation` or `test`, without exclusions.
            is_forget: Whether to sample rows to forget, or rows to retain.
            count: Number of rows; larger samples begin with the same rows.
            seed: Random seed of the sample.

        Returns:
            The batch.

        Raises:
            ValueError: If the split is unknown, or has fewer rows.
        """
        check_word("split", split, _SPLITS)
        rows = self._rows[split] if split in self._rows else list(read_token_shards(self._shards[:1]))
        chosen = [row for row in rows if row.is_forget == is_forget]
        if len(chosen) < count:
            kind = "to forget" if is_forget else "to retain"
            raise ValueError(
                f"`count`: expected at most {len(chosen)}, the number of {split} rows {kind}, got {count}. Give more "
                "texts, or let what samples them (such as `num_samples`, `num_evaluated`, `num_texts`) take fewer."
            )
        random.Random(seed).shuffle(chosen)
        return collate_rows(chosen[:count], self.tokenizer.pad_token_id)

    def occurring_tokens(self) -> Tensor:
        """Return the tokens of all texts, each once, ascending `(count,)`; after `setup`, not of token shards."""
        tokens = torch.cat([row.tokens for rows in self._rows.values() for row in rows])
        return torch.as_tensor(tokens.unique().long())

    def write_shards(self, folder: str, rows_per_shard: int = 10_000) -> None:
        """Write the tokens of all splits as WebDataset shards, with the tokenizer, for use as `data`.

        Args:
            folder: Folder that does not exist yet.
            rows_per_shard: Number of rows in a shard.
        """
        self.setup("fit")
        rng = random.Random(self.seed)
        mixed = {split: rng.sample(rows, len(rows)) for split, rows in self._rows.items()}
        write_token_shards(mixed, folder, rows_per_shard, self._settings())
        self.tokenizer.save_pretrained(Path(folder) / "tokenizer")

    def _tokenize(self) -> dict[str, list[Row]]:
        splits = complete_splits(self._read(), *self.shares, self.seed)
        drawn = {split: draw_texts(splits[split], self.is_forget, n, self.seed) for split, n in self.num_texts.items()}
        splits = {**splits, **drawn}
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
            add_bos=self.add_bos,
        )
        rows = {split: list(encode(records)) for split, records in splits.items()}
        return rows if self.hidden_states is None else {split: self.hidden_states.add(rows[split]) for split in rows}

    def _read(self) -> Splits:
        if self.data == EMBEDDED:
            stories = tell_stories(self.num_stories, self.seed)
            return {"train": list(tell_in_two_languages(stories, self.cipher_share, self.seed))}
        return read_corpus(self.data, self.text_field)

    def _read_shards(self, shards: dict[str, list[Path]]) -> dict[str, list[Row]]:
        wholes = {
            "labelled_first": self.labelled_first,
            "group_by_length": self.group_by_length,
            "num_texts": self.num_texts,
            "hidden_states": self.hidden_states,
            "labelling.extend": self.labelling.extend,
        }
        if given := [name for name, value in wholes.items() if value]:
            raise ValueError(
                f"`{'`, `'.join(given)}`: expected none for token shards, which are read in a random order and in "
                "parts, got some. Remove them, or use the texts themselves."
            )
        self.tokenizer = load_tokenizer(self.tokenizer_folder or str(Path(self.data, "tokenizer")))
        check_settings(self.data, self._settings())
        self._shards = shards.pop("train")
        return {split: list(read_token_shards(paths)) for split, paths in shards.items()}

    def _settings(self) -> dict[str, Any]:
        """Return what token shards keep of the settings with which they were written."""
        return {"beginning": text_beginning(self.tokenizer, self.add_bos), "forget": self._forget}

    def _loader(self, rows: Sequence[Row], **order: Any) -> DataLoader[Batch]:
        lengths = [len(row.tokens) for row in rows] if self.group_by_length else None
        sampler = RowBatchSampler(
            [row.known for row in rows], self.batch_size, lengths=lengths, **order, **self._process()
        )
        dataset = RowDataset(rows, self.tokenizer.pad_token_id)
        options: dict[str, Any] = {"batch_size": None, "sampler": sampler, "num_workers": self.num_workers}
        if order.get("shuffle"):
            return ResumableLoader(dataset, trainer=self.trainer, **options)
        return DataLoader(dataset, worker_init_fn=init_worker, **options)

    def _process(self) -> dict[str, Any]:
        if self.trainer is None:
            return {"rank": 0, "world_size": 1}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def _summary(self) -> str:
        """Return a summary of the data in one line."""
        parts = []
        for split, rows in self._rows.items():
            forget = sum(row.is_forget for row in rows) / max(len(rows), 1)
            parts.append(f"{len(rows)} rows of {split} data ({forget:.1%} to forget)")
            if self.tokenizer_folder is None and rows:
                unknown = torch.cat([row.tokens for row in rows]) == self.tokenizer.unk_token_id
                parts[-1] += f", {unknown.float().mean():.1%} unknown words"
        beginning = self.tokenizer.convert_ids_to_tokens(text_beginning(self.tokenizer, self.add_bos))
        parts.append(f"{len(self.tokenizer)} different tokens")
        return f"{self.data}: {'; '.join(parts)}" + (f"; texts begin with {' '.join(beginning)}" if beginning else "")
