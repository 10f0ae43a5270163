"""The judge that does not look: what any other must beat."""

import hashlib

import torch

from lightning_vista.evaluation import Scores
from lightning_vista.scorers.base import VLMScorer
from lightning_vista.video import FrameSpec
from lightning_vista.vista.batch import Candidates, VideoBatch


class RandomScorer(VLMScorer):
    """Scores drawn uniformly from [0, 1), the same for the same seed, video and problem set.

    Args:
        seed: What the draws depend on, besides the video's path and the problem set's id.
        name: See `VLMScorer`; `random` itself is the report's name for the expected value of such a judge.
    """

    frame_spec = FrameSpec(num_frames=2, size=32)

    def __init__(self, seed: int = 0, name: str | None = "random-scorer") -> None:
        super().__init__(name)
        self.seed = seed

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        """Random scores for every candidate."""
        return [
            [self._draw(question.video, candidates) for candidates in question.candidates]
            for question in batch.questions
        ]

    def _draw(self, video: str, candidates: Candidates) -> Scores:
        key = hashlib.sha256(f"{self.seed}\n{video}\n{candidates.problem_set}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
        return Scores(torch.rand(len(candidates.labels), generator=generator, dtype=torch.float64))
