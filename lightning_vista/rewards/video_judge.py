"""From the frames of episodes to rewards: a judge is asked how well a description fits them."""

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

Image = NDArray[np.uint8]
#: Rewards that are remembered; the oldest are forgotten first.
_REMEMBERED = 200_000


class VideoJudge:
    """Rewards videos by what a judge says of a task's description.

    The reward is the description's score. With wrong descriptions it is that minus the highest of theirs: above 0
    exactly where the judge, asked to choose, would choose the right one. (Less the mean of theirs, a video would gain
    by looking less like one wrong description and no more like the right one.) The same frames are judged once.

    Args:
        judge: Any scorer; it looks at the frames that its `frame_spec` asks for, on its own device. A chat judge
            without a trainer must be told where to keep its replies (`cache`).
        description: What is to be done.
        wrong: Descriptions of what is to be avoided, such as the same steps in another order.
        max_videos: How many videos may be judged, for judges that cost money; those that are known are free.
        unscored: The reward of a video that the judge cannot score; None stops with an error.

    Attributes:
        judged: How many videos have been judged.
        reasons: Reason -> the number of videos that were unscored for it.

    Raises:
        ValueError: If a number is outside its range; while it judges, if a video is unscored.
        BudgetError: While it judges, if `max_videos` does not allow it.

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
    ) -> None:
        if max_videos is not None and max_videos < 1:
            raise ValueError(f"max_videos: expected at least 1, got {max_videos}; None is no limit.")
        self.judge, self.max_videos, self.unscored = judge.eval(), max_videos, unscored
        descriptions = (description, *wrong)
        self.descriptions = descriptions
        self.judged = 0
        self.reasons: Counter[str] = Counter()
        self._known: dict[str, float] = {}

    def rewards(self, videos: Sequence[Sequence[Image] | Image]) -> NDArray[np.float64]:
        """Judge videos, all that are new in one call.

        Args:
            videos: The frames of each, RGB `(height, width, 3)`, uint8.

        Returns:
            Rewards `(videos,)`.
        """
        shown = [self._sample(video) for video in videos]
        keys = [hashlib.sha256(str(frames.shape).encode() + frames.tobytes()).hexdigest() for frames in shown]
        new = {key: frames for key, frames in zip(keys, shown, strict=True) if key not in self._known}
        if new:
            self._judge(new)
        rewards = np.array([self._known[key] for key in keys])
        while len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return rewards

    def close(self) -> None:
        """End what the judge holds open, such as the connections of a chat judge."""
        self.judge.teardown("predict")

    def _sample(self, video: Sequence[Image] | Image) -> Image:
        spec = self.judge.frame_spec
        return np.stack([video[index] for index in sample_indices(len(video), spec.num_frames, spec.sampling)])

    def _judge(self, videos: Mapping[str, Image]) -> None:
        """Score videos and remember their rewards."""
        if self.max_videos is not None and self.judged + len(videos) > self.max_videos:
            raise BudgetError(
                f"max_videos of {self.max_videos} does not allow to judge {len(videos)} more, {self.judged} are judged:"
                " raise it, judge less often, or train for fewer steps."
            )
        frames = [
            resize_frames(torch.from_numpy(each).permute(0, 3, 1, 2), self.judge.frame_spec) for each in videos.values()
        ]
        scores = self.judge.score_clips(torch.stack(frames), self.descriptions)
        self.judged += len(videos)
        # Those with a score come first: they are remembered before another one may raise.
        for key, of_video in sorted(zip(videos, scores, strict=True), key=lambda item: _is_unscored(item[1])):
            self._known[key] = self._reward(of_video)

    def _reward(self, scores: Scores) -> float:
        """Return the reward of a video."""
        if _is_unscored(scores):
            reason = scores.reason or "the scorer gave NaN"
            self.reasons[reason] += 1
            if self.unscored is None:
                raise ValueError(
                    f"{self.judge.name} gives no score, for the reason {reason!r}, to "
                    f"{' / '.join(self.descriptions)}: use descriptions that it can read, or set `unscored`."
                )
            return self.unscored
        right, *wrong = scores.values.tolist()
        return float(right - max(wrong, default=0.0))


def _is_unscored(scores: Scores) -> bool:
    return bool(scores.values.isnan().any())
