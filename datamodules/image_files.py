"""Reads labelled images: scikit-learn's digits, MNIST's files, CIFAR-100's binary files."""

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_vista.optional import require

#: The two beginnings of MNIST's file names.
_MNIST_SPLITS = {"train": "train", "test": "t10k"}
#: A CIFAR-100 record: the coarse label, the fine one, then 32x32 red, green and blue values.
_CIFAR_SHAPE = (3, 32, 32)


class LabelledImages(NamedTuple):
    """Images in [-1, 1], float32 `(images, channels, height, width)`, and their labels, int64 `(images,)`."""

    images: Tensor
    labels: Tensor


def read_digits() -> LabelledImages:
    """The 1,797 handwritten digits that come with scikit-learn: 8x8 pixels, grey.

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
        folder: A folder with `train-images-idx3-ubyte` and the like, compressed (`.gz`) or not; or with CIFAR-100's
            `train.bin` and `test.bin`.
        split: `train` or `test`.

    Returns:
        The images, with their labels.

    Raises:
        FileNotFoundError: If the folder has files of neither format.
        ValueError: If a file is not in the format that its name says.
    """
    folder = Path(folder)
    images = _find(folder, f"{_MNIST_SPLITS[split]}-images-idx3-ubyte")
    labels = _find(folder, f"{_MNIST_SPLITS[split]}-labels-idx1-ubyte")
    if images and labels:
        pixels = read_idx(images).unsqueeze(1)
        return LabelledImages(pixels / 127.5 - 1, read_idx(labels).long())
    if (folder / f"{split}.bin").is_file():
        return _read_cifar100(folder / f"{split}.bin")
    raise FileNotFoundError(
        f"{folder}: expected MNIST's files ({_MNIST_SPLITS[split]}-images-idx3-ubyte and "
        f"{_MNIST_SPLITS[split]}-labels-idx1-ubyte, or these with .gz) or CIFAR-100's binary file ({split}.bin), "
        "found neither."
    )


def read_idx(path: str | Path) -> Tensor:
    """Read an array of bytes in the format of MNIST's files.

    Args:
        path: The file; one that ends in `.gz` is compressed.

    Returns:
        The array, uint8, in the shape that the file says.

    Raises:
        ValueError: If the file is not such an array, or was cut off.
    """
    content = gzip.decompress(Path(path).read_bytes()) if str(path).endswith(".gz") else Path(path).read_bytes()
    start = 4 + 4 * content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    shape = np.frombuffer(content[4:start], dtype=">i4").tolist()
    if not start or len(content) != start + int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{path}: expected a whole array of bytes in the idx format; fetch the file again.")
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).reshape(shape)


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read_cifar100(path: Path) -> LabelledImages:
    content = np.fromfile(path, dtype=np.uint8)
    record = 2 + int(np.prod(_CIFAR_SHAPE))
    if not len(content) or len(content) % record:
        raise ValueError(f"{path}: expected records of {record} bytes, found {len(content)} bytes; fetch it again.")
    records = torch.from_numpy(content.reshape(-1, record))
    return LabelledImages(records[:, 2:].reshape(-1, *_CIFAR_SHAPE) / 127.5 - 1, records[:, 1].long())
