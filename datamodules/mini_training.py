"""Images and videos of the embedded dataset's worlds for training scorers."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from lightning_vista.datamodules.pair_stream import PairStream, SetEncoder, StreamSettings, join_all
from lightning_vista.options import check_word
from lightning_vista.processes.resumable_loader import init_worker
from lightning_vista.scorers.dual.losses import PairBatch
from lightning_vista.scorers.dual.pretraining import frame_file
from lightning_vista.video import FrameSpec
from lightning_vista.video.resizing import resize_frames

if TYPE_CHECKING:
    from lightning_vista.mini.training_groups import TrainingGroup


Batch = tuple[Tensor, Tensor]
#: First chunk of the problem sets of attacks, which training does not reach.
_ATTACK_CHUNKS = 10_000


class OneProcessDataModule(L.LightningDataModule):
    """Base class of data for one process: others would get the same batches, and log figures of a part of a test."""

    def setup(self, stage: str) -> None:
        """Refuse several processes."""
        if self.trainer is not None and self.trainer.world_size > 1:
            raise ValueError(
                f"`trainer`: expected one process for {type(self).__name__}, got {self.trainer.world_size}. "
                "Set trainer.devices=1."
            )


class MiniFramesDataModule(OneProcessDataModule):
    """Random homes, drawn during training, with the facts about each. Held-out things do not occur.

    Args:
        frame_spec: Size of the images; LightningCLI takes it from the model.
        batch_size: Number of images in a batch.
        num_workers: Number of drawing processes, 0 for none.
        val_batches: Number of validation batches, which are always the same.
        seed: Random seed of the images.

    Raises:
        ValueError: At setup, if there are several processes.

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
        return DataLoader(stream, batch_size=None, num_workers=self.num_workers, worker_init_fn=init_worker)

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


class MiniTrainingDataModule(OneProcessDataModule):
    """Endless problem sets of the train split, with the validation split for validation and the test split for tests.

    Each batch has problem sets of a store that grows during training. Most are seen several times, but a frozen frame
    encoder encodes them once.

    Args:
        frame_spec: Frames of each video; LightningCLI takes it from the scorer.
        frame_weights: Weights of a frozen frame encoder, whose features then replace the frames in batches; `shipped`
            for the package's own.
        sets_per_batch: Number of problem sets in a batch.
        videos_per_set: Highest number of videos of each problem set.
        first_chunks: Number of chunks of 64 problem sets before training starts.
        steps_per_chunk: Number of batches after which a chunk is added.
        level_every: Number of batches after which the longest descriptions, with 2 steps at first, get another step.
        max_level: Highest number of steps of problem sets, in training, validation and tests.
        max_chunks: Highest number of chunks in the store; the oldest are dropped.
        worlds: Worlds of the problem sets, `home`, `craft` or both; each has as many chunks.
        groups: Name of a group -> types of its problem sets, such as `home/remix`; a batch then has problem sets of one
            group, as routes on parameters need it, and other types do not occur. Descriptions with two steps exchanged
            are added to permutation sets only, since they teach order. None for batches of all types.
        labelled: Share of problem sets whose type is known; the others have batches of their own, see
            `PairBatch.video_types`. Shares are nested: what is labelled stays so with a larger one.
        dropped: Groups whose labelled problem sets are left out, as a filter by these labels does.
        cache_dir: Folder that keeps chunks for later runs; None for none.
        num_workers: Number of processes that make batches, 0 for none; each has a store of its own.
        val_scale: Share of the validation split to use.
        test_split: Split that `test` uses, without held-out combinations: `test`, or `val` to choose settings.
        test_scale: Share of that split to use.
        seed: Random seed of the data.
        draw_seed: Random seed of the order in which problem sets are drawn from the store, and of labels.

    Raises:
        ValueError: If a world is unknown, `dropped` names no group, `labelled` is not a share, or there are several
            processes.

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
        max_level: int = 8,
        max_chunks: int = 400,
        worlds: Sequence[str] = ("home",),
        groups: Mapping[str, Sequence[str]] | None = None,
        labelled: float = 1.0,
        dropped: Sequence[str] = (),
        cache_dir: str | None = None,
        num_workers: int = 1,
        val_scale: float = 1.0,
        test_split: str = "test",
        test_scale: float = 1.0,
        seed: int = 0,
        draw_seed: int = 0,
    ) -> None:
        super().__init__()
        if unknown := set(dropped) - set(groups or {}):
            raise ValueError(f"`dropped`: expected names of `groups`, {list(groups or {})}, got {sorted(unknown)}.")
        if not 0 <= labelled <= 1:
            raise ValueError(f"`labelled`: expected a share from 0 to 1, got {labelled}.")
        for world in worlds:
            check_word("worlds", world, ("home", "craft"))
        self.worlds, self.groups, self.labelled, self.dropped = list(worlds), groups, labelled, list(dropped)
        self.max_level = max_level
        self.test_split, self.test_scale, self.draw_seed = test_split, test_scale, draw_seed
        self.frame_spec = frame_spec or FrameSpec(16, size=96)
        self.frame_weights, self.cache_dir = frame_file(frame_weights), cache_dir
        self.sets_per_batch, self.videos_per_set = sets_per_batch, videos_per_set
        self.first_chunks, self.steps_per_chunk, self.max_chunks = first_chunks, steps_per_chunk, max_chunks
        self.level_every, self.num_workers, self.val_scale, self.seed = level_every, num_workers, val_scale, seed
        self._held_out: dict[tuple[str, float], list[tuple[TrainingGroup, Tensor]]] = {}

    def train_dataloader(self) -> DataLoader[PairBatch]:
        """Return endless batches; a resumed run resumes with the data of its step."""
        # Batches, of which an optimizer step may take several.
        start = 0 if self.trainer is None else self.trainer.global_step * self.trainer.accumulate_grad_batches
        settings = StreamSettings(
            worlds=self.worlds,
            groups=self.groups,
            labelled=self.labelled,
            dropped=self.dropped,
            sets=self.sets_per_batch,
            videos=self.videos_per_set,
            first_chunks=self.first_chunks,
            steps_per_chunk=self.steps_per_chunk,
            level_every=self.level_every,
            max_level=self.max_level,
            max_chunks=self.max_chunks,
            seed=self.seed,
            draw_seed=self.draw_seed,
        )
        # Not `self.encoder`: spawned worker processes would have to copy the datamodule's trainer.
        encoder = partial(SetEncoder, self.frame_spec, self.frame_weights, self.cache_dir)
        stream = PairStream(settings, encoder, self.cache_dir, self.frame_spec.num_frames, start)
        return DataLoader(stream, batch_size=None, num_workers=self.num_workers, worker_init_fn=init_worker)

    def val_dataloader(self) -> DataLoader[PairBatch]:
        """Return the problem sets of the validation split, one per batch."""
        return self._held_out_batches("val", self.val_scale, 1)

    def test_dataloader(self) -> DataLoader[PairBatch]:
        """Return the problem sets of the test split without held-out combinations, several per batch."""
        return self._held_out_batches(self.test_split, self.test_scale, self.sets_per_batch)

    def sample_sets(self, types: Sequence[str], count: int, seed: int, size: int) -> list[PairBatch]:
        """Sample problem sets that occur in no training batch, for a relearning attack.

        Args:
            types: Types of the problem sets, such as `home/permutation`, of one world.
            count: Number of problem sets.
            seed: Random seed of the sample.
            size: Highest number of problem sets in a batch.

        Returns:
            Batches with all their videos and descriptions.

        Raises:
            ValueError: If a type does not exist, or has more steps than `max_level`; or if they are of two worlds.
        """
        from lightning_vista.mini.training_groups import training_chunk, training_types

        chosen: list[tuple[TrainingGroup, Tensor]] = []
        number = _ATTACK_CHUNKS + 1000 * seed
        world = types[0].partition("/")[0]
        for type in types:
            check_word("types", type, training_types(world, self.max_level))
        while len(chosen) < count:
            chunk = training_chunk(number, self.frame_spec.num_frames, self.seed, self.cache_dir, world)
            frames = self.encoder().encode_all(chunk, f"{world}-{self.seed}-{number:05d}")
            pairs = zip(chunk, frames, strict=True)
            chosen += [pair for pair in pairs if pair[0].type in types and pair[0].level <= self.max_level]
            number += 1
        return [join_all(chosen[start : min(start + size, count)], "permutation") for start in range(0, count, size)]

    def encoder(self) -> SetEncoder:
        """Return an encoder from tile codes to frames, or to features."""
        return SetEncoder(self.frame_spec, self.frame_weights, self.cache_dir)

    def _held_out_batches(self, split: str, scale: float, size: int) -> DataLoader[PairBatch]:
        """Return the problem sets of a split."""
        from lightning_vista.mini import slots
        from lightning_vista.mini.training_groups import validation_groups

        if (key := (split, scale)) not in self._held_out:
            chosen = [slot for slot in slots([split], scale) if slot.world in self.worlds and not slot.held_out]
            # In the set of craft's level 1 several descriptions of a video are true.
            chosen = [slot for slot in chosen if slot.level <= self.max_level and slot.type != "foundation"]
            groups = validation_groups(self.frame_spec.num_frames, chosen, cache_dir=self.cache_dir)
            name = "-".join([split, f"{scale:g}", *self.worlds, str(self.max_level)])
            self._held_out[key] = list(zip(groups, self.encoder().encode_all(groups, name), strict=True))
        known = self._held_out[key]
        batches = [join_all(known[start : start + size]) for start in range(0, len(known), size)]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type] # a list is a dataset
