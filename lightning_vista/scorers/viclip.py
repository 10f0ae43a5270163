"""ViCLIP as a scorer (ViSTa, section 4)."""

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_vista.optional import require
from lightning_vista.options import check_word
from lightning_vista.scorers.embedding import EmbeddingScorer
from lightning_vista.scorers.preprocessing import STATISTICS, authors_preprocessing
from lightning_vista.scorers.pretrained import DType, hash_part
from lightning_vista.scorers.viclip_model import ViCLIP
from lightning_vista.video import FrameSpec
from lightning_vista.video.sampling import Sampling


class ViCLIPScorer(EmbeddingScorer):
    """A scorer by the cosine of a description with a whole video in ViCLIP's space, which depends on frame order.

    Frames are squeezed to a square with bicubic interpolation and normalised with ImageNet's statistics.

    Args:
        weights: Published checkpoint such as `ViCLIP-L_InternVid-FLT-10M.pth`: a file of `torch.save` with a dict whose
            `model` is the state dict. The model's sizes are derived from it.
        dtype: Type of the weights. Embeddings are float32 in any case.
        num_frames: Number of frames of each video: the number that the model was trained with (8 in the published
            checkpoints), or 1.
        sampling: Rule that chooses the frames, see `sample_indices`.
        name: Name in tables and figures; by default the file's stem.
        cache_dir: Folder for embeddings of videos, see `EmbeddingScorer`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not a ViCLIP, or another argument is outside the ranges above.

    Example:
        >>> scorer = ViCLIPScorer("ViCLIP-L_InternVid-FLT-10M.pth")  # doctest: +SKIP
        >>> scorer.name, scorer.frame_spec.num_frames  # doctest: +SKIP
        ('ViCLIP-L_InternVid-FLT-10M', 8)
    """

    def __init__(
        self,
        weights: str,
        dtype: DType = "float32",
        num_frames: int = 8,
        sampling: Sampling = "uniform",
        name: str | None = None,
        cache_dir: str | None = None,
    ) -> None:
        check_word("dtype", dtype, get_args(DType))
        super().__init__(name or Path(weights).stem, cache_dir=cache_dir)
        self.model = load_viclip(weights).to(getattr(torch, dtype)).requires_grad_(False)
        sizes = self.model.sizes
        if num_frames not in (1, sizes.num_frames):
            raise ValueError(
                f"`num_frames`: expected {sizes.num_frames}, as in the checkpoint's training, or 1, got {num_frames}."
            )
        frames = FrameSpec(num_frames, sampling)
        self.preprocessing = authors_preprocessing(frames, sizes.image_size, *STATISTICS["imagenet"])
        self.frame_spec = self.preprocessing.frame_spec
        open_clip = require("open_clip", extra="vlm")
        self.tokenizer = open_clip.SimpleTokenizer(context_length=sizes.text_length)

    def fingerprint(self) -> str:
        """Describe the preprocessing of frames, and hash the tokenizer."""
        return f"{self.preprocessing.describe()} {hash_part(self.tokenizer)}"

    def embed_videos(self, frames: Tensor) -> Tensor:
        """Return unit-length embeddings `(batch, dim)`, float32."""
        pixels = self.preprocessing.normalize(frames).to(self.model.temp.dtype)
        return normalize(self.model.vision_encoder(pixels).float(), dim=-1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit-length embeddings `(texts, dim)`, float32; long texts are truncated and counted."""
        lengths = [len(self.tokenizer.encode(text)) + 2 for text in texts]  # with the marks of start and end
        self.count_truncated(texts, lengths, self.model.sizes.text_length)
        tokens = self.tokenizer(list(texts)).to(self.device)
        return normalize(self.model.text_encoder(tokens).float(), dim=-1)


def load_viclip(path: str | Path) -> ViCLIP:
    """Load a published checkpoint; only tensors are read from it, and no code is run.

    Args:
        path: File of the checkpoint.

    Returns:
        The model, on the CPU and in evaluation mode.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not a ViCLIP.
    """
    expected = "Expected a published ViCLIP, such as ViCLIP-L_InternVid-FLT-10M.pth."
    if not Path(path).is_file():
        raise FileNotFoundError(f"No weights at {path}. {expected}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["model"]
        return ViCLIP.from_state(state)
    except (ValueError, KeyError, TypeError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(f"Cannot load {path}: {error}\n{expected}") from error
