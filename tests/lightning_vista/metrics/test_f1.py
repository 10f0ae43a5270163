import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from lightning_vista.metrics import accuracy, macro_f1

pytestmark = pytest.mark.portable


@settings(max_examples=60, deadline=None)
@given(data=st.data(), videos=st.integers(1, 8), labels=st.integers(2, 5))
def test_agrees_with_sklearn_on_several_labels(data: st.DataObject, videos: int, labels: int) -> None:
    mask = st.lists(st.lists(st.booleans(), min_size=labels, max_size=labels), min_size=videos, max_size=videos)
    predictions, targets = torch.tensor(data.draw(mask)), torch.tensor(data.draw(mask))
    named = (predictions | targets).any(dim=0).nonzero().flatten().tolist()
    if named:
        expected = f1_score(targets.int(), predictions.int(), labels=named, average="macro", zero_division=0)
        assert macro_f1(predictions, targets).item() == pytest.approx(expected, abs=1e-12)
    else:
        assert macro_f1(predictions, targets).isnan()
    assert accuracy(predictions, targets).item() == pytest.approx(accuracy_score(targets.int(), predictions.int()))


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_agrees_with_sklearn_on_one_label(pairs: list[tuple[int, int]]) -> None:
    predicted, true = zip(*pairs, strict=True)
    expected = f1_score(true, predicted, average="macro", zero_division=0)  # sklearn, too, takes the union
    got = macro_f1(torch.eye(5)[list(predicted)].bool(), torch.eye(5)[list(true)].bool())
    assert got.item() == pytest.approx(expected, abs=1e-12)


def test_a_label_nobody_predicts_counts_zero_and_one_nobody_has_does_not_count() -> None:
    targets = torch.tensor([[True, False, False], [False, True, False]])
    predictions = torch.tensor([[True, False, False], [False, False, False]])
    assert macro_f1(predictions, targets).item() == 0.5


def test_many_draws_are_one_call() -> None:
    predictions, targets = torch.rand(20, 6, 4) < 0.5, torch.rand(6, 4) < 0.5
    assert torch.equal(macro_f1(predictions, targets), torch.stack([macro_f1(one, targets) for one in predictions]))
    assert torch.equal(accuracy(predictions, targets), torch.stack([accuracy(one, targets) for one in predictions]))


def test_no_video_has_no_figure() -> None:
    nothing = torch.zeros(0, 3, dtype=torch.bool)
    assert macro_f1(nothing, nothing).isnan()
    assert accuracy(nothing, nothing).isnan()
