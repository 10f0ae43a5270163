"""The scorers that ship with the package: small dual encoders with three treatments of time."""

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor, nn

from lightning_vista.evaluation import Scores
from lightning_vista.options import check_word
from lightning_vista.scorers.dual.heads import (
    HEADS,
    MAX_CLAUSES,
    Head,
    SlotHead,
    add_modules,
    cut_modules,
)
from lightning_vista.scorers.dual.losses import PairBatch, across_sets, frames_to_clauses, slots_to_clauses, within_sets
from lightning_vista.scorers.dual.pretraining import (
    SHIPPED,
    SMALL_CNN,
    FrameEncoder,
    frame_file,
    load_weights,
    save_weights,
)
from lightning_vista.scorers.dual.texts import ClauseEncoder, split_clauses
from lightning_vista.scorers.pair_training import PairTraining
from lightning_vista.video import FrameSpec
from lightning_vista.vista.batch import VideoBatch

UNKNOWN_WORDS = "unknown_words"
TOO_MANY_STEPS = "too_many_steps"
#: Names of the package's own weights -> their files.
_SHIPPED = {"shipped": "{head}.safetensors", "shipped-order": "temporal-order.safetensors"}


class DualEncoderScorer(PairTraining):
    """A scorer by the cosine of a description with a video, both embedded by small networks of our own.

    `DualEncoderScorer("temporal", weights="shipped")` is ready for the embedded dataset's home world. Train others with
    `lightning-vista fit`.

    Args:
        head: Treatment of time: `mean` (the average over separate frames, as in CLIP), `temporal` (a transformer over
            frames, as in ViCLIP) or `slot` (one slot for each step).
        weights: File that training wrote with the same head, or `shipped` for the package's own weights (including
            those of the frame encoder), or `shipped-order` for those of a head `temporal` whose module `order` only
            permutation sets have trained; None starts from scratch.
        frame_weights: File that the pretraining of frames wrote, or `shipped` for the package's own. Its tower and size
            replace the arguments, and the frame encoder is frozen.
        out: File for the weights after training; None writes no file.
        tower: `small-cnn` or the name of an image model of timm, see `FrameEncoder`.
        size: Height and width of the frames in pixels.
        num_frames: Number of frames of each video.
        vocabulary: Words of descriptions; by default those of `worlds`.
        worlds: Worlds of the embedded dataset whose words the scorer learns.
        allow_unknown: Whether to score descriptions with words outside the vocabulary, ignoring these words.
        learning_rate: Highest AdamW learning rate; it rises for a tenth of the steps and then falls as a cosine.
        layers: Number of layers of the transformer over frames, for the head `temporal` only; 3 by default.
        modules: Names of modules on top of the parts of the head that see frames and clauses, see `add_modules`: routes
            can train them on problem sets of some types only. `weights` have their own.
        without: Names of modules of `weights` to cut off: a capability profile of the scorer.
        name: Name in tables and figures; `dual-<head>` by default.

    Raises:
        FileNotFoundError: If a file of weights does not exist.
        ValueError: If the head or tower is unknown, or the weights belong to another head.

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
        worlds: Sequence[str] = ("home",),
        allow_unknown: bool = False,
        learning_rate: float = 1.5e-3,
        layers: int | None = None,
        modules: Sequence[str] = (),
        without: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        check_word("head", head, get_args(Head))
        super().__init__(name or f"dual-{head}")
        if layers is not None and head != "temporal":
            raise ValueError(f"`layers`: expected None for the head {head!r}, got {layers}. Leave it out.")
        self.unknown: dict[str, list[str]] = {}
        self.out = out
        self.allow_unknown, self.learning_rate = allow_unknown, learning_rate
        self._is_shipped = weights in _SHIPPED
        if weights in _SHIPPED:
            weights, frame_weights = str(SHIPPED / _SHIPPED[weights].format(head=head)), "shipped"
        self.frame_weights = frame_weights = frame_file(frame_weights)
        settings, state = load_weights(weights) if weights else ({}, {})
        if settings and settings["head"] != head:
            raise ValueError(
                f"`head`: expected {settings['head']!r}, the head in {weights}, got {head!r}. Give that head, or other "
                "weights."
            )
        frame_settings, frame_state = load_weights(frame_weights) if frame_weights else ({}, {})
        self.settings: dict[str, Any] = settings or {
            "head": head,
            "num_frames": num_frames,
            "vocabulary": list(vocabulary or _vocabulary(worlds)),
            "modules": list(modules),
            **({} if layers is None else {"layers": layers}),
            **(frame_settings or {"tower": tower, "size": size, "dim": 192}),
        }
        # Not through the base class: with a FrameSpec among the hyperparameters, torch refuses to load a checkpoint.
        self.frame_spec = FrameSpec(self.settings["num_frames"], size=self.settings["size"])
        self.frames = FrameEncoder(self.settings["tower"], self.settings["size"], self.settings["dim"])
        sizes = {name: self.settings[name] for name in ("layers",) if name in self.settings}
        self.head = HEADS[head](self.settings["dim"], self.settings["vocabulary"], self.settings["num_frames"], **sizes)
        add_modules(self.head, self.settings.get("modules", []))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        if frame_state:
            self.frames.load_state_dict(frame_state)
            self.frames.requires_grad_(False)
        if state:
            self._load(state)
        cut_modules(self.head, without)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Words that the scorer knows."""
        return tuple(self.settings["vocabulary"])

    def facts(self) -> dict[str, str]:
        """Return the number of parameters and, of the package's own weights, their licence."""
        parameters = f"{sum(parameter.numel() for parameter in self.parameters()):,}"
        own = {"weights": "shipped with the package", "licence": "Apache-2.0"} if self._is_shipped else {}
        return {"parameters": parameters, **own}

    def fingerprint(self) -> str:
        """Return the settings in the weight file, such as the words in the order of their embeddings."""
        return json.dumps(self.settings, sort_keys=True)

    def forget(self) -> None:
        """Forget the embeddings of descriptions, their unknown words, and the features of frames."""
        super().forget()
        self.unknown.clear()

    def warn_of_unread(self) -> None:
        """Warn about unknown words."""
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
        """Return unit-length embeddings of videos `(batch, dim)`, float.

        Args:
            frames: RGB frames `(batch, frames, 3, height, width)`, uint8.
        """
        return self.head.embed_videos(self._features(frames)).whole

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit-length embeddings of descriptions `(texts, dim)`, float32; NaN for one with too many steps."""
        for text in texts:
            words = self._clauses.unknown_words(text)
            if words:
                self.unknown[text] = words
        short = [text if len(split_clauses(text)) <= MAX_CLAUSES else "" for text in texts]
        is_long = torch.tensor([not text for text in short], device=self.device)
        return self.head.embed_texts(short).whole.masked_fill(is_long[:, None], math.nan)

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        """Compute the cosine of each video with each description; NaN, with a reason, for unreadable descriptions."""
        scores = super().score(batch)
        return [
            [self._checked(each, candidates.descriptions) for each, candidates in zip(row, sets, strict=True)]
            for row, sets in zip(scores, batch.candidates, strict=True)
        ]

    def scale(self) -> Tensor:
        """Return the factor of dot products before the softmax, a scalar of at most 100."""
        return self.log_scale.exp().clamp(max=100)

    def embed_pairs(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Return the embeddings of videos and descriptions."""
        return self.embed_videos(batch.frames), self.head.embed_texts(batch.texts).whole

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the terms of the loss, see `dual.losses`."""
        videos = self.head.embed_videos(self._features(batch.frames))
        texts = self.head.embed_texts(batch.texts)
        scale = self.scale()
        logits = scale * videos.whole @ texts.whole.T
        losses = {
            "within": within_sets(logits, batch),
            "across": 0.5 * across_sets(logits, batch),
            "frames": frames_to_clauses(videos.parts, texts.parts, batch),
        }
        if videos.slots is not None and texts.slots is not None:
            losses["slots"] = slots_to_clauses(videos.slots, texts.slots, scale, batch)
        return losses

    def on_train_end(self) -> None:
        """Write the weights, except those of a frozen frame encoder, which have their own file."""
        if self.out is not None and self.trainer.is_global_zero:
            trained = nn.ModuleDict(
                {"head": self.head} if self.frame_weights else {"head": self.head, "frames": self.frames}
            )
            save_weights(trained, self.settings, self.out)

    @property
    def _clauses(self) -> ClauseEncoder:
        return self.head.clauses if isinstance(self.head, SlotHead) else self.head.texts.clauses

    def _features(self, frames: Tensor) -> Tensor:
        """Return features of frames `(videos, frames, features)`; an input of features is returned unchanged."""
        if frames.ndim == 3:
            return frames.to(self.log_scale.dtype)
        if self.frame_weights:
            self.frames.eval()  # Lightning's `train()` would let the batch norms of the frozen encoder drift
        # Not where the trainer's precision has cast the weights: autocast would mix its type with theirs.
        is_single = self.log_scale.dtype == torch.float32
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=is_single):
            features = self.encode_frames(frames.flatten(0, 1), self.frames)
        return features.to(self.log_scale.dtype).reshape(*frames.shape[:2], -1)

    def _load(self, state: dict[str, Tensor]) -> None:
        """Load trained weights."""
        found = self.load_state_dict(state, strict=False)
        absent = [name for name in found.missing_keys if name.startswith("head.")]
        if absent or found.unexpected_keys:
            raise ValueError(
                f"`weights`: expected those of this network, got missing {absent}, unexpected {found.unexpected_keys}. "
                "Give a file that training wrote with this release."
            )

    def _checked(self, scores: Scores, descriptions: Sequence[str]) -> Scores:
        """Return the scores with NaN for descriptions that the scorer cannot read."""
        if scores.values.isnan().any():
            return replace(scores, reason=TOO_MANY_STEPS)
        unknown = [text in self.unknown and not self.allow_unknown for text in descriptions]
        if not any(unknown):
            return scores
        hidden = torch.tensor(unknown, device=scores.values.device)
        return Scores(scores.values.masked_fill(hidden, math.nan), UNKNOWN_WORDS)


def _vocabulary(worlds: Sequence[str]) -> list[str]:
    """Return the words of worlds; imported here because that takes seconds, and only training needs it."""
    from lightning_vista.mini import WORLDS

    for world in worlds:
        check_word("worlds", world, WORLDS)
    return list(dict.fromkeys(word for world in worlds for word in WORLDS[world].vocabulary))
