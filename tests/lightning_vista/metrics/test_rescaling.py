import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_vista.metrics import RESCALINGS, Rescaling, rescale_scores

NAN = math.nan


def slow_rescale(rows: list[list[float]], rescaling: str) -> list[list[float]]:
    """The definition, one number at a time."""
    scored = [number for number, row in enumerate(rows) if not any(map(math.isnan, row))]
    values = {number: rows[number] for number in scored}
    if rescaling in ("video", "both"):
        for number, row in values.items():
            total = sum(math.exp(score) for score in row)
            values[number] = [math.exp(score) / total for score in row]
    if rescaling in ("label", "both") and len(scored) > 1:
        columns = list(zip(*values.values(), strict=True))
        means = [statistics.fmean(column) for column in columns]
        deviations = [statistics.stdev(column) for column in columns]
        for number, row in values.items():
            values[number] = [
                (score - mean) / (deviation + 1e-6)
                for score, mean, deviation in zip(row, means, deviations, strict=True)
            ]
    return [values.get(number, [NAN] * len(row)) for number, row in enumerate(rows)]


score = st.one_of(st.floats(-5, 5), st.sampled_from([0.0, 0.5, 1.0]), st.just(NAN))
matrix = st.tuples(st.integers(1, 6), st.integers(1, 5)).flatmap(
    lambda shape: st.lists(st.lists(score, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0])
)


@pytest.mark.parametrize("rescaling", RESCALINGS)
@settings(max_examples=60, deadline=None)
@given(rows=matrix)
def test_agrees_with_the_definition(rescaling: Rescaling, rows: list[list[float]]) -> None:
    fast = rescale_scores(torch.tensor(rows, dtype=torch.float64), rescaling)
    slow = torch.tensor(slow_rescale(rows, rescaling), dtype=torch.float64)
    torch.testing.assert_close(fast, slow, equal_nan=True, rtol=1e-7, atol=1e-7)


def test_half_precision_is_computed_in_float64() -> None:
    scores = torch.tensor([[0.5, 0.25], [0.125, 1.0], [0.75, 0.0]])
    assert rescale_scores(scores.half()).dtype == torch.float64
    assert torch.equal(rescale_scores(scores.half()), rescale_scores(scores.double()))


def test_one_nan_takes_its_video_out_and_leaves_the_others_as_if_it_were_absent() -> None:
    scores = torch.tensor([[0.1, 0.9], [NAN, 5.0], [0.4, 0.2], [0.3, 0.3]])
    rescaled = rescale_scores(scores)
    assert rescaled[1].isnan().all()
    assert torch.equal(rescaled[[0, 2, 3]], rescale_scores(scores[[0, 2, 3]]))


def test_all_unscored_stays_unscored() -> None:
    assert rescale_scores(torch.full((3, 2), NAN)).isnan().all()


def test_one_video_has_nothing_to_be_set_against() -> None:
    scores = torch.tensor([[3.0, 1.0]])
    assert torch.equal(rescale_scores(scores, "both"), rescale_scores(scores, "video"))
    assert torch.equal(rescale_scores(scores, "label"), scores.double())
    assert rescale_scores(torch.tensor([[3.0, 1.0], [NAN, 0.0]]), "both")[0].argmax() == 0


@pytest.mark.parametrize("videos", [2, 3, 7, 30])
@pytest.mark.parametrize("labels", [2, 3, 5, 17])
def test_constant_labels_are_exactly_zero_whatever_their_level(videos: int, labels: int) -> None:
    constant = torch.linspace(0.1, 0.7, labels).expand(videos, labels)
    for rescaling in ("label", "both"):
        assert not rescale_scores(constant, rescaling).any()


def test_two_videos_and_two_labels_are_set_against_each_other() -> None:
    rescaled = rescale_scores(torch.tensor([[0.9, 0.1], [0.8, 0.2]]))
    assert rescaled.argmax(dim=1).tolist() == [0, 1]  # although both prefer the first


def test_wrong_arguments() -> None:

    with pytest.raises(ValueError, match=r"expected \(videos, labels\), got the shape \(2,\)"):
        rescale_scores(torch.zeros(2))
