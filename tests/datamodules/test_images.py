import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_vista.datamodules import ImagesDataModule
from lightning_vista.datamodules.images import read_idx, read_images


def write_idx(path: Path, array: np.ndarray) -> None:
    content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(folder: Path, suffix: str = "") -> None:
    rng = np.random.default_rng(0)
    for name, count in (("train", 60), ("t10k", 20)):
        write_idx(folder / f"{name}-images-idx3-ubyte{suffix}", rng.integers(256, size=(count, 6, 5)))
        write_idx(folder / f"{name}-labels-idx1-ubyte{suffix}", np.arange(count) % 3)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_of_mnist(tmp_path: Path, suffix: str) -> None:
    write_mnist(tmp_path, suffix)
    data = ImagesDataModule(str(tmp_path), batch_size=16)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [len(batch["label"]) for batch in batches] == [16, 16, 16]  # of 54, the incomplete last batch left out
    assert batches[0]["image"].shape == (16, 1, 6, 5)
    (first, *_) = data.test_dataloader()
    pixels = read_idx(tmp_path / f"t10k-images-idx3-ubyte{suffix}")[0]
    torch.testing.assert_close(first["image"][0, 0], pixels.float() / 127.5 - 1)
    assert first["label"][:4].tolist() == [0, 1, 2, 0]


def test_binary_files_of_cifar(tmp_path: Path) -> None:
    records = np.random.default_rng(0).integers(256, size=(5, 2 + 3 * 32 * 32)).astype(np.uint8)
    records[:, :2] = [[9, 40]] * 5
    (tmp_path / "test.bin").write_bytes(records.tobytes())
    images, labels = read_images(tmp_path, "test")
    assert labels.tolist() == [40] * 5
    assert images.shape == (5, 3, 32, 32)
    assert images[2, 1, 0, 3] == pytest.approx(int(records[2, 2 + 32 * 32 + 3]) / 127.5 - 1)


def test_every_split_has_its_share_of_every_class() -> None:
    data = ImagesDataModule(validation_share=0.2, seed=3)
    data.setup("test")
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    counts = [torch.cat([batch["label"] for batch in loader]).bincount(minlength=10) for loader in loaders[1:]]
    for count in counts:
        assert count.max() - count.min() <= 4  # scikit-learn has 174 to 183 of each
    images = torch.cat([batch["image"] for loader in loaders[1:] for batch in loader])
    assert images.min() == -1
    assert images.max() == 1
    again = ImagesDataModule(validation_share=0.2, seed=3)
    again.setup("fit")
    assert torch.equal(next(iter(again.val_dataloader()))["image"], next(iter(loaders[1]))["image"])


def test_fewer_images(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    data = ImagesDataModule(str(tmp_path), train_images=30, test_images=6)
    data.setup("fit")
    assert next(iter(data.test_dataloader()))["label"].bincount().tolist() == [2, 2, 2]
    assert len(next(iter(data.train_dataloader()))["label"]) == 27


def test_broken_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected MNIST's files"):
        read_images(tmp_path, "train")
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="complete array in the idx format"):
        read_images(tmp_path, "train")
    (tmp_path / "cifar").mkdir()
    (tmp_path / "cifar/train.bin").write_bytes(b"123")
    with pytest.raises(ValueError, match="records of 3074 bytes"):
        read_images(tmp_path / "cifar", "train")
    with pytest.raises(ValueError, match="validation_share"):
        ImagesDataModule(validation_share=1)


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`split`: expected one of 'train', 'test', got 'validation'"):
        read_images(tmp_path, "validation")
