import math
import statistics

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from lightning_vista.metrics.success_threshold import choose_threshold, cross_validate_threshold, evaluate_threshold

EPISODES = st.lists(
    st.tuples(st.one_of(st.integers(-3, 3).map(float), st.just(math.nan)), st.booleans()), min_size=2, max_size=12
)


def split(episodes: list[tuple[float, bool]]) -> tuple[list[float], list[bool]]:
    """The scored episodes, of which some succeeded and some failed."""
    scored = [(score, success) for score, success in episodes if score == score]
    assume(len({success for _, success in scored}) == 2)
    return [score for score, _ in scored], [success for _, success in scored]


@given(EPISODES)
def test_no_threshold_is_better_on_the_validation_data(episodes: list[tuple[float, bool]]) -> None:
    scores, successes = split(episodes)
    given_scores, given_successes = zip(*episodes, strict=True)
    threshold = choose_threshold(torch.tensor(given_scores), torch.tensor(given_successes))

    def balanced(least: float) -> float:
        told = [score >= least for score in scores]
        return statistics.fmean(
            statistics.fmean(t == side for t, s in zip(told, successes, strict=True) if s is side)
            for side in (False, True)
        )

    assert balanced(threshold) == pytest.approx(max(balanced(least / 4) for least in range(-20, 21)))


@given(EPISODES, st.integers(-7, 7))
def test_test_figures_are_those_of_scikit_learn(episodes: list[tuple[float, bool]], twice: int) -> None:
    scores, successes = split(episodes)
    given_scores, given_successes = zip(*episodes, strict=True)
    found = evaluate_threshold(torch.tensor(given_scores), torch.tensor(given_successes), twice / 2)
    told = [score >= twice / 2 for score in scores]
    assert [list(row) for row in found.confusion] == confusion_matrix(successes, told, labels=[False, True]).tolist()
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(successes, told))
    assert found.f1 == pytest.approx(f1_score(successes, told, zero_division=0.0))
    assert found.accuracy == pytest.approx(statistics.fmean(t == s for t, s in zip(told, successes, strict=True)))
    assert found.unscored == len(episodes) - len(scores)


def test_a_scale_that_moves_between_the_splits_costs_accuracy() -> None:
    succeeded = torch.tensor([False, False, True, True])
    threshold = choose_threshold(torch.tensor([0.1, 0.2, 0.8, 0.9]), succeeded)
    assert evaluate_threshold(torch.tensor([0.6, 0.7, 0.8, 0.9]), succeeded, threshold).balanced_accuracy == 0.5


@pytest.mark.parametrize("side", [True, False])
def test_one_kind_of_episodes_alone_sets_no_threshold(side: bool) -> None:
    with pytest.raises(ValueError, match="`succeeded`: expected scored successes and failures"):
        choose_threshold(torch.tensor([0.1, 0.2, math.nan]), torch.tensor([side, side, not side]))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the same shape"):
        evaluate_threshold(torch.zeros(2), torch.zeros(3).bool(), 0.5)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.booleans()), min_size=4, max_size=14))
def test_each_half_is_told_by_the_other(episodes: list[tuple[int, bool, bool]]) -> None:
    scores, succeeded, second = (torch.tensor(column) for column in zip(*episodes, strict=True))
    scores = scores.double()
    found = cross_validate_threshold(scores, succeeded, second)
    if any(len(succeeded[half].unique()) < 2 for half in (second, ~second)):
        assert found is None
        return
    assert found is not None
    parts = [
        evaluate_threshold(scores[half], succeeded[half], choose_threshold(scores[~half], succeeded[~half])).confusion
        for half in (second, ~second)
    ]
    assert torch.equal(torch.tensor(found.confusion), torch.tensor(parts).sum(0))
    assert found.threshold == choose_threshold(scores, succeeded)


def test_many_episodes_take_little_memory() -> None:
    scores = torch.linspace(0, 1, 200_000, dtype=torch.float64)  # every score against every threshold were 40 GB
    assert choose_threshold(scores, scores > 0.25) == pytest.approx(0.25, abs=1e-5)


def test_neighbouring_numbers_are_told_apart() -> None:
    low = torch.tensor(1.0, dtype=torch.float64)
    high = torch.nextafter(low, low + 1)
    threshold = choose_threshold(torch.stack([low, high]), torch.tensor([False, True]))
    assert evaluate_threshold(torch.stack([low, high]), torch.tensor([False, True]), threshold).f1 == 1
