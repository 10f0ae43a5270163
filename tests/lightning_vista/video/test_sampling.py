import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_vista.video import FrameSpec, sample_indices

pytestmark = pytest.mark.portable


@given(total=st.integers(1, 400), wanted=st.integers(2, 40))
def test_uniform_includes_both_ends_and_is_even(total: int, wanted: int) -> None:
    indices = sample_indices(total, wanted, "uniform")
    assert len(indices) == wanted
    assert (indices[0], indices[-1]) == (0, total - 1)
    gaps = [b - a for a, b in itertools.pairwise(indices)]
    assert min(gaps) >= 0
    assert max(gaps) - min(gaps) <= 1


def test_one_uniform_frame_is_the_middle_one() -> None:
    assert sample_indices(9, 1) == [4]


@given(
    gaps=st.lists(st.integers(1, 5), min_size=2, max_size=60),
    unit=st.sampled_from([1 / 24, 1 / 30, 1 / 60, 1001 / 30000, 1 / 1000, 1 / 15360, 1 / 90000]),
    wanted=st.integers(1, 16),
)
def test_rounded_times_give_the_same_frames(gaps: list[int], unit: float, wanted: int) -> None:
    """As shards of stored frames hold them; moments midway between two frames are common."""
    times = [place * unit for place in itertools.accumulate(gaps, initial=0)]
    rounded = [round(time, 6) for time in times]
    assert sample_indices(len(times), wanted, times=times) == sample_indices(len(times), wanted, times=rounded)


@given(
    total=st.integers(1, 400),
    wanted=st.integers(1, 40),
    rate=st.sampled_from([1, 12.5, 24000 / 1001, 30, 60, 240, 1000]),
)
def test_times_at_a_steady_rate_change_nothing(total: int, wanted: int, rate: float) -> None:
    times = [number / rate for number in range(total)]
    assert sample_indices(total, wanted, times=times) == sample_indices(total, wanted)


def test_short_videos_repeat_frames() -> None:
    assert sample_indices(2, 4) == [0, 0, 1, 1]
    assert sample_indices(1, 3) == [0, 0, 0]


@pytest.mark.parametrize(
    ("total", "wanted", "expected"),
    [
        (9, 3, [0, 4, 8]),  # (T-1)/(n-1) = 4 is whole
        (10, 3, [0, 6, 9]),  # otherwise T//(n-1)+1 = 6, held at the end
        (300, 8, [0, 43, 86, 129, 172, 215, 258, 299]),
        (10, 8, [0, 2, 4, 6, 8, 9, 9, 9]),
    ],
)
def test_stride_is_the_authors_rule(total: int, wanted: int, expected: list[int]) -> None:
    assert sample_indices(total, wanted, "stride") == expected


@pytest.mark.parametrize("total", [3, 8])
def test_stride_refuses_videos_that_are_not_longer(total: int) -> None:
    with pytest.raises(ValueError, match="stride' needs at least 2 frames out of a longer video"):
        sample_indices(total, 8, "stride")


def test_stride_refuses_a_single_frame() -> None:
    with pytest.raises(ValueError, match="stride"):
        sample_indices(10, 1, "stride")


@pytest.mark.parametrize(("total", "wanted"), [(0, 4), (4, 0)])
def test_nothing_to_sample_is_an_error(total: int, wanted: int) -> None:
    with pytest.raises(ValueError, match="expected at least 1 frame"):
        sample_indices(total, wanted)


@pytest.mark.parametrize("settings", [{"num_frames": 0}, {"size": 0}, {"size": None, "crop": True}])
def test_frame_spec_refuses_bad_values(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`: expected .*, got"):
        FrameSpec(**settings)  # type: ignore[arg-type] # on purpose
