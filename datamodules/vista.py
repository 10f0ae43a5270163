"""The ViSTa benchmark as a LightningDataModule."""

import os
import warnings
from collections.abc import Collection, Sequence
from typing import Any, get_args

import lightning as L
from torch.utils.data import DataLoader

from lightning_vista.options import check_word
from lightning_vista.processes.resumable_loader import ResumableLoader, init_worker
from lightning_vista.video import FrameSpec, VideoLimits
from lightning_vista.vista import KINDS
from lightning_vista.vista.batch import VideoBatch
from lightning_vista.vista.index import ShardIndex
from lightning_vista.vista.remote import Retries
from lightning_vista.vista.storage import DEFAULT_CACHE_MB, Storage
from lightning_vista.vista.streams import EvaluationStream, OnError, SampleStream, TrainingStream


class ViSTaDataModule(L.LightningDataModule):
    """Videos with their candidate descriptions, from shards that `lightning-vista shards build` wrote.

    `test` and `predict` read every selected video exactly once, in a fixed order, for any number of processes and
    workers. `fit` streams `train_shards` and validates on `val_shards`.

    Args:
        shards: Folder, or fsspec address, of the shards to evaluate on.
        frame_spec: Number, sampling and size of the frames of each video; LightningCLI takes it from the scorer.
        train_shards: Folder or address of the shards to train on.
        val_shards: Folder or address of the shards to validate on.
        problem_sets: Glob patterns of the problem set ids to evaluate.
        kinds: Kinds of the problem sets to evaluate, such as `objects` or `permutation`; all kinds by default.
        levels: Levels of the problem sets to evaluate, 1 to 8; all levels by default.
        batch_size: Number of videos in a batch.
        num_workers: Number of processes that read and decode; by default the number of cores, 0 for none.
        on_error: Treatment of a damaged video: `raise`, or `unscored` to continue and count it.
        shuffle_buffer: Number of samples to draw from at random during training.
        cache_dir: Folder for fetched shards of remote addresses, which runs and their workers share; by default a
            folder in the user's cache folder.
        cache_mb: Size of that folder in megabytes (10^6 bytes). A few times the size of a shard (128) is enough to
            fetch each shard once. 0 reads single samples without a cache, which suits a few problem sets out of many.
        video_limits: The most that a video may be; a larger one counts as damaged.
        retries: Patience with the server of a remote address.

    Raises:
        FileNotFoundError: In `setup`, if a folder does not hold finished shards.
        ShardError: In `setup`, if the shards hold frames of another size than the scorer needs.
        ValueError: If `on_error` or a kind is unknown; in `setup`, if a pattern or all filters together match nothing.

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
        video_limits: VideoLimits | None = None,
        retries: Retries | None = None,
    ) -> None:
        super().__init__()
        check_word("on_error", on_error, get_args(OnError))
        for kind in kinds or ():
            check_word("kinds", kind, KINDS)
        # Lightning warns about every IterableDataset with a length, since most lengths are wrong with workers. The
        # streams' lengths are exact.
        warnings.filterwarnings("ignore", "Your `IterableDataset` has `__len__` defined")
        self.frame_spec = frame_spec or FrameSpec()
        self.batch_size = batch_size
        self.num_workers = (os.cpu_count() or 1) if num_workers is None else num_workers
        self.on_error: OnError = on_error
        self.shuffle_buffer = shuffle_buffer
        self.cache_dir, self.cache_mb = cache_dir, cache_mb
        self.video_limits = video_limits or VideoLimits()
        self.retries = retries or Retries()
        self._urls = {"train": train_shards, "val": val_shards, "test": shards}
        self._patterns, self._kinds, self._levels = problem_sets, kinds, levels
        self._indices: dict[str, ShardIndex] = {}
        self._skipped: Collection[str] = ()

    def setup(self, stage: str) -> None:
        """Read the indices that the stage needs."""
        for split in {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ("test",)):
            self._indices[split] = self._selected(ShardIndex.read(self.storage(split)))

    def index(self, split: str = "test") -> ShardIndex:
        """Return the index of a split, restricted to the selected problem sets.

        Args:
            split: `train`, `val` or `test`.

        Raises:
            ValueError: If `setup` has not read the split.
        """
        if split not in self._indices:
            raise ValueError(
                f"`split`: expected a split that `setup` has read, one of {sorted(self._indices)}, got {split!r}. "
                "Call `datamodule.setup(stage)` first."
            )
        return self._indices[split]

    def storage(self, split: str = "test") -> Storage:
        """Return the storage of a split's shards.

        Args:
            split: `train`, `val` or `test`.

        Raises:
            ValueError: If the split does not have a folder.
        """
        check_word("split", split, tuple(self._urls))
        url = self._urls[split]
        if url is None:
            argument = {"test": "shards"}.get(split, f"{split}_shards")
            raise ValueError(
                f"`{argument}`: expected a folder written by `lightning-vista shards build`, got None. "
                "Give it to the ViSTaDataModule."
            )
        return Storage(url, self.cache_dir, self.cache_mb, self.retries)

    def skip(self, videos: Collection[str]) -> None:
        """Leave out videos of the next `test` or `predict` that have been scored before."""
        self._skipped = set(videos)

    def train_dataloader(self) -> DataLoader[VideoBatch]:
        """Return shuffled batches of `train_shards`; a resumed run continues with the next ones."""
        stream = self._stream(TrainingStream, "train", num_workers=self.num_workers, shuffle_buffer=self.shuffle_buffer)
        return ResumableLoader(stream, batch_size=None, num_workers=self.num_workers, trainer=self.trainer)

    def val_dataloader(self) -> DataLoader[VideoBatch]:
        """Return each video of `val_shards` once, in order."""
        return self._loader(self._stream(EvaluationStream, "val"))

    def test_dataloader(self) -> DataLoader[VideoBatch]:
        """Return each video of `shards` once, in order, except those to skip."""
        samples = [sample for sample in self.index().samples if sample.video not in self._skipped]
        return self._loader(self._stream(EvaluationStream, "test", samples=samples))

    def predict_dataloader(self) -> DataLoader[VideoBatch]:
        """Return the videos of `test_dataloader`; the scorer's `predict_step` removes the targets."""
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
            limits=self.video_limits,
            **kwargs,
        )

    def _loader(self, stream: SampleStream) -> DataLoader[VideoBatch]:
        return DataLoader(stream, batch_size=None, num_workers=self.num_workers, worker_init_fn=init_worker)

    def _selected(self, index: ShardIndex) -> ShardIndex:
        """Return the index with only the selected problem sets and their videos."""
        chosen = [
            problem_set
            for problem_set in index.problem_sets.matching(self._patterns)
            if (self._kinds is None or problem_set.kind in self._kinds)
            and (self._levels is None or problem_set.level in self._levels)
        ]
        if not chosen:
            raise ValueError(
                f"None of the {len(index.problem_sets)} problem sets passes problem_sets={self._patterns}, "
                f"kinds={self._kinds} and levels={self._levels} together. Loosen a filter."
            )
        return index.restricted_to(chosen)
