import itertools

import pytest
import torch

from lightning_vista.metrics import macro_f1, majority_baseline, random_baseline


def one_hot(*labels: int, number: int) -> torch.Tensor:
    return torch.eye(number, dtype=torch.bool)[list(labels)]


def test_majority_takes_the_most_frequent_label() -> None:
    result = majority_baseline(one_hot(1, 1, 0, 2, number=3))
    assert (result.accuracy, result.ties) == (0.5, 0)
    assert result.macro_f1 == pytest.approx(2 / 3 / 3)


def test_majority_takes_the_first_of_equals_and_counts_the_tie() -> None:
    result = majority_baseline(one_hot(1, 0, 2, number=3))
    assert result.accuracy == pytest.approx(1 / 3)
    assert result.ties == 3


def test_majority_takes_as_many_labels_as_are_true() -> None:
    targets = torch.tensor([[False, True, True], [False, True, False], [True, False, True]])
    assert majority_baseline(targets).accuracy == pytest.approx(2 / 3)  # the second label, or the second and third


def test_random_is_the_mean_over_all_predictions() -> None:
    targets = one_hot(0, 1, 1, number=2)
    every = torch.stack([one_hot(*labels, number=2) for labels in itertools.product(range(2), repeat=3)])
    result = random_baseline(targets, "home/level_2/remix/a", draws=20_000)
    assert result.macro_f1 == pytest.approx(macro_f1(every, targets).mean().item(), abs=0.01)
    assert result.accuracy == pytest.approx(0.5, abs=0.01)
    assert (result.videos, result.unscored, result.ties) == (3, 0, 0)


def test_random_draws_different_labels_where_several_are_true() -> None:
    assert random_baseline(torch.tensor([[True, True]]), "home/level_1/remix/a").macro_f1 == 1.0


def test_random_depends_on_the_problem_set_alone() -> None:
    targets = one_hot(0, 1, 2, number=3)
    first = random_baseline(targets, "a")
    torch.rand(5)
    assert random_baseline(targets, "a") == first
    assert random_baseline(targets, "b") != first


def test_draws_in_parts_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = torch.arange(35).reshape(7, 5) % 3 == 0
    whole = random_baseline(targets, "home/level_2/remix/a")
    for numbers in (1, 100, 35 * 300):
        monkeypatch.setattr("lightning_vista.metrics.baselines._NUMBERS_AT_ONCE", numbers)
        assert random_baseline(targets, "home/level_2/remix/a") == whole
