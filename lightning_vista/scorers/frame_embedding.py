"""The base of scorers that embed each frame separately, as CLIP does."""

from abc import abstractmethod
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_vista.options import check_word
from lightning_vista.scorers.pair_training import PairTraining
from lightning_vista.scorers.preprocessing import Preprocessing, PreprocessingMode
from lightning_vista.scorers.pretrained import hash_part


class FrameEmbeddingScorer(PairTraining):
    """A scorer by the mean cosine, over frames, of a description with each frame (ViSTa, section 4).

    Every frame is encoded and normalised to unit length; the mean of the frames is the video's embedding. Subclasses
    write `embed_frames` and `embed_texts`, and set `preprocessing` with its
    `frame_spec`, and `tokenizer` if they have one.

    Args:
        num_frames: Number of frames of each video, 2 to 32; the published figures use 2, 4, 8, 16 and 32.
        preprocessing: `authors` or `processor`; the subclass implements it.
        frame_batch_size: Number of frames that pass through the vision tower at once; fewer need less memory.
        name: Name in tables and figures, see `VLMScorer`.
        cache_dir: Folder for embeddings of videos, see `EmbeddingScorer`.

    Raises:
        ValueError: If an argument is outside the ranges above.
    """

    preprocessing: Preprocessing
    tokenizer: Any = None

    def __init__(
        self,
        num_frames: int,
        preprocessing: PreprocessingMode,
        frame_batch_size: int,
        name: str | None = None,
        cache_dir: str | None = None,
    ) -> None:
        check_word("preprocessing", preprocessing, get_args(PreprocessingMode))
        if not 2 <= num_frames <= 32:
            raise ValueError(f"`num_frames`: expected 2 to 32, got {num_frames}.")
        if frame_batch_size < 1:
            raise ValueError(f"`frame_batch_size`: expected at least 1, got {frame_batch_size}.")
        super().__init__(name, cache_dir=cache_dir)
        self.frame_batch_size = frame_batch_size

    def fingerprint(self) -> str:
        """Describe the preprocessing of frames, and hash the tokenizer."""
        return f"{self.preprocessing.describe()} {hash_part(self.tokenizer)}"

    @abstractmethod
    def embed_frames(self, pixels: Tensor) -> Tensor:
        """Embed frames.

        Args:
            pixels: Frames `(frames, 3, height, width)`, float32, normalised as the model's vision tower expects.

        Returns:
            Embeddings `(frames, dim)`, float, of any length.
        """

    def embed_videos(self, frames: Tensor) -> Tensor:
        """Return the mean of the unit-length embeddings of each video's frames `(batch, dim)`, float32.

        Args:
            frames: RGB frames `(batch, frames, 3, height, width)`, uint8.
        """
        unit_length = self.encode_frames(frames.flatten(0, 1), self._unit_length)
        return unit_length.reshape(*frames.shape[:2], -1).mean(dim=1)

    def _unit_length(self, frames: Tensor) -> Tensor:
        """Return embeddings of unit length `(frames, dim)`, float32, of frames `(frames, 3, height, width)`."""
        chunks = torch.split(frames, self.frame_batch_size)
        embeddings = [self.embed_frames(self.preprocessing.normalize(chunk)) for chunk in chunks]
        return normalize(torch.cat(embeddings).float(), dim=-1)
