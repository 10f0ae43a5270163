import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_vista.metrics.reward_tests import policy_ranking, reward_confusion, value_order_correlation

FEW = st.integers(-3, 3).map(float)  # few values, so that there are ties


def slow_ranks(values: list[float]) -> list[float]:
    """Mean places of equal values."""
    return [sum(b < a for b in values) + (sum(b == a for b in values) + 1) / 2 for a in values]


def slow_tau(first: list[float], second: list[float]) -> float:
    """Kendall's tau-b, pair by pair."""
    signs = [(np.sign(a - b), np.sign(c - d)) for (a, c), (b, d) in combinations(zip(first, second, strict=True), 2)]
    untied = [sum(bool(pair[side]) for pair in signs) for side in (0, 1)]
    return float(sum(a * b for a, b in signs)) / math.sqrt(untied[0] * untied[1])


@given(st.lists(FEW, min_size=3, max_size=9))
def test_value_order_is_the_correlation_of_ranks(values: list[float]) -> None:
    found = value_order_correlation(values)
    if len(set(values)) == 1:
        assert math.isnan(found)
    else:
        expected = np.corrcoef(slow_ranks(values), range(len(values)))[0, 1]
        assert found == pytest.approx(expected)


@given(st.lists(st.tuples(FEW, FEW), min_size=3, max_size=8))
def test_the_ranking_of_policies_counts_pairs(policies: list[tuple[float, float]]) -> None:
    rewards, quality = map(list, zip(*policies, strict=True))
    found = policy_ranking(rewards, quality)
    if 1 in (len(set(rewards)), len(set(quality))):
        assert math.isnan(found)
    else:
        assert found == pytest.approx(slow_tau(rewards, quality))


@given(st.data())
def test_the_confusion_matrix_holds_means(data: st.DataObject) -> None:
    videos, labels = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    cells = st.lists(st.one_of(FEW, st.just(math.nan)), min_size=labels, max_size=labels)
    scores = data.draw(st.lists(cells, min_size=videos, max_size=videos))
    truth = data.draw(
        st.lists(st.lists(st.booleans(), min_size=labels, max_size=labels), min_size=videos, max_size=videos)
    )
    found = reward_confusion(torch.tensor(scores), torch.tensor(truth))
    for task in range(labels):
        for label in range(labels):
            known = [
                row[label] for row, true in zip(scores, truth, strict=True) if true[task] and row[label] == row[label]
            ]
            if known:
                assert found[task, label] == pytest.approx(sum(known) / len(known))
            else:
                assert found[task, label].isnan()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: value_order_correlation([0.1, 0.2]), "`values`: expected at least 3 numbers, got 2"),
        (lambda: value_order_correlation([0.1, math.nan, 0.2]), "`values`: expected finite numbers"),
        (lambda: policy_ranking([1, 2, 3], [1, 2]), "`rewards`, `quality`: expected the same length, got 3 and 2"),
        (lambda: policy_ranking([1, 2], [1, 2]), "`rewards`: expected at least 3 numbers"),
        (lambda: reward_confusion(torch.zeros(2, 3), torch.zeros(3, 2).bool()), "expected the same shape"),
    ],
)
def test_what_has_no_order_is_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()
