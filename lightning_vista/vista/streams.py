"""The two ways to read shards: sample by sample for evaluation, and whole shards in a stream for training."""

import math
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal, get_args

import torch
from torch.utils.data import IterableDataset, get_worker_info

from lightning_vista.optional import require
from lightning_vista.options import check_word
from lightning_vista.video import FrameSpec
from lightning_vista.video.video_limits import USUAL_LIMITS, VideoLimits
from lightning_vista.vista.batch import Candidates, DecodedVideo, Unreadable, VideoBatch, collate_videos
from lightning_vista.vista.index import Sample, ShardError, ShardIndex
from lightning_vista.vista.samples import check_frame_spec, decode_members, read_members, unpack_checked
from lightning_vista.vista.storage import Storage

OnError = Literal["raise", "unscored"]


class SampleStream(IterableDataset[VideoBatch]):
    """The base of both streams: batches of decoded videos whose number is known beforehand.

    The streams yield batches rather than samples, so that the length is exact for any number of workers. Give them to
    a DataLoader with `batch_size=None`.

    Args:
        storage: Folder of the shards.
        index: Index of the folder.
        spec: Frames that the scorer needs.
        samples: Samples to read; by default those of the index.
        batch_size: Number of videos in a batch; a worker's last batch may be smaller.
        rank: Rank of this process, from 0 to `world_size` - 1.
        world_size: Number of processes that share the samples.
        on_error: Treatment of a damaged sample: `raise`, or `unscored` to report it in the batch.
        limits: The most that a video may be.

    Raises:
        ShardError: If the shards hold frames of another size than `spec`.
        ValueError: If `batch_size` is below 1, or `on_error` is unknown.
    """

    def __init__(
        self,
        storage: Storage,
        index: ShardIndex,
        spec: FrameSpec,
        *,
        samples: Sequence[Sample] | None = None,
        batch_size: int = 8,
        rank: int = 0,
        world_size: int = 1,
        on_error: OnError = "raise",
        limits: VideoLimits = USUAL_LIMITS,
    ) -> None:
        check_word("on_error", on_error, get_args(OnError))
        check_frame_spec(index.frames, spec)
        if batch_size < 1:
            raise ValueError(f"`batch_size`: expected at least 1 video, got {batch_size}.")
        self.storage = storage
        self.spec = spec
        self.samples = tuple(index.samples if samples is None else samples)
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.on_error = on_error
        self.limits = limits
        self.candidates = {problem_set.id: Candidates.of(problem_set) for problem_set in index.problem_sets}

    def decode(self, sample: Sample, packed: bytes | None = None) -> DecodedVideo | Unreadable:
        """Check and decode a sample; raise or report a damaged one, as `on_error` says.

        Args:
            sample: The sample's entry in the index.
            packed: Bytes of the sample in its shard; read from the storage if None.

        Returns:
            The decoded video, or the reason why it cannot be decoded.

        Raises:
            ShardError: If the sample is damaged and `on_error` is `raise`.
        """
        try:
            return decode_members(sample, self._members(sample, packed), self.spec, self.limits)
        except ShardError as error:
            if self.on_error == "raise":
                raise ShardError(f"{error}. To count such videos as unscored, set --data.on_error unscored.") from error
            return Unreadable(sample, str(error))

    def _members(self, sample: Sample, packed: bytes | None) -> dict[str, bytes]:
        try:
            if packed is not None:
                return unpack_checked(sample, packed)
        except ShardError:
            if self.storage.is_local:
                raise
        return read_members(self.storage, sample, self.limits)  # fetches a damaged copy of a remote shard again

    def collate(self, items: Sequence[DecodedVideo | Unreadable]) -> VideoBatch:
        """Join decoded videos into a batch."""
        return collate_videos(items, self.candidates, self.spec.jpeg_quality)


class EvaluationStream(SampleStream):
    """A stream that reads each sample exactly once over all ranks and workers, always in the same order.

    Ranks stride over the samples and workers over the batches. torch's DistributedSampler would pad the last batch
    with duplicates, which a benchmark would count twice.
    """

    def __len__(self) -> int:
        # At least 1: a rank without samples gets one empty batch, because Lightning skips a loop without batches,
        # including the end of the epoch, where the ranks meet to join their results.
        return max(1, math.ceil(len(self.samples[self.rank :: self.world_size]) / self.batch_size))

    def __iter__(self) -> Iterator[VideoBatch]:
        own = self.samples[self.rank :: self.world_size]
        worker, num_workers = _worker()
        for number in range(worker, len(self), num_workers):
            batch = own[number * self.batch_size : (number + 1) * self.batch_size]
            yield self.collate([self.decode(sample) for sample in batch])


class TrainingStream(SampleStream):
    """A stream of whole shards through webdataset, shuffled anew each epoch.

    Shards are dealt to ranks and workers. If there are fewer shards than workers, each worker reads all shards and
    keeps every n-th sample. On one process each sample comes exactly once an epoch. With several processes, all yield
    as many batches as the one with the fewest, since they exchange gradients in step. The bytes of every sample are
    compared with the index, as for evaluation.

    Args:
        num_workers: Number of the DataLoader's worker processes, 0 for none.
        shuffle_buffer: Number of undecoded samples to draw from at random.
        **kwargs: Further arguments of `SampleStream`.

    Attributes:
        num_skipped: Number of batches of all workers together that come empty and without decoding, in a resumed run.

    Raises:
        ValueError: If a process would get no video.
    """

    def __init__(self, *args: Any, num_workers: int, shuffle_buffer: int = 1000, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.num_workers = max(num_workers, 1)
        self.shuffle_buffer = shuffle_buffer
        self.num_skipped = 0

        if len(self.samples) < self.world_size:
            raise ValueError(
                f"expected at least one training video for each of {self.world_size} process(es), got "
                f"{len(self.samples)}. Train in fewer processes, or give more videos."
            )

    def __len__(self) -> int:
        return sum(self._num_batches(worker) for worker in range(self.num_workers))

    def __iter__(self) -> Iterator[VideoBatch]:
        webdataset = require("webdataset", extra="vista")
        worker, num_workers = _worker()
        own: dict[str, list[Sample]] = {}
        for sample in self._share(worker * self.world_size + self.rank):
            own.setdefault(sample.shard, []).append(sample)
        # torch seeds each worker anew every epoch, so this gives another order every epoch, and the same one when a
        # run is repeated with the same seed.
        rng = random.Random(int(torch.empty((), dtype=torch.int64).random_().item()))
        shards = sorted(own)
        rng.shuffle(shards)
        packed = (item for shard in shards for item in self._read(shard, own[shard]))
        shuffled = webdataset.filters.shuffle(self.shuffle_buffer, initial=self.shuffle_buffer, rng=rng)(packed)
        batches = webdataset.filters.batched(self.batch_size, collation_fn=list)(shuffled)
        for number, batch in enumerate(islice(batches, self._num_batches(worker))):
            # Workers take turns, so this batch has at most that many before it; those of shorter workers are missing.
            is_skipped = number * num_workers + worker < self.num_skipped
            yield self.collate([] if is_skipped else [self.decode(*item) for item in batch])

    def _read(self, shard: str, samples: Sequence[Sample]) -> Iterator[tuple[Sample, bytes]]:
        """Yield samples of a shard with their bytes, from the beginning to the end of the file."""
        with self.storage.open(shard) as stream:
            for sample in sorted(samples, key=lambda sample: sample.offset):
                stream.seek(sample.offset)
                yield sample, stream.read(sample.bytes)

    def _num_batches(self, worker: int) -> int:
        """Return the number of batches of a worker on each rank: that of the rank where it has the fewest samples."""
        shares = [self._share(worker * self.world_size + rank) for rank in range(self.world_size)]
        return min(math.ceil(len(share) / self.batch_size) for share in shares)

    def _share(self, consumer: int) -> list[Sample]:
        """Return the samples of one of `world_size * num_workers` consumers."""
        consumers = self.world_size * self.num_workers
        shards = sorted({sample.shard for sample in self.samples})
        if len(shards) < consumers:
            return list(self.samples[consumer::consumers])
        own = set(shards[consumer::consumers])
        return [sample for sample in self.samples if sample.shard in own]


def _worker() -> tuple[int, int]:
    """Return the number of this DataLoader worker, and the number of workers."""
    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)
