"""A scorer that draws random scores: the chance level for all others."""

import hashlib

import torch

from lightning_vista.evaluation import Scores
from lightning_vista.scorers.base import VLMScorer
from lightning_vista.video import FrameSpec
from lightning_vista.vista.batch import Candidates, VideoBatch


class RandomScorer(VLMScorer):
    """A scorer whose scores are drawn uniformly from [0, 1): equal for the same seed, video and problem set.

    Args:
        seed: Random seed, combined with the video's path and the problem set's id.
        name: Name in tables and figures. The name `random` is reserved for the report's expected value of chance.

    Example:
        >>> frames = torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8)
        >>> first, again = (RandomScorer().score_clips(frames, ["We see a ball", "We see a cup"]) for _ in range(2))
        >>> torch.equal(first[0].values, again[0].values)
        True
    """

    frame_spec = FrameSpec(num_frames=2, size=32)
    is_baseline = True

    def __init__(self, seed: int = 0, name: str | None = "random-scorer") -> None:
        super().__init__(name)
        self.seed = seed

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        """Draw a score for every candidate."""
        return [
            [self._draw(question.video, candidates) for candidates in question.candidates]
            for question in batch.questions
        ]

    def _draw(self, video: str, candidates: Candidates) -> Scores:
        key = hashlib.sha256(f"{self.seed}\n{video}\n{candidates.problem_set}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
        return Scores(torch.rand(len(candidates.labels), generator=generator, dtype=torch.float64))
