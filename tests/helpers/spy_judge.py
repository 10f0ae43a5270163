"""A judge that remembers what it was shown, and an environment whose frames tell when they were drawn."""

from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from lightning_vista.scorers import Scores, VLMScorer
from lightning_vista.video import FrameSpec
from lightning_vista.vista.batch import VideoBatch

Counting = gymnasium.Env[NDArray[np.float32], np.int64]


class SpyJudge(VLMScorer):
    """Scores each description with its length plus the mean of the last frame; remembers all batches.

    Args:
        num_frames: How many frames it looks at.
        unscored: Whether it gives no scores.
    """

    def __init__(self, num_frames: int = 4, unscored: bool = False) -> None:
        super().__init__()
        self.frame_spec = FrameSpec(num_frames, size=None)
        self.unscored = unscored
        self.batches: list[VideoBatch] = []

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        self.batches.append(batch)
        return [
            [self._scores(frames, candidates.descriptions) for candidates in sets]
            for frames, sets in zip(batch.frames, batch.candidates, strict=True)
        ]

    def _scores(self, frames: torch.Tensor, descriptions: tuple[str, ...]) -> Scores:
        values = torch.tensor([float(len(text)) for text in descriptions]) + stamp(frames[-1].permute(1, 2, 0).numpy())
        return Scores(values * torch.nan, "refusal") if self.unscored else Scores(values)

    @property
    def seen(self) -> list[list[list[int]]]:
        """The stamps of all frames, batch by batch and video by video."""
        return [
            [[stamp(frame.permute(1, 2, 0).numpy()) for frame in video] for video in b.frames] for b in self.batches
        ]


class CountingEnv(Counting):
    """Episodes of a given length with 7 a step, whose frames hold `100 * episode + step`; a seed begins with 1 again.

    Args:
        length: Steps of an episode.
        render_mode: As Gymnasium names it.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012  as Gymnasium declares it

    def __init__(self, length: int, render_mode: str | None = "rgb_array") -> None:
        self.length, self.render_mode = length, render_mode
        self.observation_space = gymnasium.spaces.Box(0, 1e6, (1,))
        self.action_space = gymnasium.spaces.Discrete(2)
        self.episode = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.now = (1 if seed is not None else self.episode + 1), 0
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.now += 1
        return self._observe(), 7.0, self.now == self.length, False, {}

    def render(self) -> NDArray[np.uint8]:
        frame = np.zeros((4, 6, 3), np.uint8)
        frame[0, 0, :2] = self.episode, self.now
        return frame

    def _observe(self) -> NDArray[np.float32]:
        return np.array([100 * self.episode + self.now], np.float32)


def stamp(frame: NDArray[np.uint8]) -> int:
    """When a frame was drawn: `100 * episode + step`."""
    return 100 * int(frame[0, 0, 0]) + int(frame[0, 0, 1])
