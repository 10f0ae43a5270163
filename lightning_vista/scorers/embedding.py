"""The base of scorers that embed videos and descriptions into one space, as CLIP does."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from lightning_vista.evaluation import Scores
from lightning_vista.evaluation.identity import identity
from lightning_vista.scorers.base import VLMScorer, evaluation_mode, finite_scores
from lightning_vista.scorers.embedding_cache import EmbeddingCache
from lightning_vista.scorers.frame_memo import FrameMemo
from lightning_vista.video import FrameClock, FrameSpec
from lightning_vista.vista.batch import VideoBatch


class EmbeddingScorer(VLMScorer):
    """A scorer by the dot product of a video's and a description's embedding.

    Subclasses write `embed_videos` and `embed_texts`; for a cosine they return unit-length vectors. Each video and
    each description is embedded once per run.

    Args:
        name: Name in tables and figures, see `VLMScorer`.
        frame_spec: Frames to score, see `VLMScorer`.
        cache_dir: Folder for embeddings of videos, so that later runs of the same scorer, on any problem sets, encode
            only new videos. Any number of scorers and processes may share it. None disables the cache.

    Attributes:
        reads_times: Whether embeddings depend on the times of frames, see `embed_timed_videos`.
        truncated: Description -> number of tokens cut off, for descriptions longer than the model reads. A run ends
            with a warning that counts them.

    Example:
        >>> class Colour(EmbeddingScorer):
        ...     def embed_videos(self, frames):
        ...         return frames.float().mean(dim=(1, 3, 4))
        ...     def embed_texts(self, texts):
        ...         return torch.tensor([[float(word in text) for word in ("red", "green", "blue")] for text in texts])
        >>> Colour(name="colour").name
        'colour'
    """

    reads_times = False

    def __init__(
        self,
        name: str | None = None,
        frame_spec: FrameSpec | None = None,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__(name, frame_spec)
        self.hparams.pop("cache_dir", None)  # the cache does not change scores, so a run may resume with another one
        self.cache_dir = cache_dir
        self.truncated: dict[str, int] = {}
        self._embedded_texts: dict[str, Tensor] = {}
        self._cache: EmbeddingCache | None = None
        self._memo = FrameMemo()
        self._arithmetic: tuple[str, Any, torch.device] = ("", None, torch.device("cpu"))

    @abstractmethod
    def embed_videos(self, frames: Tensor) -> Tensor:
        """Embed videos.

        Args:
            frames: RGB frames `(batch, frames, 3, height, width)`, uint8, as specified by `frame_spec`.

        Returns:
            Embeddings `(batch, dim)`, float.
        """

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed descriptions.

        Args:
            texts: Any number of different descriptions.

        Returns:
            Embeddings `(texts, dim)`, float.
        """

    def embed_timed_videos(self, frames: Tensor, clocks: Sequence[FrameClock | None]) -> Tensor:
        """Embed videos whose frames may have known times; scorers that read these set `reads_times` and write this.

        Args:
            frames: See `embed_videos`.
            clocks: Times of each video's frames, None where they are unknown.

        Returns:
            Embeddings `(batch, dim)`, float.
        """
        return self.embed_videos(frames)

    def products(self, texts: Tensor, video: Tensor) -> Tensor:
        """Score descriptions against a video; scorers in whose space the dot product is not the score write this.

        Args:
            texts: Embeddings of descriptions `(texts, dim)`, at least float32.
            video: Embedding of a video `(dim,)`, of the same type.

        Returns:
            Scores `(texts,)`.
        """
        if texts.shape[1:] != video.shape:
            raise ValueError(
                f"{type(self).__name__}: expected embeddings of one size, got {tuple(video.shape)} for each video and "
                f"{tuple(texts.shape[1:])} for each text. Let embed_videos and embed_texts return (rows, dim)."
            )
        return texts @ video

    def forget(self) -> None:
        """Forget the embeddings of descriptions and frames, which belong to weights that have changed."""
        self._embedded_texts.clear()
        self._memo.clear()
        self.truncated.clear()
        self._cache = None  # its folder is named by the hash of the weights

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights, and forget the embeddings that the former weights gave."""
        self.forget()
        return super().load_state_dict(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; embeddings of weights that training may change are forgotten."""
        if mode and any(parameter.requires_grad for parameter in self.parameters()):
            self.forget()
        return super().train(mode)

    def setup(self, stage: str) -> None:
        """Forget the descriptions of an earlier run, which may have had other weights."""
        self.forget()

    def teardown(self, stage: str) -> None:
        """Warn about descriptions that the scorer could not read."""
        self.warn_of_unread()

    def score_clips(
        self, frames: Tensor, descriptions: Sequence[str], times: Sequence[Sequence[float]] | None = None
    ) -> list[Scores]:
        """Score clips, see `VLMScorer`, and warn about descriptions that the scorer could not read."""
        with evaluation_mode(self):  # until after the warning, since what was unread may be forgotten then
            scores = super().score_clips(frames, descriptions, times)
            self.warn_of_unread()
        return scores

    def warn_of_unread(self) -> None:
        """Warn about truncated descriptions, with their number."""
        if self.truncated:
            warnings.warn(
                f"{self.name}: {len(self.truncated)} of {len(self._embedded_texts)} descriptions were truncated to the "
                f"{self._text_length} tokens that the model reads, the longest by {max(self.truncated.values())}.",
                stacklevel=2,
            )

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        """Compute the dot product of each video with each of its candidate descriptions, at least in float32."""
        self._notice_arithmetic()
        self._embed_new_texts(batch)
        with self._memo.using():
            videos = self._embed_new_videos(batch)
        return [
            [finite_scores(self._products(candidates.descriptions, video)) for candidates in sets]
            for video, sets in zip(videos, batch.candidates, strict=True)
        ]

    def count_truncated(self, texts: Sequence[str], lengths: Sequence[int], limit: int) -> None:
        """Record truncated descriptions; to be called by `embed_texts`.

        Args:
            texts: Descriptions.
            lengths: Number of tokens of each description.
            limit: Number of tokens that the model reads.
        """
        self._text_length = limit
        excess = {text: length - limit for text, length in zip(texts, lengths, strict=True)}
        self.truncated.update({text: tokens for text, tokens in excess.items() if tokens > 0})

    def encode_frames(self, frames: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """Encode separate frames, called by `embed_videos`; frames that `score` has just seen are not encoded again.

        Args:
            frames: RGB frames `(frames, 3, height, width)`, uint8.
            encode: Function from frames to their features `(frames, ...)`.

        Returns:
            Features `(frames, ...)`.
        """
        return self._memo.encode(frames, encode)

    def _products(self, descriptions: Sequence[str], video: Tensor) -> Tensor:
        """Return the dot products of descriptions with a video's embedding, `(descriptions,)`."""
        texts = torch.stack([self._embedded_texts[text] for text in descriptions])
        # Half precision has 2 to 3 digits, so many cosines of similar descriptions would be equal.
        dtype = torch.promote_types(torch.promote_types(texts.dtype, video.dtype), torch.float32)
        with torch.autocast(video.device.type, enabled=False):
            return self.products(texts.to(dtype), video.to(dtype))

    def _embed_new_texts(self, batch: VideoBatch) -> None:
        texts = {text: None for sets in batch.candidates for candidates in sets for text in candidates.descriptions}
        new = [text for text in texts if text not in self._embedded_texts]
        if new:
            self._embedded_texts.update(zip(new, self._rows("embed_texts", self.embed_texts(new), new), strict=True))

    def _embed_new_videos(self, batch: VideoBatch) -> Tensor:
        clocks = [FrameClock.of(*positions) for positions in zip(batch.frame_indices, batch.times, strict=True)]
        if self.cache_dir is None:
            return self._rows("embed_videos", self.embed_timed_videos(batch.frames, clocks), clocks)
        if self._cache is None:  # not in `setup`, because Lightning loads a checkpoint after that
            inner = identity(self, ignored=("name",), precision=self._arithmetic[0])
            self._cache = EmbeddingCache(Path(self.cache_dir) / inner[:16])
        # Only scorers that read times have them in the key: for all others the same pixels give the same embedding.
        times = [repr(clock) if self.reads_times else "" for clock in clocks]

        def embed(rows: list[int]) -> Tensor:
            found = self.embed_timed_videos(batch.frames[rows], [clocks[row] for row in rows])
            return self._rows("embed_videos", found, rows)

        return self._cache.embed(batch.frames, embed, times)

    def _rows(self, method: str, embeddings: object, items: Sequence[object]) -> Tensor:
        """Return the embeddings that a subclass's method gave, unless they are not one row for each item."""
        if isinstance(embeddings, Tensor) and embeddings.ndim > 1 and len(embeddings) == len(items):
            return embeddings
        got = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise ValueError(f"{type(self).__name__}.{method}: expected a tensor ({len(items)}, dim), got {got}.")

    def _notice_arithmetic(self) -> None:
        """Forget embeddings that other arithmetic gave, such as those of an earlier run in mixed precision."""
        device = self.device.type
        casts = (
            f"autocast to {torch.get_autocast_dtype(device)}" if torch.is_autocast_enabled(device) else "no autocast"
        )
        arithmetic = (f"{casts}, default {torch.get_default_dtype()}", self.dtype, self.device)
        if arithmetic != self._arithmetic:
            self.forget()
            self._arithmetic = arithmetic
