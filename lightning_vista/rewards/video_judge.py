"""Rewards of episodes, by a scorer that tells how well a description fits their frames."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_vista.evaluation import Scores
from lightning_vista.scorers import VLMScorer
from lightning_vista.scorers.chat.budget import BudgetError
from lightning_vista.video import sample_indices
from lightning_vista.video.resizing import resize_frames
from lightning_vista.vista.sequences import beginnings

Image = NDArray[np.uint8]
#: Number of rewards to remember; the oldest are dropped first.
_REMEMBERED = 200_000


class VideoJudge:
    """Judge that rewards videos by a scorer's score of a task's description.

    The reward is the description's score. With wrong descriptions, the reward is the difference from the highest of
    their scores. It is positive exactly where the scorer would choose the right description. (With the mean of their
    scores, a video would gain by being less like one wrong description, without being more like the right one.) With
    `per_step`, a video has one value for each step, the score of the description of the steps up to it, and its reward
    is their mean. Equal frames are judged once.

    Args:
        judge: Scorer, which gets the frames of its `frame_spec`, on its own device. A chat scorer without a trainer
            needs a place for its replies (`cache`).
        description: Description of the task.
        wrong: Descriptions of what to avoid, such as the same steps in another order.
        max_videos: Highest number of videos to judge, for scorers that cost money; known videos are free.
        unscored: Reward of a video that the scorer cannot score; None to raise an error.
        per_step: Whether to score the beginnings of the description, see `beginnings`. This excludes `wrong`.

    Attributes:
        descriptions: Descriptions that the scorer scores.
        judged: Number of judged videos.
        reasons: Number of unscored videos for each reason.

    Raises:
        ValueError: If a number is outside its range, or `per_step` does not fit the descriptions; while judging, if a
            video is unscored.
        BudgetError: While judging, if `max_videos` would be exceeded.

    Example:
        >>> from lightning_vista.scorers import RandomScorer
        >>> judge = VideoJudge(RandomScorer(), "We go to the red ball")
        >>> video = np.zeros((5, 16, 16, 3), np.uint8)
        >>> rewards = judge.rewards([video, video])
        >>> rewards.shape, judge.judged
        ((2,), 1)
    """

    def __init__(
        self,
        judge: VLMScorer,
        description: str,
        wrong: Sequence[str] = (),
        max_videos: int | None = None,
        unscored: float | None = None,
        per_step: bool = False,
    ) -> None:
        if max_videos is not None and max_videos < 1:
            raise ValueError(f"`max_videos`: expected at least 1, got {max_videos}. Use None for no limit.")
        self.judge, self.max_videos, self.unscored, self.per_step = judge.eval(), max_videos, unscored, per_step
        self.descriptions = beginnings(description) if per_step else (description, *wrong)
        if per_step and wrong:
            raise ValueError(
                f"`wrong`: expected none with per_step=True, got {len(wrong)}. Leave out one of the two options."
            )
        if per_step and len(self.descriptions) < 2:
            raise ValueError(
                "`description`: expected several steps with per_step=True, such as 'First, we ..., and then we ...', "
                f"got {description!r}. Use that wording, or per_step=False."
            )
        self.judged = 0
        self.reasons: Counter[str] = Counter()
        self._known: dict[bytes, NDArray[np.float64]] = {}

    @property
    def num_values(self) -> int:
        """Number of values of a video: that of the steps with `per_step`, and else 1."""
        return len(self.descriptions) if self.per_step else 1

    def rewards(self, videos: Sequence[Sequence[Image] | Image]) -> NDArray[np.float64]:
        """Judge videos, with one call of the scorer for all new ones.

        Args:
            videos: Frames of each video, RGB `(height, width, 3)`, uint8.

        Returns:
            Rewards `(videos,)`.
        """
        return np.asarray(self.values(videos).mean(axis=1), dtype=np.float64)

    def values(self, videos: Sequence[Sequence[Image] | Image]) -> NDArray[np.float64]:
        """Judge videos as `rewards` does, and return their values, one for each step with `per_step`.

        Args:
            videos: Frames of each video, RGB `(height, width, 3)`, uint8.

        Returns:
            Values `(videos, num_values)`.
        """
        shown = [self._sample(video) for video in videos]
        keys = _keys(shown)
        new = {key: frames for key, frames in zip(keys, shown, strict=True) if key not in self._known}
        if new:
            self._judge({key: np.stack(frames) for key, frames in new.items()})
        values = np.array([self._known[key] for key in keys]).reshape(len(keys), self.num_values)
        # After the values are read, since this call may have added more videos than are remembered.
        while len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return values

    def close(self) -> None:
        """Close the resources of the scorer, such as the connections of a chat scorer."""
        self.judge.teardown("predict")

    def _sample(self, video: Sequence[Image] | Image) -> list[Image]:
        spec = self.judge.frame_spec
        return [video[index] for index in sample_indices(len(video), spec.num_frames, spec.sampling)]

    def _judge(self, videos: Mapping[bytes, Image]) -> None:
        """Score videos and remember their values."""
        if self.max_videos is not None and self.judged + len(videos) > self.max_videos:
            raise BudgetError(
                f"`max_videos`: expected at least {self.judged + len(videos)} for {len(videos)} new videos after "
                f"{self.judged}, got {self.max_videos}. Raise it, judge less often, or train for fewer steps."
            )
        frames = [
            resize_frames(torch.from_numpy(each).permute(0, 3, 1, 2), self.judge.frame_spec) for each in videos.values()
        ]
        scores = self.judge.score_clips(torch.stack(frames), self.descriptions)
        self.judged += len(videos)
        # Scored videos come first, so that they are remembered before an unscored one raises an error.
        for key, of_video in sorted(zip(videos, scores, strict=True), key=lambda item: _is_unscored(item[1])):
            self._known[key] = self._values(of_video)

    def _values(self, scores: Scores) -> NDArray[np.float64]:
        """Return the values of a video."""
        if _is_unscored(scores):
            reason = scores.reason or "the scorer gave NaN"
            self.reasons[reason] += 1
            if self.unscored is None:
                raise ValueError(
                    f"`descriptions`: expected scores from {self.judge.name}, got none for the reason {reason!r} with "
                    f"{' / '.join(self.descriptions)}. Use descriptions that it can read, or set `unscored`."
                )
            return np.full(self.num_values, self.unscored)
        right, *wrong = scores.values.tolist()
        return np.array([right, *wrong] if self.per_step else [right - max(wrong, default=0.0)])


def _keys(videos: Sequence[Sequence[Image]]) -> list[bytes]:
    """Return the hash of each video's frames; an array that several videos share is hashed once."""
    frames = {id(frame): frame for video in videos for frame in video}
    digests = {number: _digest(frame) for number, frame in frames.items()}
    return [hashlib.sha256(b"".join(digests[id(frame)] for frame in video)).digest() for video in videos]


def _digest(frame: Image) -> bytes:
    return hashlib.sha256(str(frame.shape).encode() + frame.tobytes()).digest()


def _is_unscored(scores: Scores) -> bool:
    return bool(scores.values.isnan().any())
