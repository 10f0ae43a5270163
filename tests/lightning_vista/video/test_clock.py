import math

import pytest

from lightning_vista.video import FrameClock


@pytest.mark.parametrize(
    ("indices", "times", "fps", "positions"),
    [
        ([0, 30, 60], [0.0, 1.0, 2.0], 30.0, (0, 30, 60)),
        ([0, 30, 60], [0.0, 1.001, 2.002], 60 / 2.002, (0, 30, 60)),  # 29.97
        ([60, 30, 0], [2.0, 1.0, 0.0], 30.0, (60, 30, 0)),  # reversed
        ([0, 1, 2], [0.0, 0.5, 2.0], 1000.0, (0, 500, 2000)),  # a variable rate
        ([0, 1, 2], [5.0, 5.0, 5.0], 1000.0, (5000, 5000, 5000)),  # repeated
        ([0], [0.0], 1000.0, (0,)),
    ],
)
def test_positions_and_rate_give_the_times(
    indices: list[int], times: list[float], fps: float, positions: tuple[int, ...]
) -> None:
    clock = FrameClock.of(indices, times)
    assert clock is not None
    assert clock.fps == pytest.approx(fps)
    assert clock.indices == positions
    assert clock.times == pytest.approx(times, abs=0.25 / fps)
    metadata = clock.metadata()
    assert metadata["fps"] == clock.fps
    assert metadata["frames_indices"] == list(positions)
    assert max(positions) < metadata["total_num_frames"]


def test_an_unknown_time_is_never_guessed() -> None:
    assert FrameClock.of([0, 1], [0.0, math.nan]) is None
    assert FrameClock.of([], []) is None


def test_metadata_that_a_processor_changed_does_not_change_the_clock() -> None:
    clock = FrameClock(2.0, (0, 1))
    clock.metadata()["frames_indices"].append(7)
    assert clock.metadata()["frames_indices"] == [0, 1]


@pytest.mark.parametrize(
    ("clock", "rate"),
    [(FrameClock(8.0, (0, 4, 8)), 2.0), (FrameClock(1000.0, (5, 5)), 1.0), (FrameClock(8.0, (8, 0)), 1)],
)
def test_the_mean_rate_shows_the_frames_for_as_long_as_they_took(clock: FrameClock, rate: float) -> None:
    assert clock.mean_rate == rate
