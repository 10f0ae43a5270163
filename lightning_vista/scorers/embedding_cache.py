"""Embeddings of videos on disk, so that another run of the same scorer does not encode them again."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lightning_vista.files.own_files import EMPTY_SEAL, SEAL_KEY, VERSION_KEY, DamagedFileError, is_sealed, write_sealed

_VERSION = "1"


class EmbeddingCache:
    """A folder with a small file per video, which holds its embedding and is named by the hash of its frames.

    The hash is that of the pixels that the scorer sees. So it covers the video, the choice of frames and the resizing.
    Files are complete or absent: processes may share a folder, and may be killed. A file whose checksum does not match
    is dropped with a warning, and its embedding is made again.

    Args:
        folder: Folder of one scorer; other weights or settings need another folder.

    Attributes:
        damaged: Number of files that were dropped so far.

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
        self.damaged = 0

    def embed(self, frames: Tensor, embed: Callable[[list[int]], Tensor], marks: Sequence[str] | None = None) -> Tensor:
        """Embed videos; compute only the embeddings that the cache lacks.

        Args:
            frames: RGB frames `(batch, frames, 3, height, width)`, uint8.
            embed: Function from the numbers of some of these videos to their embeddings `(videos, dim)`.
            marks: What each embedding depends on besides its frames, such as their times.

        Returns:
            Embeddings `(batch, dim)`, on the device of the frames.
        """
        paths = [self._path(video, mark) for video, mark in zip(frames.cpu(), marks or [""] * len(frames), strict=True)]
        known = {path: self._known(path) for path in paths}
        missing = [number for number, path in enumerate(paths) if known[path] is None]
        if missing:
            for number, embedding in zip(missing, embed(missing), strict=True):
                _write(paths[number], embedding)
        # New embeddings are read back too, so that a run gives the same bits with a cold and with a warm cache.
        found = [embedding if (embedding := known[path]) is not None else _read(path) for path in paths]
        return torch.stack(found).to(frames.device)

    def _known(self, path: Path) -> Tensor | None:
        """Return the embedding in a file; None if there is none, or it is damaged."""
        try:
            return _read(path)
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            self.damaged += 1
            warnings.warn(
                f"{str(error).strip()} It is made again, as were {self.damaged - 1} others of this run.", stacklevel=3
            )
            return None

    def _path(self, video: Tensor, mark: str) -> Path:
        digest = hashlib.sha256(f"{tuple(video.shape)}{mark}".encode())
        digest.update(video.contiguous().numpy().data)
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"


def _write(path: Path, embedding: Tensor) -> None:
    """Write a file in one step; if several processes do, the last one wins, with the same content."""
    metadata = {VERSION_KEY: _VERSION, SEAL_KEY: EMPTY_SEAL}
    write_sealed(path, save({"embedding": embedding.detach().cpu().contiguous()}, metadata))


def _read(path: Path) -> Tensor:
    """Read an embedding.

    Raises:
        DamagedFileError: If the file is damaged, or of an earlier release without checksums.
    """
    content = path.read_bytes()
    try:
        if is_sealed(content, path, ""):
            return load(content)["embedding"]
    except (SafetensorError, KeyError) as error:  # sealed, but not by this class
        raise DamagedFileError(f"{path} is not an embedding ({error}).") from error
    raise DamagedFileError(f"{path} has no checksum.")
