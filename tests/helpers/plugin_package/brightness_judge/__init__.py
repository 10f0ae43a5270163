"""A judge in a package of its own: prefers long descriptions for bright videos."""

import torch
from torch import Tensor

from lightning_vista.scorers import EmbeddingScorer
from lightning_vista.video import FrameSpec


class BrightnessScorer(EmbeddingScorer):
    """Scores by brightness and length; knows nothing."""

    frame_spec = FrameSpec(num_frames=2, size=16)

    def embed_videos(self, frames: Tensor) -> Tensor:
        """The mean brightness of each video."""
        return frames.float().mean(dim=(1, 2, 3, 4)).unsqueeze(1)

    def embed_texts(self, texts: list[str]) -> Tensor:  # type: ignore[override]
        """The length of each text."""
        return torch.tensor([[float(len(text))] for text in texts])
