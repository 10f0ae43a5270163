"""The judges that ship with the package: small dual encoders with three ways to treat time."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor, nn

from lightning_vista.evaluation import Scores
from lightning_vista.metrics import macro_f1
from lightning_vista.options import check_word
from lightning_vista.scorers.dual.heads import HEADS, MAX_CLAUSES, Head, SlotHead
from lightning_vista.scorers.dual.losses import PairBatch, across_sets, frames_to_clauses, slots_to_clauses, within_sets
from lightning_vista.scorers.dual.pretraining import (
    SHIPPED,
    SMALL_CNN,
    FrameEncoder,
    load_weights,
    one_cycle,
    save_weights,
)
from lightning_vista.scorers.dual.texts import ClauseEncoder, split_clauses
from lightning_vista.scorers.embedding import EmbeddingScorer
from lightning_vista.video import FrameSpec
from lightning_vista.vista.batch import VideoBatch

UNKNOWN_WORDS = "unknown_words"
TOO_MANY_STEPS = "too_many_steps"


class DualEncoderScorer(EmbeddingScorer):
    """Scores a description by its cosine with a video, both embedded by small networks of our own.

    `DualEncoderScorer("temporal", weights="shipped")` is ready for the embedded dataset's home world;
    `lightning-vista fit` trains other ones.

    Args:
        head: `mean` (frames by themselves, averaged: CLIP's analogue), `temporal` (a transformer over frames:
            ViCLIP's analogue) or `slot` (one slot for each step).
        weights: A file that training wrote, and that must be of the same head, or `shipped` for the weights (of the
            frame encoder too) that come with the package; None starts from scratch.
        frame_weights: A file that the pretraining of frames wrote; its tower and size then hold, and the frame encoder
            is kept as it is.
        out: The file that training writes; none if None.
        tower: `small-cnn` or any image model of timm, see `FrameEncoder`.
        size: Height and width of the frames in pixels.
        num_frames: How many frames of each video.
        vocabulary: The words of descriptions; by default those of the home world.
        allow_unknown: Whether to score descriptions with words outside the vocabulary, as if these were not there.
        learning_rate: The highest rate of AdamW; it rises for a tenth of the steps and then falls as a cosine.
        name: See `VLMScorer`; `dual-<head>` by default.

    Raises:
        FileNotFoundError: If a file of weights is absent.
        ValueError: If the head is unknown, or the weights are of another one.

    Example:
        >>> DualEncoderScorer("mean", vocabulary=["we", "see", "a", "ball"]).name
        'dual-mean'
    """

    def __init__(
        self,
        head: Head = "temporal",
        weights: str | None = None,
        frame_weights: str | None = None,
        out: str | None = None,
        tower: str = SMALL_CNN,
        size: int = 96,
        num_frames: int = 16,
        vocabulary: Sequence[str] | None = None,
        allow_unknown: bool = False,
        learning_rate: float = 1.5e-3,
        name: str | None = None,
    ) -> None:
        check_word("head", head, get_args(Head))
        super().__init__(name or f"dual-{head}")
        self.unknown: dict[str, list[str]] = {}
        self.out = out
        self.allow_unknown, self.learning_rate = allow_unknown, learning_rate
        if weights == "shipped":
            weights, frame_weights = str(SHIPPED / f"{head}.safetensors"), str(SHIPPED / "frames.safetensors")
        self.frame_weights = frame_weights
        settings, state = load_weights(weights) if weights else ({}, {})
        if settings and settings["head"] != head:
            raise ValueError(f"{weights} holds the head {settings['head']!r}: give head={settings['head']!r}.")
        frame_settings, frame_state = load_weights(frame_weights) if frame_weights else ({}, {})
        self.settings: dict[str, Any] = settings or {
            "head": head,
            "num_frames": num_frames,
            "vocabulary": list(vocabulary or _home_vocabulary()),
            **(frame_settings or {"tower": tower, "size": size, "dim": 192}),
        }
        # Not by way of the base class: a FrameSpec among the hyper-parameters keeps checkpoints from being loaded.
        self.frame_spec = FrameSpec(self.settings["num_frames"], size=self.settings["size"])
        self.frames = FrameEncoder(self.settings["tower"], self.settings["size"], self.settings["dim"])
        self.head = HEADS[head](self.settings["dim"], self.settings["vocabulary"], self.settings["num_frames"])
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        if frame_state:
            self.frames.load_state_dict(frame_state)
            self.frames.requires_grad_(False)
        if state:
            self._load(state)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words that it knows."""
        return tuple(self.settings["vocabulary"])

    def forget(self) -> None:
        """Forget the embeddings of descriptions, and which words were not known in them."""
        super().forget()
        self.unknown.clear()

    def warn_of_unread(self) -> None:
        """Warn which words were not known."""
        super().warn_of_unread()
        if self.unknown:
            words = sorted({word for words in self.unknown.values() for word in words})
            asked = len(self._embedded_texts)
            warnings.warn(
                f"{self.name} does not know the words {', '.join(words)}: {len(self.unknown)} of {asked} descriptions "
                f"({len(self.unknown) / asked:.0%}) have some and "
                + ("were scored without them." if self.allow_unknown else "are unscored (allow_unknown scores them)."),
                stacklevel=2,
            )

    def embed_videos(self, frames: Tensor) -> Tensor:
        """Embed videos `(batch, dim)`."""
        return self.head.embed_videos(self._features(frames)).whole

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed descriptions `(texts, dim)`; one with too many steps gives NaN."""
        for text in texts:
            words = self._clauses.unknown_words(text)
            if words:
                self.unknown[text] = words
        short = [text if len(split_clauses(text)) <= MAX_CLAUSES else "" for text in texts]
        is_long = torch.tensor([not text for text in short], device=self.device)
        return self.head.embed_texts(short).whole.masked_fill(is_long[:, None], math.nan)

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        """The cosine of each video with each description; NaN, with a reason, where that cannot be read."""
        scores = super().score(batch)
        return [
            [self._checked(each, candidates.descriptions) for each, candidates in zip(row, sets, strict=True)]
            for row, sets in zip(scores, batch.candidates, strict=True)
        ]

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """The sum of what `dual.losses` has.

        Args:
            batch: Problem sets of the train split.
            batch_idx: Not used.
        """
        videos = self.head.embed_videos(self._features(batch.frames))
        texts = self.head.embed_texts(batch.texts)
        scale = self.log_scale.exp().clamp(max=100)
        logits = scale * videos.whole @ texts.whole.T
        losses = {
            "within": within_sets(logits, batch),
            "across": 0.5 * across_sets(logits, batch),
            "frames": frames_to_clauses(videos.parts, texts.parts, batch),
        }
        if videos.slots is not None and texts.slots is not None:
            losses["slots"] = slots_to_clauses(videos.slots, texts.slots, scale, batch)
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, prog_bar=True)
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Log the macro F1 of problem sets, by level and over all.

        Args:
            batch: Problem sets of the validation split.
            batch_idx: Not used.
        """
        scores = self.embed_videos(batch.frames) @ self.head.embed_texts(batch.texts).whole.T
        for group in range(int(batch.video_groups.max()) + 1):
            videos = batch.video_groups == group
            texts = (batch.text_groups == group).nonzero().flatten()
            predicted = texts[scores[videos][:, texts].argmax(1)]
            f1 = macro_f1(predicted[:, None] == texts, batch.answers[videos][:, None] == texts).float()
            level = int(batch.levels[texts[0]])
            self.log_dict({"val/macro_f1": f1, f"val/macro_f1/level_{level}": f1}, on_epoch=True, batch_size=1)

    def configure_optimizers(self) -> Any:  # one of Lightning's many forms
        """AdamW with one cycle of the learning rate."""
        return one_cycle(self, self.learning_rate)

    def on_train_end(self) -> None:
        """Write the weights; those of a frozen frame encoder have a file already."""
        if self.out is not None and self.trainer.is_global_zero:
            trained = nn.ModuleDict(
                {"head": self.head} if self.frame_weights else {"head": self.head, "frames": self.frames}
            )
            save_weights(trained, self.settings, self.out)

    @property
    def _clauses(self) -> ClauseEncoder:
        return self.head.clauses if isinstance(self.head, SlotHead) else self.head.texts.clauses

    def _features(self, frames: Tensor) -> Tensor:
        """Features of frames `(videos, frames, features)`; what are features already stay as they are."""
        if frames.ndim == 3:
            return frames.to(self.log_scale.dtype)
        if self.frame_weights:
            self.frames.eval()
        with torch.autocast(frames.device.type, torch.bfloat16):
            features: Tensor = self.frames(frames.flatten(0, 1))
        return features.float().reshape(*frames.shape[:2], -1)

    def _load(self, state: dict[str, Tensor]) -> None:
        """Take over trained weights."""
        found = self.load_state_dict(state, strict=False)
        absent = [name for name in found.missing_keys if name.startswith("head.")]
        if absent or found.unexpected_keys:
            raise ValueError(f"These weights do not fit: missing {absent}, unexpected {found.unexpected_keys}.")

    def _checked(self, scores: Scores, descriptions: Sequence[str]) -> Scores:
        """Scores without those of descriptions that cannot be read."""
        if scores.values.isnan().any():
            return replace(scores, reason=TOO_MANY_STEPS)
        unknown = [text in self.unknown and not self.allow_unknown for text in descriptions]
        if not any(unknown):
            return scores
        hidden = torch.tensor(unknown, device=scores.values.device)
        return Scores(scores.values.masked_fill(hidden, math.nan), UNKNOWN_WORDS)


def _home_vocabulary() -> tuple[str, ...]:
    """The words of the home world; imported here because it takes seconds, and only training needs it."""
    from lightning_vista.mini import WORLDS

    return tuple(WORLDS["home"].vocabulary)
