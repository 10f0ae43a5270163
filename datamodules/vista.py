"""The ViSTa benchmark as a LightningDataModule."""

import os
import warnings
from collections.abc import Collection, Sequence
from typing import Any, get_args

import lightning as L
from torch.utils.data import DataLoader

from lightning_vista.options import check_word
from lightning_vista.video import FrameSpec
from lightning_vista.vista import KINDS
from lightning_vista.vista.batch import VideoBatch
from lightning_vista.vista.index import ShardIndex
from lightning_vista.vista.storage import DEFAULT_CACHE_MB, Storage
from lightning_vista.vista.streams import EvaluationStream, OnError, SampleStream, TrainingStream


class ViSTaDataModule(L.LightningDataModule):
    """Videos and their candidate descriptions, from shards that `lightning-vista shards build` made.

    `test` and `predict` read every selected video exactly once, in a fixed order, for any number of processes and
    workers. `fit` streams `train_shards` and validates on `val_shards`.

    Args:
        shards: The folder, or fsspec address, of the shards to evaluate on.
        frame_spec: The frames of each video, their number and size; LightningCLI takes them from the scorer.
        train_shards: The shards to train on.
        val_shards: The shards to validate on.
        problem_sets: Glob patterns of problem set ids; only these are asked about.
        kinds: Only problem sets of these kinds, such as `objects` or `permutation`; all by default.
        levels: Only problem sets of these levels, 1 to 8; all by default.
        batch_size: Videos in a batch.
        num_workers: Processes that read and decode; as many as there are cores by default, 0 for none.
        on_error: For a video that turns out damaged: `raise`, or `unscored` to go on and count it.
        shuffle_buffer: How many samples wait to be drawn from at random while training.
        cache_dir: Where shards of remote addresses are kept; a folder in the user's cache folder by default. Runs and
            their workers share it.
        cache_mb: How many megabytes (10^6 bytes) of them at most; a few times the size of a shard (128) is enough to
            read each once. 0 keeps nothing and reads single samples, which is right for a few problem sets of many.

    Raises:
        FileNotFoundError: In `setup`, if a folder holds no finished shards.
        ShardError: In `setup`, if the shards hold frames of another size than the scorer wants.
        ValueError: If a kind is unknown; in `setup`, if a pattern matches, or all filters together select, nothing.

    Example:
        >>> ViSTaDataModule("shards", FrameSpec(num_frames=8, size=64), levels=[1, 2]).batch_size
        8
    """

    def __init__(
        self,
        shards: str | None = None,
        frame_spec: FrameSpec | None = None,
        *,
        train_shards: str | None = None,
        val_shards: str | None = None,
        problem_sets: Sequence[str] = ("*",),
        kinds: Sequence[str] | None = None,
        levels: Sequence[int] | None = None,
        batch_size: int = 8,
        num_workers: int | None = None,
        on_error: OnError = "raise",
        shuffle_buffer: int = 1000,
        cache_dir: str | None = None,
        cache_mb: float = DEFAULT_CACHE_MB,
    ) -> None:
        super().__init__()
        check_word("on_error", on_error, get_args(OnError))
        for kind in kinds or ():
            check_word("kinds", kind, KINDS)
        # Lightning warns of every IterableDataset with a length; the length of ours is exact.
        warnings.filterwarnings("ignore", "Your `IterableDataset` has `__len__` defined")
        self.frame_spec = frame_spec or FrameSpec()
        self.batch_size = batch_size
        self.num_workers = (os.cpu_count() or 1) if num_workers is None else num_workers
        self.on_error: OnError = on_error
        self.shuffle_buffer = shuffle_buffer
        self.cache_dir, self.cache_mb = cache_dir, cache_mb
        self._urls = {"train": train_shards, "val": val_shards, "test": shards}
        self._patterns, self._kinds, self._levels = problem_sets, kinds, levels
        self._indices: dict[str, ShardIndex] = {}
        self._skipped: Collection[str] = ()

    def setup(self, stage: str) -> None:
        """Read the indices that the stage needs."""
        for split in {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ("test",)):
            self._indices[split] = self._selected(ShardIndex.read(self.storage(split)))

    def index(self, split: str = "test") -> ShardIndex:
        """The index of a split (`train`, `val` or `test`), only with what is selected; after `setup`."""
        if split not in self._indices:
            raise ValueError(
                f"The index of {split!r} is known after `setup`: call datamodule.setup('test') or so first."
            )
        return self._indices[split]

    def storage(self, split: str = "test") -> Storage:
        """The folder of a split's shards.

        Raises:
            ValueError: If the split was given no folder.
        """
        url = self._urls[split]
        if url is None:
            argument = {"test": "shards"}.get(split, f"{split}_shards")
            raise ValueError(
                f"ViSTaDataModule needs `{argument}` here: a folder made by `lightning-vista shards build`."
            )
        return Storage(url, self.cache_dir, self.cache_mb)

    def skip(self, videos: Collection[str]) -> None:
        """Leave these videos out of the next `test` or `predict`: they have been scored before."""
        self._skipped = set(videos)

    def train_dataloader(self) -> DataLoader[VideoBatch]:
        """Shuffled batches of `train_shards`."""
        return self._loader(
            self._stream(TrainingStream, "train", num_workers=self.num_workers, shuffle_buffer=self.shuffle_buffer)
        )

    def val_dataloader(self) -> DataLoader[VideoBatch]:
        """Each video of `val_shards` once, in order."""
        return self._loader(self._stream(EvaluationStream, "val"))

    def test_dataloader(self) -> DataLoader[VideoBatch]:
        """Each video of `shards` once, in order."""
        samples = [sample for sample in self.index().samples if sample.video not in self._skipped]
        return self._loader(self._stream(EvaluationStream, "test", samples=samples))

    def predict_dataloader(self) -> DataLoader[VideoBatch]:
        """The videos of `test_dataloader`; the scorer's `predict_step` sees no targets."""
        return self.test_dataloader()

    def _stream(self, stream: type[SampleStream], split: str, **kwargs: Any) -> SampleStream:
        return stream(
            self.storage(split),
            self.index(split),
            self.frame_spec,
            batch_size=self.batch_size,
            rank=0 if self.trainer is None else self.trainer.global_rank,
            world_size=1 if self.trainer is None else self.trainer.world_size,
            on_error=self.on_error,
            **kwargs,
        )

    def _loader(self, stream: SampleStream) -> DataLoader[VideoBatch]:
        return DataLoader(stream, batch_size=None, num_workers=self.num_workers)

    def _selected(self, index: ShardIndex) -> ShardIndex:
        """The index with only the problem sets that are asked for, and their videos."""
        chosen = [
            problem_set
            for problem_set in index.problem_sets.matching(self._patterns)
            if (self._kinds is None or problem_set.kind in self._kinds)
            and (self._levels is None or problem_set.level in self._levels)
        ]
        if not chosen:
            raise ValueError(
                f"None of the {len(index.problem_sets)} problem sets is selected by problem_sets={self._patterns}, "
                f"kinds={self._kinds}, levels={self._levels} together: ask for less."
            )
        return index.restricted_to(chosen)
