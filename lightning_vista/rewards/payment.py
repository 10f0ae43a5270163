"""Payment of rewards by a judge: the score of a film, or the growth of its potential since the last judgement."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lightning_vista.options import check_word
from lightning_vista.rewards.film import Film, Image, Schedule
from lightning_vista.rewards.video_judge import VideoJudge

RewardMode = Literal["score", "potential"]


class Payment:
    """Payment of the rewards of one or several environments.

    With `score`, a judged film earns its score. With `potential`, it earns the difference from the potential at the
    last judgement (potential-based rewards; Ng, Harada and Russell, 1999, without a discount). The potential of a film
    is its score, so the rewards of an episode add up to the score of its end minus that of its first frame. With a
    judge that scores step by step, the potential is the mean, over the steps, of the highest score so far: a step that
    was done stays done, although later frames may fit its description less.

    Args:
        judge: Judge of the films.
        mode: `score` or `potential`.
        schedule: Schedule of judging; `potential` needs an interval.
        num_films: Number of films, one for each environment.

    Raises:
        ValueError: If the mode is unknown, or `potential` lacks an interval or has a judge that refuses short films.

    Example:
        >>> from lightning_vista.scorers import RandomScorer
        >>> judge = VideoJudge(RandomScorer(), "We go to the red ball")
        >>> Payment(judge, "potential", Schedule(every=4), num_films=2).mode
        'potential'
    """

    def __init__(self, judge: VideoJudge, mode: RewardMode, schedule: Schedule, num_films: int) -> None:
        check_word("mode", mode, get_args(RewardMode))
        if mode == "potential" and schedule.every is None:
            raise ValueError("`every`: expected an interval with mode='potential', got None. Set it, such as every=4.")
        if mode == "potential" and judge.judge.frame_spec.sampling != "uniform":
            raise ValueError(
                "`judge`: expected a scorer with uniform sampling for mode='potential', since films are short at "
                f"first, got {judge.judge.frame_spec.sampling!r}. Set its sampling, or use mode='score'."
            )
        self.judge, self.mode, self.schedule = judge, mode, schedule
        self._reached = np.zeros((num_films, judge.num_values))

    def begin(self, films: Mapping[int, Film]) -> None:
        """Record the potentials of films that have just begun; keys are numbers of films."""
        if self.mode == "potential" and films:
            self._reached[list(films)] = self._values(films)

    def rewards(self, films: Mapping[int, Film]) -> NDArray[np.float64]:
        """Return the rewards of films `(films,)` that are to be judged, with one call of the scorer."""
        values = self._values(films)
        if self.mode == "score":
            return np.asarray(values.mean(axis=1), dtype=np.float64)
        numbers = list(films)
        before = self._reached[numbers]
        after = np.maximum(before, values) if self.judge.per_step else values
        self._reached[numbers] = after
        return np.asarray((after - before).mean(axis=1), dtype=np.float64)

    def _values(self, films: Mapping[int, Film]) -> NDArray[np.float64]:
        return self.judge.values([film.frames for film in films.values()])


def episode_rewards(
    judge: VideoJudge, mode: RewardMode, schedule: Schedule, episodes: Sequence[Sequence[Image] | Image]
) -> NDArray[np.float64]:
    """Return what whole episodes would earn.

    Args:
        judge: Judge of the films.
        mode: `score` or `potential`, see `Payment`.
        schedule: Schedule of judging.
        episodes: Frames of each episode, RGB `(height, width, 3)`, uint8; all episodes are equally long.

    Returns:
        Sum of the rewards of each episode `(episodes,)`.
    """
    payment = Payment(judge, mode, schedule, len(episodes))
    films = {number: Film(schedule) for number in range(len(episodes))}
    for film, (first, *_) in zip(films.values(), episodes, strict=True):
        film.begin(first)
    payment.begin(films)
    total = np.zeros(len(episodes))
    length = len(episodes[0])
    for time in range(1, length):
        ended = time == length - 1
        due = [film.add(episodes[number][time], ended) for number, film in films.items()]
        if all(due):  # equally long episodes are judged at the same times
            total += payment.rewards(films)
    return total
