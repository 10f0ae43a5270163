import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from lightning_vista.metrics.reward_quality import RewardQuality, reward_quality


def slow_quality(scores: list[list[float]], targets: list[list[bool]]) -> RewardQuality | None:
    """The definitions, one pair of videos at a time."""
    aucs, margins, taus = [], [], []
    for label in range(len(scores[0])):
        known = [
            (row[label], true[label]) for row, true in zip(scores, targets, strict=True) if row[label] == row[label]
        ]
        right, wrong = ([score for score, is_right in known if is_right is side] for side in (True, False))
        if not right or not wrong:
            continue
        aucs.append(statistics.fmean((a > b) + (a == b) / 2 for a in right for b in wrong))
        deviation = statistics.stdev(score for score, _ in known)
        margins.append((max(right) - max(wrong)) / deviation if deviation else 0.0)
        taus.append(kendalltau(*zip(*known, strict=True)).statistic if deviation else 0.0)
    if not aucs:
        return None
    beaten = [margin <= 0 for margin in margins]
    return RewardQuality(
        statistics.fmean(aucs),
        1 - statistics.fmean(beaten),
        statistics.fmean(margins),
        float(any(beaten)),
        statistics.fmean(taus),
    )


@st.composite
def problem_sets(draw: st.DrawFn) -> tuple[list[list[float]], list[list[bool]]]:
    videos, labels = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    scores = st.one_of(st.integers(-2, 2).map(float), st.just(math.nan))  # few values, so that there are ties
    row = st.lists(scores, min_size=labels, max_size=labels)
    truth = st.lists(st.booleans(), min_size=labels, max_size=labels)
    return (
        draw(st.lists(row, min_size=videos, max_size=videos)),
        draw(st.lists(truth, min_size=videos, max_size=videos)),
    )


@given(problem_sets())
def test_it_is_what_the_definitions_say(problem_set: tuple[list[list[float]], list[list[bool]]]) -> None:
    scores, targets = problem_set
    found, expected = reward_quality(torch.tensor(scores), torch.tensor(targets)), slow_quality(scores, targets)
    if expected is None:
        assert all(math.isnan(figure) for figure in found)
    else:
        assert found == pytest.approx(expected)


def test_a_scorer_that_is_right_about_videos_may_be_wrong_as_a_reward() -> None:
    # It tells both videos' descriptions; but the second video is scored highest, whatever is asked for.
    scores = torch.tensor([[0.2, 0.1], [0.8, 0.9]])
    quality = reward_quality(scores, torch.eye(2, dtype=torch.bool))
    assert (quality.auc, quality.rank_accuracy, quality.exploitable) == (0.5, 0.5, 1.0)


def test_a_tie_pays_as_much() -> None:
    quality = reward_quality(torch.full((2, 2), 0.3), torch.eye(2, dtype=torch.bool))
    assert quality == RewardQuality(auc=0.5, rank_accuracy=0.0, margin=0.0, exploitable=1.0, kendall_tau=0.0)


def test_the_highest_rank_correlation_is_as_documented() -> None:
    scores = torch.tensor([[0.9], [0.8], [0.3], [0.2], [0.1]])
    tau = reward_quality(scores, scores > 0.5).kendall_tau
    assert tau == pytest.approx(math.sqrt(2 * 2 * 3 / (5 * 4)))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the same shape"):
        reward_quality(torch.zeros(2, 3), torch.zeros(3, 2, dtype=torch.bool))


def test_many_videos_of_one_set_need_no_pairs() -> None:
    """All pairs of 100,000 videos would be 80 GB."""
    targets = (torch.arange(100_000) % 2 == 0)[:, None]
    quality = reward_quality(torch.arange(100_000)[:, None] + 1.5 * targets, targets)
    assert quality.auc == pytest.approx(0.5 + 1 / 100_000, abs=1e-5)
    assert quality.kendall_tau == pytest.approx((2 * quality.auc - 1) * math.sqrt(0.5), rel=1e-3)
