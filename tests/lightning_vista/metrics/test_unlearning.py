import itertools
import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_vista.metrics import (
    compute_ratio,
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
    ("loss", "share"),
    [(4.0, 0.0), (3.0, 0.0), (2.5, 0.05), (2.0, 0.1), (1.5, 0.1**0.5), (1.25, 0.1**0.25), (1.0, 1.0), (0.0, 1.0)],
)
def test_leakage_is_read_off_the_ordinary_models(loss: float, share: float) -> None:
    assert leakage(loss, [3.0, 2.0, 1.0], [0, 10, 100], undiscovered_tokens=100) == pytest.approx(share)
    assert leakage(loss, [3.0, 2.0, 1.0], [0, 0.1, 1.0], undiscovered_tokens=1) == pytest.approx(share)


@given(st.lists(st.floats(0.1, 9), min_size=2, max_size=8), st.floats(0, 10), st.booleans())
def test_leakage_is_where_the_lowest_loss_so_far_gets_down_to_the_loss(
    losses: list[float], loss: float, from_none: bool
) -> None:
    tokens = [(0 if from_none else 1) + 3 * place**2 for place in range(len(losses))]
    found = leakage(loss, losses, tokens, undiscovered_tokens=1)
    # The loss at the place that was found, by the definition of the curve.
    falling = [min(losses[: place + 1]) for place in range(len(losses))]
    expected = min(max(loss, falling[-1]), falling[0])
    for place, (low, high) in enumerate(itertools.pairwise(tokens)):
        if low * (1 - 1e-9) <= found <= high * (1 + 1e-9):
            log = low > 0
            part = math.log(found / low) / math.log(high / low) if log else (found - low) / (high - low)
            read = falling[place] + part * (falling[place + 1] - falling[place])
            assert read == pytest.approx(expected, abs=1e-6)
            return
    pytest.fail(f"{found} is outside of {tokens}")


def test_leakage_wants_a_curve() -> None:
    inf = math.inf
    for losses, tokens, undiscovered, loss in (
        ([2.0], [0], 1, 1.0), ([2.0, 1.0], [0, 1], 0, 1.0), ([2.0, inf], [0, 1], 1, 1.0), ([2.0, 1.0], [1, 1], 1, 1.0),
        ([2.0, 1.0], [-1, 1], 1, 1.0), ([2.0, 1.0], [0, 1], 1, math.nan),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected finite losses at no fewer than two rising numbers"):
            leakage(loss, losses, tokens, undiscovered)


@given(st.lists(st.floats(0.1, 9), min_size=2, max_size=8), st.floats(0, 10))
def test_the_compute_ratio_is_where_the_curve_first_gets_down_to_the_loss(losses: list[float], loss: float) -> None:
    compute = [10 * (place + 1) ** 2 for place in range(len(losses))]
    found = compute_ratio(loss, losses, compute) * compute[-1]
    # A search along the curve in small steps, without the closed form.
    falling = [min(losses[: place + 1]) for place in range(len(losses))]
    if loss >= falling[0]:
        expected: float = compute[0]
    elif loss < falling[-1]:
        expected = compute[falling.index(falling[-1])]
    else:
        places = ((piece, part / 1000) for piece in range(len(losses) - 1) for part in range(1001))
        between = (
            compute[piece] + part * (compute[piece + 1] - compute[piece])
            for piece, part in places
            if falling[piece] + part * (falling[piece + 1] - falling[piece]) <= loss + 1e-12
        )
        expected = next(between, compute[-1])
    assert found == pytest.approx(expected, abs=1e-3 * compute[-1])


def test_the_compute_ratio_wants_a_curve() -> None:
    wrongs: list[tuple[float, list[float], list[float]]] = [
        (1.0, [2.0], [1]),
        (math.nan, [2.0, 1.0], [1, 2]),
        (1.0, [2.0, math.nan], [1, 2]),
        (1.0, [2, 1], [2, 2]),
    ]
    for loss, losses, compute in wrongs:
        with pytest.raises(ValueError, match="finite losses over at least two rising numbers"):
            compute_ratio(loss, losses, compute)


def test_seeds() -> None:
    summary = summarize_seeds([{"tax": 1.0, "forget": 5.0}, {"tax": 2.0}, {"tax": 3.0}])
    assert summary["tax"].mean == 2
    assert summary["tax"].ci_high - 2 == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)
    assert summary["forget"].mean == 5
    assert math.isnan(summary["forget"].ci_low)
