"""S3D trained on HowTo100M as a scorer, the fourth model of the ViSTa paper (section 4)."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch import Tensor

from lightning_vista.scorers.embedding import EmbeddingScorer
from lightning_vista.scorers.preprocessing import authors_preprocessing
from lightning_vista.scorers.s3d_model import S3D, TEXT_LENGTH
from lightning_vista.video import FrameSpec
from lightning_vista.video.sampling import Sampling

_EXPECTED = "Expected the published S3D of HowTo100M, s3d_howto100m.pth."


class S3DScorer(EmbeddingScorer):
    """A scorer by the dot product of a description with a whole video in the space of S3D, as in its MIL-NCE training.

    The network was trained on 32 frames at 10 frames per second; sequences of the benchmark are longer, so frames are
    spread over the whole video as for other scorers. Pixels are scaled to 0 to 1.

    Args:
        weights: Published checkpoint, `s3d_howto100m.pth`: a state dict of `torch.save`.
        words: Published dictionary, `s3d_dict.npy`: words in the order of their numbers. Words that it lacks are left
            out, and a warning counts them.
        num_frames: Number of frames of each video, a multiple of 8; 32 in the paper.
        sampling: Rule that chooses the frames, see `sample_indices`.
        size: Height and width of the frames in pixels, a multiple of 32.
        name: Name in tables and figures; by default the file's stem.
        cache_dir: Folder for embeddings of videos, see `EmbeddingScorer`.

    Attributes:
        unknown: Description -> words that the dictionary lacks.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a file is not what it should be, or another argument is outside the ranges above.

    Example:
        >>> scorer = S3DScorer("s3d_howto100m.pth", "s3d_dict.npy")  # doctest: +SKIP
        >>> scorer.name, scorer.frame_spec.num_frames  # doctest: +SKIP
        ('s3d_howto100m', 32)
    """

    def __init__(
        self,
        weights: str,
        words: str,
        num_frames: int = 32,
        sampling: Sampling = "uniform",
        size: int = 224,
        name: str | None = None,
        cache_dir: str | None = None,
    ) -> None:
        # Then every stride divides its input, and TensorFlow's padding and torch's are the same.
        for option, value, step in (("num_frames", num_frames, 8), ("size", size, 32)):
            if value < step or value % step:
                raise ValueError(f"`{option}`: expected a multiple of {step}, by which strides divide it, got {value}.")
        super().__init__(name or Path(weights).stem, cache_dir=cache_dir)
        self.preprocessing = authors_preprocessing(FrameSpec(num_frames, sampling), size, 0.0, 1.0)
        self.frame_spec = self.preprocessing.frame_spec
        self.model = load_s3d(weights).requires_grad_(False)
        self.words = read_dictionary(words, len(self.model.text_module.word_embd.weight))
        self.unknown: dict[str, list[str]] = {}

    def fingerprint(self) -> str:
        """Describe the preprocessing of frames, and list the words."""
        return f"{self.preprocessing.describe()} {' '.join(self.words)}"

    def forget(self) -> None:
        """Forget the embeddings of descriptions, and their unknown words."""
        super().forget()
        self.unknown = {}

    def warn_of_unread(self) -> None:
        """Warn about truncated descriptions and unknown words."""
        super().warn_of_unread()
        if self.unknown:
            lacking = sorted({word for words in self.unknown.values() for word in words})
            warnings.warn(
                f"{self.name} does not know the words {', '.join(lacking)}: {len(self.unknown)} of "
                f"{len(self._embedded_texts)} descriptions have some and were scored without them.",
                stacklevel=2,
            )

    def embed_videos(self, frames: Tensor) -> Tensor:
        """Return embeddings `(batch, dim)`, float32, of any length."""
        pixels = self.preprocessing.normalize(frames).transpose(1, 2)
        return self.model.embed_video(pixels.to(self.model.fc.weight.dtype)).float()

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings `(texts, dim)`, float32, of any length; long texts are truncated and counted."""
        spoken = [re.findall(r"[\w']+", text.lower()) for text in texts]
        lacking = {
            text: [word for word in words if word not in self.words] for text, words in zip(texts, spoken, strict=True)
        }
        self.unknown |= {text: words for text, words in lacking.items() if words}
        numbers = [[self.words[word] for word in words if word in self.words] for words in spoken]
        self.count_truncated(texts, [len(row) for row in numbers], TEXT_LENGTH)
        rows = [(row + [0] * TEXT_LENGTH)[:TEXT_LENGTH] for row in numbers]
        embeddings: Tensor = self.model.text_module(torch.tensor(rows, device=self.device))
        return embeddings.float()


def load_s3d(path: str | Path) -> S3D:
    """Load a published checkpoint; only tensors are read from it, and no code is run.

    Args:
        path: File of the checkpoint.

    Returns:
        The model, on the CPU and in evaluation mode.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not an S3D.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No weights at {path}. {_EXPECTED}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return S3D.from_state(state)
    except (ValueError, AttributeError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(f"Cannot load {path}: {error}\n{_EXPECTED}") from error


def read_dictionary(path: str | Path, rows: int) -> dict[str, int]:
    """Read a dictionary of words.

    Args:
        path: File of `numpy.save` with an array of words.
        rows: Number of rows of the model's table; row 0 stands for no word.

    Returns:
        Word -> its row.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file does not hold words, or more than the model has rows for.
    """
    expected = f"Expected the published s3d_dict.npy, an array of at most {rows - 1} words."
    if not Path(path).is_file():
        raise FileNotFoundError(f"No dictionary at {path}. {expected}")
    try:
        words = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"Cannot load {path}: {error}\n{expected}") from error
    if words.ndim != 1 or words.dtype.kind != "U" or len(words) >= rows:
        raise ValueError(f"`words`: got an array of shape {words.shape} and type {words.dtype} in {path}. {expected}")
    return {str(word): number for number, word in enumerate(words, 1)}
