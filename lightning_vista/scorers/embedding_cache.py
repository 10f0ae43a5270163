"""Embeddings of videos on disk, so that another run of the same scorer does not encode them again."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor


class EmbeddingCache:
    """A folder with a small file per video, which holds its embedding and is named by the hash of its frames.

    The hash is that of the pixels that the scorer sees. So it covers the video, the choice of frames and the resizing.
    Files are complete or absent: processes may share a folder, and may be killed.

    Args:
        folder: Folder of one scorer; other weights or settings need another folder.

    Example:
        >>> import tempfile
        >>> frames = torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache = EmbeddingCache(folder)
        ...     first = cache.embed(frames, lambda rows: torch.ones(len(rows), 5))
        ...     again = cache.embed(frames, lambda rows: torch.zeros(len(rows), 5))
        >>> torch.equal(first, again)
        True
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def embed(self, frames: Tensor, embed: Callable[[list[int]], Tensor], marks: Sequence[str] | None = None) -> Tensor:
        """Embed videos; compute only the embeddings that the cache lacks.

        Args:
            frames: RGB frames `(batch, frames, 3, height, width)`, uint8.
            embed: Function from the numbers of some of these videos to their embeddings `(videos, dim)`.
            marks: What each embedding depends on besides its frames, such as their times.

        Returns:
            Embeddings `(batch, dim)`, on the device of the frames.

        Raises:
            ValueError: If a file of the cache is damaged.
        """
        paths = [self._path(video, mark) for video, mark in zip(frames.cpu(), marks or [""] * len(frames), strict=True)]
        missing = [number for number, path in enumerate(paths) if not path.exists()]
        if missing:
            for number, embedding in zip(missing, embed(missing), strict=True):
                _write(paths[number], embedding)
        # New embeddings are read back too, so that a run gives the same bits with a cold and with a warm cache.
        return torch.stack([_read(path) for path in paths]).to(frames.device)

    def _path(self, video: Tensor, mark: str) -> Path:
        digest = hashlib.sha256(f"{tuple(video.shape)}{mark}".encode())
        digest.update(video.contiguous().numpy().data)
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"


def _write(path: Path, embedding: Tensor) -> None:
    """Write a file in one step; if several processes do, the last one wins, with the same content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{uuid4().hex}.tmp")
    with temporary.open("wb") as file:
        file.write(save({"embedding": embedding.detach().cpu().contiguous()}))
        file.flush()
        os.fsync(file.fileno())  # otherwise a power cut could leave the name without the content
    temporary.replace(path)


def _read(path: Path) -> Tensor:
    try:
        return load(path.read_bytes())["embedding"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is not an embedding ({error}). Remove the file; it will be made again.") from error
