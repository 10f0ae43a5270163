"""Images and videos of the embedded dataset's worlds for training scorers."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from lightning_vista.own_files import read_cached, write_cached
from lightning_vista.scorers.dual.losses import PairBatch
from lightning_vista.scorers.dual.pretraining import FrameEncoder, load_weights
from lightning_vista.video import FrameSpec
from lightning_vista.video.resizing import resize_frames

if TYPE_CHECKING:
    from lightning_vista.mini.training_groups import TrainingGroup


Batch = tuple[Tensor, Tensor]


class MiniFramesDataModule(L.LightningDataModule):
    """Random homes, drawn during training, with the facts about each. Held-out things do not occur.

    Args:
        frame_spec: Size of the images; LightningCLI takes it from the model.
        batch_size: Number of images in a batch.
        num_workers: Number of drawing processes, 0 for none.
        val_batches: Number of validation batches, which are always the same.
        seed: Random seed of the images.

    Example:
        >>> MiniFramesDataModule(batch_size=64).batch_size
        64
    """

    def __init__(
        self,
        frame_spec: FrameSpec | None = None,
        batch_size: int = 256,
        num_workers: int = 1,
        val_batches: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.frame_spec = frame_spec or FrameSpec(num_frames=1, size=96)
        self.batch_size, self.num_workers, self.val_batches, self.seed = batch_size, num_workers, val_batches, seed

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return endless batches of images; a resumed run gets new ones."""
        start = 0 if self.trainer is None else self.trainer.global_step
        stream = _Images(self.frame_spec, self.batch_size, (self.seed, 1, start), None)
        return DataLoader(stream, batch_size=None, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the same few batches each time."""
        stream = _Images(self.frame_spec, self.batch_size, (self.seed, 0), self.val_batches)
        return DataLoader(stream, batch_size=None)


class _Images(IterableDataset[Batch]):
    """Batches of images with facts, endless if `num_batches` is None."""

    def __init__(self, spec: FrameSpec, batch_size: int, seed: tuple[int, ...], num_batches: int | None) -> None:
        self.spec, self.batch_size, self.seed, self.num_batches = spec, batch_size, seed, num_batches

    def __iter__(self) -> Iterator[Batch]:
        # Imported here, since it takes seconds and only training needs it.
        from lightning_vista.mini.home_facts import draw_as_video, random_codes, read_facts

        worker = get_worker_info()
        rng = np.random.default_rng([*self.seed, worker.id if worker else 0])
        number = 0
        while self.num_batches is None or number < self.num_batches:
            codes = random_codes(self.batch_size, rng)
            images = resize_frames(torch.from_numpy(draw_as_video(codes)), self.spec)
            yield images, torch.from_numpy(read_facts(codes))
            number += 1


class MiniTrainingDataModule(L.LightningDataModule):
    """Endless problem sets of the train split, with the validation split for validation.

    Each batch has problem sets of a store that grows during training. Most are seen several times, but a frozen frame
    encoder encodes them once.

    Args:
        frame_spec: Frames of each video; LightningCLI takes it from the scorer.
        frame_weights: Weights of a frozen frame encoder, whose features then replace the frames in batches.
        sets_per_batch: Number of problem sets in a batch.
        videos_per_set: Highest number of videos of each problem set.
        first_chunks: Number of chunks of 64 problem sets before training starts.
        steps_per_chunk: Number of batches after which a chunk is added.
        level_every: Number of batches after which the longest descriptions, with 2 steps at first, get another step.
        max_chunks: Highest number of chunks in the store; the oldest are dropped.
        cache_dir: Folder that keeps chunks for later runs; None for none.
        num_workers: Number of processes that make batches, 0 for none; each has a store of its own.
        val_scale: Share of the validation split to use.
        seed: Random seed of the data.

    Example:
        >>> MiniTrainingDataModule(sets_per_batch=8).sets_per_batch
        8
    """

    def __init__(
        self,
        frame_spec: FrameSpec | None = None,
        frame_weights: str | None = None,
        sets_per_batch: int = 32,
        videos_per_set: int = 4,
        first_chunks: int = 12,
        steps_per_chunk: int = 16,
        level_every: int = 60,
        max_chunks: int = 400,
        cache_dir: str | None = None,
        num_workers: int = 1,
        val_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.frame_spec = frame_spec or FrameSpec(16, size=96)
        self.frame_weights, self.cache_dir = frame_weights, cache_dir
        self.sets_per_batch, self.videos_per_set = sets_per_batch, videos_per_set
        self.first_chunks, self.steps_per_chunk, self.max_chunks = first_chunks, steps_per_chunk, max_chunks
        self.level_every, self.num_workers, self.val_scale, self.seed = level_every, num_workers, val_scale, seed

    def train_dataloader(self) -> DataLoader[PairBatch]:
        """Return endless batches; a resumed run resumes with the data of its step."""
        start = 0 if self.trainer is None else self.trainer.global_step
        return DataLoader(_Batches(self, start), batch_size=None, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[PairBatch]:
        """Return the home world's problem sets of the validation split, one per batch."""
        from lightning_vista.mini import slots
        from lightning_vista.mini.training_groups import validation_groups

        chosen = [slot for slot in slots(["val"], self.val_scale) if slot.world == "home"]
        encode = self.encoder()
        groups = validation_groups(self.frame_spec.num_frames, chosen)
        batches = [_join([group], [encode(group)], [np.arange(len(group.answers))], False) for group in groups]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type] # a list is a dataset

    def encoder(self) -> "_Encoder":
        """Return an encoder from tile codes to frames, or to features."""
        return _Encoder(self.frame_spec, self.frame_weights)


class _Encoder:
    """Encoder from a problem set to its frames, or to the features of a frozen frame encoder."""

    def __init__(self, spec: FrameSpec, weights: str | None) -> None:
        self.spec = spec
        self.frames: FrameEncoder | None = None
        if weights is not None:
            settings, state = load_weights(weights)
            self.frames = FrameEncoder(**settings).eval()
            self.frames.load_state_dict(state)

    @torch.inference_mode()
    def __call__(self, group: "TrainingGroup") -> Tensor:
        """Return uint8 frames `(videos, frames, 3, height, width)` or float16 features `(videos, frames, features)`."""
        from lightning_vista.mini.home_facts import draw_as_video

        shape = group.codes.shape[:2]
        frames = resize_frames(torch.from_numpy(draw_as_video(group.codes)).flatten(0, 1), self.spec)
        if self.frames is None:
            return frames.reshape(*shape, *frames.shape[1:])
        with torch.autocast("cpu", torch.bfloat16):
            features: Tensor = self.frames(frames)
        return features.half().reshape(*shape, -1)


class _Batches(IterableDataset[PairBatch]):
    """Endless batches from a growing store."""

    def __init__(self, data: MiniTrainingDataModule, start: int) -> None:
        # Only settings are kept: with the datamodule itself, spawned worker processes would have to copy its trainer.
        self.encoder_arguments = (data.frame_spec, data.frame_weights)
        self.num_frames, self.cache_dir, self.seed = data.frame_spec.num_frames, data.cache_dir, data.seed
        self.sets, self.videos, self.level_every = data.sets_per_batch, data.videos_per_set, data.level_every
        self.first_chunks, self.steps_per_chunk = data.first_chunks, data.steps_per_chunk
        self.max_chunks, self.start = data.max_chunks, start
        self.features_dir: Path | None = None
        if data.cache_dir and data.frame_weights:
            key = hashlib.sha256(Path(data.frame_weights).read_bytes()).hexdigest()[:8]
            self.features_dir = Path(data.cache_dir) / f"features-{key}"

    def __iter__(self) -> Iterator[PairBatch]:
        from lightning_vista.mini.training_groups import training_chunk

        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        rng = np.random.default_rng([self.seed, number, self.start])
        encode = _Encoder(*self.encoder_arguments)
        store: list[tuple[TrainingGroup, Tensor]] = []
        have = max(0, self._chunks_at(self.start) - self.max_chunks)
        step = self.start
        while True:
            while have < self._chunks_at(step):
                chunk = training_chunk(have * workers + number, self.num_frames, self.seed, self.cache_dir)
                store += zip(chunk, self._encoded(chunk, encode, have * workers + number), strict=True)
                store = store[-len(chunk) * self.max_chunks :]
                have += 1
            yield self._draw(store, 2 + step // self.level_every, rng)
            step += workers

    def _encoded(self, chunk: Sequence["TrainingGroup"], encode: _Encoder, number: int) -> list[Tensor]:
        """Return the frames of a chunk, or its features, which a cache keeps."""
        if self.features_dir is None:
            return [encode(group) for group in chunk]
        path = self.features_dir / f"{self.seed}-{self.num_frames}-{number:05d}.npy"
        content = read_cached(path)
        if content is None:
            file = io.BytesIO()
            np.save(file, torch.cat([encode(group) for group in chunk]).numpy())
            content = file.getvalue()
            write_cached(path, content)
        features = torch.from_numpy(np.load(io.BytesIO(content)))
        return list(torch.split(features, [len(group.answers) for group in chunk]))

    def _chunks_at(self, step: int) -> int:
        return self.first_chunks + step // self.steps_per_chunk

    def _draw(self, store: Sequence[tuple["TrainingGroup", Tensor]], level: int, rng: np.random.Generator) -> PairBatch:
        """Draw a batch of random problem sets up to a level."""
        fitting = [place for place, (group, _) in enumerate(store) if group.level <= level]
        chosen = [store[place] for place in rng.choice(fitting, min(self.sets, len(fitting)), replace=False)]
        groups = [group for group, _ in chosen]
        videos = [rng.permutation(len(group.answers))[: self.videos] for group in groups]
        return _join(groups, [frames for _, frames in chosen], videos, True)


def _join(
    groups: Sequence["TrainingGroup"], frames: Sequence[Tensor], videos: Sequence[Any], with_swapped: bool
) -> PairBatch:
    """Join videos of problem sets to a batch with all descriptions, and optionally swapped ones of these videos."""
    texts: list[str] = []
    owners: list[int] = []
    levels: list[int] = []
    answers: list[int] = []
    for number, (group, which) in enumerate(zip(groups, videos, strict=True)):
        own = list(group.texts)
        if with_swapped:
            swapped = (group.swapped[answer] for answer in group.answers[which])
            own += [text for text in dict.fromkeys(swapped) if text and text not in group.texts]
        answers += [len(texts) + int(answer) for answer in group.answers[which]]
        texts += own
        owners += [number] * len(own)
        levels += [group.level] * len(own)
    counts = torch.tensor([len(which) for which in videos])
    return PairBatch(
        frames=torch.cat([frame[torch.from_numpy(which)] for frame, which in zip(frames, videos, strict=True)]),
        video_groups=torch.arange(len(groups)).repeat_interleave(counts),
        answers=torch.tensor(answers),
        steps=torch.cat([torch.from_numpy(group.steps[which]) for group, which in zip(groups, videos, strict=True)]),
        texts=tuple(texts),
        text_groups=torch.tensor(owners),
        levels=torch.tensor(levels),
    )
