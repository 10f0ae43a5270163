"""Judges that embed videos and descriptions into one space, as CLIP does."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_vista.scorers.base import VLMScorer
from lightning_vista.scorers.pairs import Scores
from lightning_vista.vista.batch import VideoBatch


class EmbeddingScorer(VLMScorer):
    """A judge whose score is the dot product of a video's and a description's embedding.

    Subclasses write `embed_videos` and `embed_texts`; for a cosine they return unit-length vectors. Each video and
    each description is embedded once per run.

    Example:
        >>> class Colour(EmbeddingScorer):
        ...     def embed_videos(self, frames):
        ...         return frames.float().mean(dim=(1, 3, 4))
        ...     def embed_texts(self, texts):
        ...         return torch.tensor([[float(word in text) for word in ("red", "green", "blue")] for text in texts])
        >>> Colour(name="colour").name
        'colour'
    """

    @abstractmethod
    def embed_videos(self, frames: Tensor) -> Tensor:
        """Embed videos.

        Args:
            frames: uint8 RGB `(batch, frames, 3, height, width)`, as `frame_spec` says.

        Returns:
            Floats `(batch, dim)`.
        """

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed descriptions.

        Args:
            texts: Any number of different descriptions.

        Returns:
            Floats `(texts, dim)`.
        """

    def setup(self, stage: str) -> None:
        """Forget the descriptions of an earlier run: the weights may have changed since."""
        super().setup(stage)
        self._embedded_texts: dict[str, Tensor] = {}

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        """The dot product of each video with each of its candidate descriptions."""
        self._embed_new_texts(batch)
        videos = self.embed_videos(batch.frames)
        return [
            [
                Scores(torch.stack([self._embedded_texts[text] for text in candidates.descriptions]) @ video)
                for candidates in sets
            ]
            for video, sets in zip(videos, batch.candidates, strict=True)
        ]

    def _embed_new_texts(self, batch: VideoBatch) -> None:
        texts = {text: None for sets in batch.candidates for candidates in sets for text in candidates.descriptions}
        new = [text for text in texts if text not in self._embedded_texts]
        if new:
            self._embedded_texts.update(zip(new, self.embed_texts(new), strict=True))
