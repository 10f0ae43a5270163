import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from spy_judge import SpyJudge

from lightning_vista.rewards import VideoJudge
from lightning_vista.scorers import DualEncoderScorer, Scores
from lightning_vista.scorers.chat.budget import BudgetError
from lightning_vista.vista.batch import VideoBatch


def video(episode: int, frames: int = 5) -> list[NDArray[np.uint8]]:
    film = np.zeros((frames, 4, 6, 3), np.uint8)
    film[:, 0, 0, 0], film[:, 0, 0, 1] = episode, range(frames)
    return list(film)


def test_the_reward_is_the_score_of_the_description_on_sampled_frames() -> None:
    spy = SpyJudge(num_frames=3)
    rewards = VideoJudge(spy, "four").rewards([video(1), video(2, frames=9)])
    assert rewards.tolist() == [4 + 104, 4 + 208]
    assert spy.seen == [[[100, 102, 104], [200, 204, 208]]]


def test_wrong_descriptions_count_by_the_best_of_them() -> None:
    rewards = VideoJudge(SpyJudge(), "four", wrong=["a", "sixsix"]).rewards([video(1)])
    assert rewards.tolist() == [4 - 6]


def test_the_same_frames_are_judged_once_and_cost_nothing_again() -> None:
    spy = SpyJudge(num_frames=3)
    judge = VideoJudge(spy, "four", max_videos=2)
    first = judge.rewards([video(1), video(1), video(2)])
    again = judge.rewards([video(2), video(1)])
    assert first.tolist() == [108, 108, 208]
    assert again.tolist() == [208, 108]
    assert judge.judged == 2
    assert [len(batch) for batch in spy.batches] == [2]


def test_the_budget_ends_before_it_is_passed() -> None:
    spy = SpyJudge()
    judge = VideoJudge(spy, "four", max_videos=2)
    judge.rewards([video(1)])
    with pytest.raises(BudgetError, match="`max_videos`: expected at least 3 for 2 new videos after 1, got 2"):
        judge.rewards([video(2), video(3)])
    assert len(spy.batches) == 1


def test_a_video_without_a_score_is_an_error_or_what_was_chosen_and_counted() -> None:
    with pytest.raises(ValueError, match="'refusal' with four. Use descriptions that it can read"):
        VideoJudge(SpyJudge(unscored=True), "four").rewards([video(1)])
    lenient = VideoJudge(SpyJudge(unscored=True), "four", unscored=-0.5)
    assert lenient.rewards([video(1), video(2)]).tolist() == [-0.5, -0.5]
    assert lenient.reasons == {"refusal": 2}


def test_scores_that_were_paid_for_are_kept_beside_a_video_without_one() -> None:
    class Partly(SpyJudge):
        def score(self, batch: VideoBatch) -> list[list[Scores]]:
            scored = super().score(batch)
            return [[Scores(scored[0][0].values * torch.nan, "refusal")], *scored[1:]]

    judge = VideoJudge(Partly(), "four", max_videos=2)
    with pytest.raises(ValueError, match="'refusal'"):
        judge.rewards([video(1), video(2)])
    assert judge.rewards([video(2)]).tolist() == [4 + 204]
    assert judge.judged == 2


def test_a_shipped_judge_does_not_reward_what_it_cannot_read() -> None:
    judge = VideoJudge(DualEncoderScorer("mean", weights="shipped"), "We go to the cow")
    with (
        pytest.warns(UserWarning, match="does not know the words cow"),
        pytest.raises(ValueError, match="unknown_words"),
    ):
        judge.rewards([np.zeros((3, 96, 96, 3), np.uint8)])


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="`max_videos`: expected at least 1, got 0"):
        VideoJudge(SpyJudge(), "four", max_videos=0)
