"""Single images of the embedded dataset's worlds, to pretrain a frame encoder on."""

from collections.abc import Iterator

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from lightning_vista.video import FrameSpec
from lightning_vista.video.resizing import resize_frames

Batch = tuple[Tensor, Tensor]


class MiniFramesDataModule(L.LightningDataModule):
    """Random homes, drawn while training, each with what is true in it; nothing held out occurs.

    Args:
        frame_spec: The size of the images; LightningCLI takes it from the model.
        batch_size: Images in a batch.
        num_workers: Processes that draw, 0 for none.
        val_batches: Batches to validate on, always the same.
        seed: Another seed gives other images.

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
        """Images without end; a run that is resumed goes on with new ones."""
        start = 0 if self.trainer is None else self.trainer.global_step
        stream = _Images(self.frame_spec, self.batch_size, (self.seed, 1, start), None)
        return DataLoader(stream, batch_size=None, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same few batches each time."""
        stream = _Images(self.frame_spec, self.batch_size, (self.seed, 0), self.val_batches)
        return DataLoader(stream, batch_size=None)


class _Images(IterableDataset[Batch]):
    """Batches of images with facts; `num_batches` None for no end."""

    def __init__(self, spec: FrameSpec, batch_size: int, seed: tuple[int, ...], num_batches: int | None) -> None:
        self.spec, self.batch_size, self.seed, self.num_batches = spec, batch_size, seed, num_batches

    def __iter__(self) -> Iterator[Batch]:
        # Imported here: it takes seconds, and only those who train need it.
        from lightning_vista.vista.mini.home_facts import draw_as_video, random_codes, read_facts

        worker = get_worker_info()
        rng = np.random.default_rng([*self.seed, worker.id if worker else 0])
        number = 0
        while self.num_batches is None or number < self.num_batches:
            codes = random_codes(self.batch_size, rng)
            images = resize_frames(torch.from_numpy(draw_as_video(codes)), self.spec)
            yield images, torch.from_numpy(read_facts(codes))
            number += 1
