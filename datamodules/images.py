"""Labelled images as a LightningDataModule, and readers of their files."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_vista.optional import require
from lightning_vista.options import check_word
from lightning_vista.processes.resumable_loader import ResumableLoader

#: Beginnings of MNIST's file names.
_MNIST_SPLITS = {"train": "train", "test": "t10k"}
#: Image in a record of CIFAR-100, which follows the coarse and the fine label: 32x32 red, green and blue values.
_CIFAR_SHAPE = (3, 32, 32)


class LabelledImages(NamedTuple):
    """Images in [-1, 1], float32 `(images, channels, height, width)`, and their labels, int64 `(images,)`."""

    images: Tensor
    labels: Tensor


def read_digits() -> LabelledImages:
    """Load the 1,797 handwritten digits of scikit-learn: 8x8 pixels, grey.

    Raises:
        ModuleNotFoundError: If scikit-learn is missing; the message names the extra.

    Example:
        >>> read_digits().images.shape
        torch.Size([1797, 1, 8, 8])
    """
    digits = require("sklearn.datasets", "studies").load_digits()
    pixels = torch.from_numpy(digits.images).float().unsqueeze(1)
    return LabelledImages(pixels / 8 - 1, torch.from_numpy(digits.target).long())


def read_images(folder: str | Path, split: str) -> LabelledImages:
    """Read one split of a folder in MNIST's format, or in CIFAR-100's binary format (fine labels).

    Args:
        folder: Folder with `train-images-idx3-ubyte` etc., compressed (`.gz`) or not; or with CIFAR-100's `train.bin`
            and `test.bin`.
        split: `train` or `test`.

    Returns:
        The images, with their labels.

    Raises:
        FileNotFoundError: If the folder does not contain files of either format.
        ValueError: If the split is unknown, or a file is not in the format that its name says.
    """
    check_word("split", split, _MNIST_SPLITS)
    folder = Path(folder)
    images = _find(folder, f"{_MNIST_SPLITS[split]}-images-idx3-ubyte")
    labels = _find(folder, f"{_MNIST_SPLITS[split]}-labels-idx1-ubyte")
    if images and labels:
        pixels = read_idx(images).unsqueeze(1)
        return LabelledImages(pixels / 127.5 - 1, read_idx(labels).long())
    if (folder / f"{split}.bin").is_file():
        return _read_cifar100(folder / f"{split}.bin")
    raise FileNotFoundError(
        f"`{folder}`: expected MNIST's files ({_MNIST_SPLITS[split]}-images-idx3-ubyte and "
        f"{_MNIST_SPLITS[split]}-labels-idx1-ubyte, or these with .gz) or CIFAR-100's binary file ({split}.bin), "
        "got neither. Check the folder."
    )


def read_idx(path: str | Path) -> Tensor:
    """Read an array of bytes in the format of MNIST's files.

    Args:
        path: File, compressed if its name ends in `.gz`.

    Returns:
        The array, uint8, in the shape that the file gives.

    Raises:
        ValueError: If the file is not a complete array of bytes.
    """
    content = gzip.decompress(Path(path).read_bytes()) if str(path).endswith(".gz") else Path(path).read_bytes()
    start = 4 + 4 * content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    shape = np.frombuffer(content[4:start], dtype=">i4").tolist()
    if not start or len(content) != start + int(np.prod(shape, dtype=np.int64)):
        raise ValueError(
            f"`{path}`: expected a complete array in the idx format, got {len(content)} bytes. Download the file again."
        )
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).reshape(shape)


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read_cifar100(path: Path) -> LabelledImages:
    content = np.fromfile(path, dtype=np.uint8)
    record = 2 + int(np.prod(_CIFAR_SHAPE))
    if not len(content) or len(content) % record:
        raise ValueError(
            f"`{path}`: expected records of {record} bytes, got {len(content)} bytes. Download the file again."
        )
    records = torch.from_numpy(content.reshape(-1, record))
    return LabelledImages(records[:, 2:].reshape(-1, *_CIFAR_SHAPE) / 127.5 - 1, records[:, 1].long())


Batch = dict[str, Tensor]
#: Value of `data` for scikit-learn's digits, and the share of them for tests.
DIGITS, _DIGITS_TEST_SHARE = "digits", 0.2


class ImagesDataModule(L.LightningDataModule):
    """Labelled images as batches `{"image": (batch, channels, height, width) in [-1, 1], "label": (batch,)}`.

    Every split has the same share of every class. Splits depend on `seed` only, so that runs with other seeds of the
    trainer are tested on the same images.

    Args:
        data: `digits` for scikit-learn's 8x8 digits, or a folder with the files of MNIST, Fashion-MNIST (Debian's
            package `dataset-fashion-mnist` has them) or CIFAR-100 (the binary version).
        batch_size: Number of images in a batch.
        validation_share: Share of the training images to validate on.
        train_images: Number of images to train and validate on; all by default.
        test_images: Number of images to test on; all by default.
        num_workers: Number of loading processes, 0 for none.
        seed: Random seed of the splits.

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
            raise ValueError(f"`validation_share`: expected a number between 0 and 1, got {validation_share}.")
        self.data, self.batch_size, self.num_workers, self.seed = data, batch_size, num_workers, seed
        self.validation_share, self.train_images, self.test_images = validation_share, train_images, test_images
        self._splits: dict[str, LabelledImages] = {}

    def setup(self, stage: str) -> None:
        """Read all images for every stage, since a test may need statistics of the training images."""
        if self._splits:
            return
        if self.data == DIGITS:
            test, rest = split_by_class(read_digits(), _DIGITS_TEST_SHARE, self.seed)
        else:
            test, rest = read_images(self.data, "test"), read_images(self.data, "train")
        test, rest = _limit(test, self.test_images, self.seed), _limit(rest, self.train_images, self.seed)
        validation, train = split_by_class(rest, self.validation_share, self.seed)
        self._splits = {"train": train, "validation": validation, "test": test}

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches, without an incomplete last one, since losses may use statistics over a batch."""
        images = self._images("train")
        return self._loader(images, ResumableLoader, shuffle=True, drop_last=len(images) >= self.batch_size)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return batches in order."""
        return self._loader(self._images("validation"))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return batches in order."""
        return self._loader(self._images("test"))

    def _images(self, split: str) -> "ImageRows":
        return ImageRows({"image": self._splits[split].images, "label": self._splits[split].labels})

    def _loader(
        self, images: "ImageRows", kind: type[DataLoader[Batch]] = DataLoader, **options: Any
    ) -> DataLoader[Batch]:
        if kind is ResumableLoader:
            options["trainer"] = self.trainer
        return kind(images, self.batch_size, num_workers=self.num_workers, collate_fn=_as_it_is, **options)


def split_by_class(data: LabelledImages, share: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Split images so that both parts have the same share of every class, and the first at least one image of each.

    Args:
        data: The images.
        share: Share of each class in the first part, between 0 and 1.
        seed: Random seed of the split.

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


class ImageRows(Dataset[Batch]):
    """Images in memory, fetched a batch at a time: one by one would take longer than a small model's training step.

    Args:
        fields: Name -> values of all images `(images, ...)`.
    """

    def __init__(self, fields: Batch) -> None:
        self._fields = fields

    def __len__(self) -> int:
        return len(next(iter(self._fields.values())))

    def __getitem__(self, rows: Sequence[int]) -> Batch:
        """Return a batch of these rows."""
        chosen = torch.as_tensor(rows)
        return {name: values[chosen] for name, values in self._fields.items()}

    __getitems__ = __getitem__  # for loaders with automatic batching


def _as_it_is(batch: Any) -> Any:
    return batch
