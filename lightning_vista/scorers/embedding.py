"""Judges that embed videos and descriptions into one space, as CLIP does."""

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from lightning_vista.evaluation import Scores
from lightning_vista.evaluation.identity import identity
from lightning_vista.scorers.base import VLMScorer
from lightning_vista.scorers.embedding_cache import EmbeddingCache, hash_weights
from lightning_vista.video import FrameSpec
from lightning_vista.vista.batch import VideoBatch


class EmbeddingScorer(VLMScorer):
    """A judge whose score is the dot product of a video's and a description's embedding.

    Subclasses write `embed_videos` and `embed_texts`; for a cosine they return unit-length vectors. Each video and
    each description is embedded once per run.

    Args:
        name: See `VLMScorer`.
        frame_spec: See `VLMScorer`.
        cache_dir: Where the embeddings of videos are kept, so that later runs of the same judge, on whatever problem
            sets, encode only new videos. Any number of judges and processes may share it. None keeps nothing.

    Attributes:
        truncated: How many tokens were cut off each description that is longer than the model's text; a run ends with
            a warning that counts them.

    Example:
        >>> class Colour(EmbeddingScorer):
        ...     def embed_videos(self, frames):
        ...         return frames.float().mean(dim=(1, 3, 4))
        ...     def embed_texts(self, texts):
        ...         return torch.tensor([[float(word in text) for word in ("red", "green", "blue")] for text in texts])
        >>> Colour(name="colour").name
        'colour'
    """

    def __init__(
        self,
        name: str | None = None,
        frame_spec: FrameSpec | None = None,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__(name, frame_spec)
        self.hparams.pop("cache_dir", None)  # a run may be resumed with another one
        self.cache_dir = cache_dir
        self.truncated: dict[str, int] = {}
        self._embedded_texts: dict[str, Tensor] = {}
        self._cache: EmbeddingCache | None = None

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

    def fingerprint(self) -> str:
        """The hash of the weights: there may be others at the same path."""
        return hash_weights(self)

    def forget(self) -> None:
        """Forget the embeddings of descriptions: they belong to weights that have changed."""
        self._embedded_texts.clear()
        self.truncated.clear()
        self._cache = None

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights, and forget the embeddings that others made."""
        self.forget()
        return super().load_state_dict(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; training changes weights, so embeddings are forgotten."""
        if mode:
            self.forget()
        return super().train(mode)

    def setup(self, stage: str) -> None:
        """Forget the descriptions of an earlier run, whose weights may have been others."""
        self.forget()

    def teardown(self, stage: str) -> None:
        """Warn of what the scorer could not read."""
        self.warn_of_unread()

    def score_clips(
        self, frames: Tensor, descriptions: Sequence[str], times: Sequence[Sequence[float]] | None = None
    ) -> list[Scores]:
        """Score clips, see `VLMScorer`, and warn of what the scorer could not read."""
        scores = super().score_clips(frames, descriptions, times)
        self.warn_of_unread()
        return scores

    def warn_of_unread(self) -> None:
        """Warn how many descriptions were truncated; once for each."""
        if self.truncated:
            warnings.warn(
                f"{self.name}: {len(self.truncated)} of {len(self._embedded_texts)} descriptions were truncated to the "
                f"{self._text_length} tokens that the model reads, the longest by {max(self.truncated.values())}.",
                stacklevel=2,
            )

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        """The dot product of each video with each of its candidate descriptions."""
        self._embed_new_texts(batch)
        videos = self._embed_new_videos(batch.frames)
        return [
            [
                Scores(torch.stack([self._embedded_texts[text] for text in candidates.descriptions]) @ video)
                for candidates in sets
            ]
            for video, sets in zip(videos, batch.candidates, strict=True)
        ]

    def count_truncated(self, texts: Sequence[str], lengths: Sequence[int], limit: int) -> None:
        """Note which descriptions are truncated; for `embed_texts`.

        Args:
            texts: The descriptions.
            lengths: How many tokens each has.
            limit: How many tokens the model reads.
        """
        self._text_length = limit
        excess = {text: length - limit for text, length in zip(texts, lengths, strict=True)}
        self.truncated.update({text: tokens for text, tokens in excess.items() if tokens > 0})

    def _embed_new_texts(self, batch: VideoBatch) -> None:
        texts = {text: None for sets in batch.candidates for candidates in sets for text in candidates.descriptions}
        new = [text for text in texts if text not in self._embedded_texts]
        if new:
            self._embedded_texts.update(zip(new, self.embed_texts(new), strict=True))

    def _embed_new_videos(self, frames: Tensor) -> Tensor:
        if self.cache_dir is None:
            return self.embed_videos(frames)
        if self._cache is None:  # not in `setup`: a checkpoint is loaded after it
            inner = identity(self, ignored=("name",))
            self._cache = EmbeddingCache(Path(self.cache_dir) / inner[:16])
        return self._cache.embed(frames, self.embed_videos)
