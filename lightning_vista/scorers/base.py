"""The base class of scorers: they know how to score, and nothing of the run."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn

from lightning_vista.evaluation import Evaluation, PairScores, Scores, find_evaluation, pair_scores
from lightning_vista.evaluation.progress_file import Progress
from lightning_vista.files.redaction import settings_without_secrets
from lightning_vista.scorers.prefixes import score_prefixes
from lightning_vista.video import FrameSpec, decode_video
from lightning_vista.video.video_limits import named_video
from lightning_vista.vista.batch import VideoBatch, clips_batch
from lightning_vista.vista.index import ShardIndex
from lightning_vista.vista.layout import stays_inside


@contextmanager
def evaluation_mode(scorer: nn.Module) -> Iterator[None]:
    """Put a scorer into evaluation mode, and back into the mode that each of its modules had.

    Args:
        scorer: Scorer or another module.

    Example:
        >>> scorer = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
        >>> with evaluation_mode(scorer):
        ...     inside = [part.training for part in scorer]
        >>> inside, [part.training for part in scorer]
        ([False, False], [True, False])
    """
    training = [module for module in scorer.modules() if module.training]
    if not training:
        yield
        return
    is_training = scorer.training
    scorer.eval()
    try:
        yield
    finally:
        scorer.train(is_training)  # not only the flags: scorers forget embeddings of weights that may change
        for module in scorer.modules():
            module.training = False
        for module in training:
            module.training = True


def finite_scores(values: Tensor) -> Scores:
    """Return scores in which values that are not finite, as of float16 beyond its range, are unscored.

    Args:
        values: One score for each candidate `(candidates,)`.

    Returns:
        The scores, with NaN and the reason `not_finite` where a value is infinite or NaN.

    Example:
        >>> finite_scores(torch.tensor([0.5, -torch.inf]))
        Scores(values=tensor([0.5000,    nan]), reason='not_finite', transcript=None)
    """
    finite = values.isfinite()
    return Scores(values.where(finite, torch.nan), None if finite.all() else "not_finite")


def _checked_name(name: str) -> str:
    """Return the name of a scorer, which names its run folder, unless that would lie elsewhere."""
    if not isinstance(name, str) or not stays_inside(name):
        raise ValueError(
            f"`name`: expected printable characters, and no path that leaves the folder of all runs, got {name!r:.80}. "
            "Rename the scorer."
        )
    return name


class VLMScorer(L.LightningModule, ABC):
    """A scorer of every candidate description of every video (ViSTa, section 4).

    Subclasses write `score` and, where they need other frames than 8 of 224x224 pixels, set `frame_spec`. The
    `Evaluation` callback runs them under Lightning's `test` and `predict`; `score_video` needs no trainer.

    Args:
        name: The name in tables and figures, and of the run folder; the class's name by default.
        frame_spec: The frames to score, in place of the class's own.

    Attributes:
        workspace: A folder for files that should outlive an interruption, such as paid replies; None outside a run.
        is_baseline: Whether the scores are drawn at random; reports show such a scorer in grey and leave it out of
            comparisons.

    Example:
        >>> class Brightness(VLMScorer):
        ...     def score(self, batch):
        ...         means = batch.frames.float().mean(dim=(1, 2, 3, 4))
        ...         sizes = [[len(candidates.labels) for candidates in sets] for sets in batch.candidates]
        ...         return [[Scores(mean.expand(size)) for size in row] for mean, row in zip(means, sizes)]
        >>> Brightness().score_clips(torch.ones(1, 8, 3, 224, 224).byte(), ["We see a ball", "We see a cup"])[0].values
        tensor([1., 1.])
    """

    frame_spec: FrameSpec = FrameSpec()
    workspace: Path | None = None
    is_baseline: bool = False

    def __init__(self, name: str | None = None, frame_spec: FrameSpec | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        # Loggers, checkpoints and run folders keep them.
        shown = settings_without_secrets(dict(self.hparams))
        if shown != dict(self.hparams):
            self.save_hyperparameters(shown)
        self.name = _checked_name(name or type(self).__name__)
        self.frame_spec = frame_spec or self.frame_spec

    @abstractmethod
    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        """Score a batch: frames, uint8 `(batch, frames, 3, height, width)` on this module's device, and candidates.

        Returns:
            For each video, `Scores` for each of its `candidates`, in order.
        """

    def score_video(self, video: str | Path | bytes, descriptions: Sequence[str]) -> dict[str, float]:
        """Score one video file, given by its path or content; returns description -> score, NaN where unscored.

        Like `score_clips`, it scores in evaluation mode and restores the mode of every module afterwards. Training
        mode may mean changing weights: call `eval()` first to score many clips, so that embeddings are kept.
        """
        with named_video(video) as content:
            clip = decode_video(content, self.frame_spec)
        (scores,) = self.score_clips(clip.frames[None], descriptions, [clip.times])
        return dict(zip(descriptions, scores.values.tolist(), strict=True))

    def progress(
        self, video: str | Path | bytes, description: str, points: int = 8, per_step: bool = False
    ) -> Progress:
        """Score ever longer prefixes of a video file, see `score_prefixes`."""
        return score_prefixes(self, video, description, points, per_step)

    @torch.no_grad()
    def score_clips(
        self, frames: Tensor, descriptions: Sequence[str], times: Sequence[Sequence[float]] | None = None
    ) -> list[Scores]:
        """Score clips `(batch, frames, 3, height, width)`, uint8, whose frames are as `frame_spec` says."""
        with evaluation_mode(self):
            scores = self.score(clips_batch(frames.to(self.device), descriptions, times))
        return [of_clip for (of_clip,) in scores]

    def facts(self) -> dict[str, str]:
        """Return what a report should say of the scorer, such as `licence`, `weights` and `cost`; after the run."""
        return {}

    def fingerprint(self) -> str:
        """Return what scores depend on besides arguments and weights, such as the hash of a tokenizer."""
        return ""

    def plan(self, index: ShardIndex, orders: int = 1) -> str:
        """Describe what an evaluation would do, for `Evaluation(dry_run=True)`.

        Args:
            index: Index of the videos.
            orders: Number of orders of frames in which each video is scored, the true one included.
        """
        return f"score {index.summary()}" + (f" in {orders} orders of frames" if orders > 1 else "")

    def configure_callbacks(self) -> list[L.Callback]:
        """Bring an `Evaluation`, unless the trainer has one: Lightning would replace that."""
        return [] if find_evaluation(self.trainer) else [Evaluation()]

    def test_step(self, batch: VideoBatch, batch_idx: int) -> list[PairScores]:  # type: ignore[override] # no tensors
        """Return the checked scores of a batch, with targets."""
        scores = self.score(batch.without_targets()) if len(batch) else []
        return pair_scores(batch, scores, type(self).__name__)

    def predict_step(self, batch: VideoBatch, batch_idx: int) -> list[PairScores]:
        """Return the checked scores of a batch, without targets."""
        return self.test_step(batch.without_targets(), batch_idx)
