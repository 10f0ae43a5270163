import math

import pytest
import torch

from lightning_vista.metrics import ProblemSetResult, score_problem_set

pytestmark = pytest.mark.portable

NAN = math.nan


def test_an_unscored_video_is_a_miss_or_left_out_but_always_counted() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.1, 0.9], [NAN, 0.9]])
    targets = torch.tensor([[True, False], [False, True], [False, True]])
    strict = score_problem_set(scores, targets, "none")
    assert strict.macro_f1 == pytest.approx((1 + 2 / 3) / 2)
    assert strict.accuracy == pytest.approx(2 / 3)
    assert (strict.videos, strict.unscored, strict.ties) == (3, 1, 0)
    assert score_problem_set(scores, targets, "none", strict=False) == ProblemSetResult(1.0, 1.0, 3, 1, 0)


def test_all_unscored() -> None:
    scores, targets = torch.full((2, 2), NAN), torch.eye(2, dtype=torch.bool)
    assert score_problem_set(scores, targets) == ProblemSetResult(0.0, 0.0, 2, 2, 0)
    lenient = score_problem_set(scores, targets, strict=False)
    assert math.isnan(lenient.macro_f1)
    assert math.isnan(lenient.accuracy)
    assert lenient.unscored == 2


def test_constant_scores_are_ties_that_go_to_the_first_label() -> None:
    scores, targets = torch.tensor([[0.1, 0.7]]).expand(4, 2), torch.eye(2, dtype=torch.bool).repeat(2, 1)
    result = score_problem_set(scores, targets, "both")
    assert result.macro_f1 == pytest.approx(1 / 3)
    assert (result.accuracy, result.videos, result.unscored, result.ties) == (0.5, 4, 0, 4)


def test_one_video() -> None:
    scores, targets = torch.tensor([[0.1, 0.9]]), torch.tensor([[False, True]])
    assert score_problem_set(scores, targets, "none") == ProblemSetResult(1.0, 1.0, 1, 0, 0)
    assert score_problem_set(scores, targets, "both") == ProblemSetResult(1.0, 1.0, 1, 0, 0)  # multiple choice


def test_several_true_labels_take_as_many_of_the_best() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.9, 0.1, 0.2]])
    targets = torch.tensor([[True, True, False], [True, False, False]])
    assert score_problem_set(scores, targets, "none").accuracy == 1.0


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"expected the same shape, got \(2, 3\) and \(2, 2\)"):
        score_problem_set(torch.zeros(2, 3), torch.zeros(2, 2, dtype=torch.bool))
