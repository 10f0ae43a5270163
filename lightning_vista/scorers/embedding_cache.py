"""Embeddings of videos on disk, so that another run of the same judge does not encode them again."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn


class EmbeddingCache:
    """Keeps each video's embedding in a small file that is named by the hash of its frames.

    The hash is of the pixels that the judge sees, so it stands for the video, for which of its frames were taken and
    for how they were resized. A file is there whole or not at all: processes may share a folder, and be killed.

    Args:
        folder: The folder of one judge; other weights or settings need another one.

    Example:
        >>> import tempfile
        >>> frames = torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache = EmbeddingCache(folder)
        ...     first = cache.embed(frames, lambda new: torch.ones(len(new), 5))
        ...     again = cache.embed(frames, lambda new: torch.zeros(len(new), 5))
        >>> torch.equal(first, again)
        True
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def embed(self, frames: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
        """Embed videos, only those that have not been embedded before.

        Args:
            frames: uint8 `(batch, frames, 3, height, width)`.
            embed: Gives the embeddings `(videos, dim)` of some of them.

        Returns:
            The embeddings `(batch, dim)`, on the device of the frames.

        Raises:
            ValueError: If a file of the cache is damaged.
        """
        paths = [self._path(video) for video in frames.cpu()]
        missing = [number for number, path in enumerate(paths) if not path.exists()]
        if missing:
            for number, embedding in zip(missing, embed(frames[missing]), strict=True):
                _write(paths[number], embedding)
        return torch.stack([_read(path) for path in paths]).to(frames.device)

    def _path(self, video: Tensor) -> Path:
        digest = hashlib.sha256(str(tuple(video.shape)).encode())
        digest.update(video.contiguous().numpy().data)
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"


def hash_weights(module: nn.Module) -> str:
    """The hash of a module's parameters and buffers, with their names, shapes and types.

    Args:
        module: The module, on any device.

    Returns:
        64 hex digits.
    """
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        # As bytes: numpy does not know bfloat16.
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _write(path: Path, embedding: Tensor) -> None:
    """Write a file in one step; the last of several writers wins, with the same content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{uuid4().hex}.tmp")
    with temporary.open("wb") as file:
        file.write(save({"embedding": embedding.detach().cpu().contiguous()}))
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the name without the content
    temporary.replace(path)


def _read(path: Path) -> Tensor:
    try:
        return load(path.read_bytes())["embedding"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is no embedding ({error}): remove the file, and it is made again.") from error
