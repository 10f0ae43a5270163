import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_vista.metrics import count_ties, predict_labels


@settings(max_examples=100, deadline=None)
@given(data=st.data(), videos=st.integers(1, 5), labels=st.integers(1, 6))
def test_takes_the_best_and_among_equals_the_first(data: st.DataObject, videos: int, labels: int) -> None:
    row = st.lists(st.sampled_from([0.0, 0.5, 1.0, math.nan]), min_size=labels, max_size=labels)
    rows = data.draw(st.lists(row, min_size=videos, max_size=videos))
    wanted = data.draw(st.lists(st.integers(1, labels), min_size=videos, max_size=videos))
    predicted = predict_labels(torch.tensor(rows), torch.tensor(wanted))
    ties = 0
    for scores, count, got in zip(rows, wanted, predicted.tolist(), strict=True):
        if any(map(math.isnan, scores)):
            assert not any(got)
            continue
        order = sorted(range(labels), key=lambda label: (-scores[label], label))
        assert [label for label in range(labels) if got[label]] == sorted(order[:count])
        ties += count < labels and scores[order[count - 1]] == scores[order[count]]
    assert count_ties(torch.tensor(rows), torch.tensor(wanted)) == ties


def test_leading_dimensions_are_separate_predictions() -> None:
    scores = torch.rand(4, 3, 5)
    counts = torch.tensor([1, 2, 5])
    assert torch.equal(predict_labels(scores, counts), torch.stack([predict_labels(part, counts) for part in scores]))


def test_a_tie_below_the_prediction_is_none() -> None:
    assert count_ties(torch.tensor([[0.9, 0.1, 0.1]])) == 0
    assert count_ties(torch.tensor([[0.9, 0.1, 0.1]]), 2) == 1
    assert count_ties(torch.tensor([[0.9, 0.1, 0.1]]), 3) == 0
