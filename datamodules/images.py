"""Labelled images that fit in memory: digits, MNIST and its relatives, CIFAR-100."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_vista.datamodules.image_files import LabelledImages, read_digits, read_images

Batch = dict[str, Tensor]
#: What `data` is called when it is scikit-learn's digits, and the share of them to test on.
DIGITS, _DIGITS_TEST_SHARE = "digits", 0.2


class ImagesDataModule(L.LightningDataModule):
    """Batches `{"image": (batch, channels, height, width) in [-1, 1], "label": (batch,)}`.

    Every split has its share of every class. It depends on `seed` alone, so that runs with other seeds of the trainer
    are tested on the same images.

    Args:
        data: `digits` for scikit-learn's 8x8 digits, or a folder with the files of MNIST, Fashion-MNIST (Debian's
            package `dataset-fashion-mnist` has them) or CIFAR-100 (the binary version).
        batch_size: Images in a batch.
        validation_share: How much of the training images to validate on.
        train_images: How many images to train and validate on; all by default.
        test_images: How many images to test on; all by default.
        num_workers: Processes that load, 0 for none.
        seed: Another seed splits otherwise.

    Raises:
        ValueError: If `validation_share` is not between 0 and 1.

    Example:
        >>> data = ImagesDataModule(batch_size=64)
        >>> data.setup("fit")
        >>> next(iter(data.train_dataloader()))["image"].shape
        torch.Size([64, 1, 8, 8])
    """

    def __init__(
        self,
        data: str = DIGITS,
        batch_size: int = 256,
        validation_share: float = 0.1,
        train_images: int | None = None,
        test_images: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < validation_share < 1:
            raise ValueError(f"validation_share: expected more than 0 and less than 1, got {validation_share}.")
        self.data, self.batch_size, self.num_workers, self.seed = data, batch_size, num_workers, seed
        self.validation_share, self.train_images, self.test_images = validation_share, train_images, test_images
        self._splits: dict[str, _Images] = {}

    def setup(self, stage: str) -> None:
        """Read all images; the same for every stage, since a test may need statistics of the training images."""
        if self._splits:
            return
        if self.data == DIGITS:
            test, rest = split_by_class(read_digits(), _DIGITS_TEST_SHARE, self.seed)
        else:
            test, rest = read_images(self.data, "test"), read_images(self.data, "train")
        test, rest = _limit(test, self.test_images, self.seed), _limit(rest, self.train_images, self.seed)
        validation, train = split_by_class(rest, self.validation_share, self.seed)
        self._splits = {"train": _Images(train), "validation": _Images(validation), "test": _Images(test)}

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled; an incomplete last batch is left out, for the statistics over a batch that losses may use."""
        images = self._splits["train"]
        return self._loader(images, shuffle=True, drop_last=len(images) >= self.batch_size)

    def val_dataloader(self) -> DataLoader[Batch]:
        """In order."""
        return self._loader(self._splits["validation"])

    def test_dataloader(self) -> DataLoader[Batch]:
        """In order."""
        return self._loader(self._splits["test"])

    def _loader(self, images: "_Images", shuffle: bool = False, drop_last: bool = False) -> DataLoader[Batch]:
        return DataLoader(
            images,
            self.batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
        )


def split_by_class(data: LabelledImages, share: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Split images so that both parts hold the same share of every class, but at least one image of each in the first.

    Args:
        data: The images.
        share: How much of each class goes into the first part, between 0 and 1.
        seed: Which ones.

    Returns:
        The first part and the rest, each in the order of `data`.
    """
    generator = torch.Generator().manual_seed(seed)
    first = torch.zeros(len(data.labels), dtype=torch.bool)
    for label in data.labels.unique():
        members = (data.labels == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator)
        first[members[order[: max(round(share * len(members)), 1)]]] = True
    return LabelledImages(data.images[first], data.labels[first]), LabelledImages(
        data.images[~first], data.labels[~first]
    )


def _limit(data: LabelledImages, count: int | None, seed: int) -> LabelledImages:
    if count is None or count >= len(data.labels):
        return data
    return split_by_class(data, count / len(data.labels), seed)[0]


class _Images(Dataset[Batch]):
    """Fetches a whole batch at once: images one by one would take longer than a small model's training step."""

    def __init__(self, data: LabelledImages) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data.labels)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        chosen = torch.as_tensor(indices)
        return {"image": self._data.images[chosen], "label": self._data.labels[chosen]}


def _as_it_is(batch: Any) -> Any:
    return batch
