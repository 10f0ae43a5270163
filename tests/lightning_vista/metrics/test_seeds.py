import math

import pytest
from scipy.stats import t

from lightning_vista.metrics.aggregation import seed_mean


def test_the_interval_is_that_of_scipy() -> None:
    values = [0.2, 0.5, 0.9, 0.4]
    low, high = t.interval(0.95, 3, loc=0.5, scale=math.sqrt(sum((v - 0.5) ** 2 for v in values) / 3 / 4))
    assert seed_mean(values) == pytest.approx((0.5, low, high), abs=1e-12)


def test_too_few_seeds_have_no_interval() -> None:
    assert str(seed_mean([2.0])) == "SeedMean(mean=2.0, ci_low=nan, ci_high=nan)"
    assert str(seed_mean([])) == "SeedMean(mean=nan, ci_low=nan, ci_high=nan)"


@pytest.mark.parametrize("values", [[math.inf, 1.0], [1.0, 2.0, math.inf], [math.nan, 1.0]])
def test_what_a_seed_does_not_reach_has_no_interval(values: list[float]) -> None:
    mean, *ends = seed_mean(values)
    assert mean == math.inf if math.inf in values else math.isnan(mean)
    assert all(map(math.isnan, ends))


def test_seeds_of_both_signs_of_infinity_have_no_mean() -> None:
    assert all(map(math.isnan, seed_mean([math.inf, -math.inf])))
