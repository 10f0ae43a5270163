import runpy
from pathlib import Path
from typing import Any

import pytest

CARD: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "shipped_card.py"))


def test_the_slope_is_that_of_the_line_and_lies_in_its_interval() -> None:
    figures = [
        CARD["Figure"](level, "remix", False, 1 - 0.1 * level + noise, 0.1)
        for level in range(2, 9)
        for noise in (-0.05, 0.0, 0.05)
    ]
    slope, low, high = CARD["slope_with_level"](figures)
    assert slope == pytest.approx(-0.1)
    assert -0.12 < low < slope < high < -0.08
