import math
import random

import pytest
import torch

from lightning_vista.metrics import (
    leakage,
    retain_forget_frontier,
    robust_unlearning,
    shallow_unlearning,
    summarize_seeds,
)


def test_the_ends_of_a_relearning_curve() -> None:
    curves = torch.tensor([[[3.0, 1.0, 2.0], [2.5, 2.6, 2.7]]])
    assert shallow_unlearning(curves).tolist() == [[3.0, 2.5]]
    assert robust_unlearning(curves).tolist() == [[1.0, 2.5]]
    with pytest.raises(ValueError, match="at least one step"):
        robust_unlearning(torch.zeros(3, 0))


def test_the_frontier_is_what_nothing_surpasses() -> None:
    rng = random.Random(0)
    points = [(rng.randrange(6), rng.randrange(6)) for _ in range(25)]
    found = retain_forget_frontier(*torch.tensor(points, dtype=torch.float).T).tolist()
    unsurpassed = {
        (retain, forget)
        for retain, forget in points
        if not any(r <= retain and f >= forget and (r, f) != (retain, forget) for r, f in points)
    }
    assert {points[place] for place in found} == unsurpassed
    assert len(found) == len(unsurpassed)
    with pytest.raises(ValueError, match="all of them numbers"):
        retain_forget_frontier(torch.tensor([math.nan]), torch.tensor([1.0]))


@pytest.mark.parametrize(
    ("loss", "share"), [(4.0, 0.0), (3.0, 0.0), (2.5, 0.05), (2.0, 0.1), (1.5, 0.55), (1.0, 1.0), (0.0, 1.0)]
)
def test_leakage_is_read_off_the_ordinary_models(loss: float, share: float) -> None:
    assert leakage(loss, [3.0, 2.0, 1.0], [0, 10, 100], undiscovered_tokens=100) == pytest.approx(share)


def test_leakage_wants_falling_losses() -> None:
    for losses, tokens, undiscovered in (([2.0, 3.0], [0, 1], 1), ([2.0], [0], 1), ([2.0, 1.0], [0, 1], 0)):
        with pytest.raises(ValueError, match="losses that fall"):
            leakage(1.0, losses, tokens, undiscovered)


def test_seeds() -> None:
    summary = summarize_seeds([{"tax": 1.0, "forget": 5.0}, {"tax": 2.0}, {"tax": 3.0}])
    assert summary["tax"].mean == 2
    assert summary["tax"].ci_high - 2 == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)
    assert summary["forget"].mean == 5
    assert math.isnan(summary["forget"].ci_low)
