import math

import pytest
import torch

from lightning_vista.metrics import bootstrap_interval, standard_error, video_clusters

NAN = math.nan


def test_standard_error_is_the_sample_deviation_over_root_n() -> None:
    values = torch.rand(7, 2, dtype=torch.float64)
    torch.testing.assert_close(standard_error(values), values.std(dim=0) / math.sqrt(7))
    assert standard_error(torch.tensor([0.5, NAN])).isnan()
    with_gap = torch.cat([values, torch.full((1, 2), NAN, dtype=torch.float64)])
    torch.testing.assert_close(standard_error(with_gap), standard_error(values))


def test_clusters_join_over_several_steps() -> None:
    videos = [{"a"}, {"b"}, {"c", "d"}, {"a", "c"}, set(), {"b", "e"}]
    assert video_clusters(videos).tolist() == [0, 1, 0, 0, 4, 1]
    assert video_clusters([]).tolist() == []


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(40, 400, dtype=torch.float64, generator=generator)
    low, high = bootstrap_interval(samples, torch.arange(40), "cover")
    assert ((low < 0) & (high > 0)).double().mean().item() == pytest.approx(0.94, abs=0.03)


def test_copies_of_a_problem_set_do_not_narrow_the_interval() -> None:
    values = torch.rand(10, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    copies, clusters = values.repeat_interleave(5, dim=0), torch.arange(10).repeat_interleave(5)
    once = bootstrap_interval(values, torch.arange(10), "copies")
    torch.testing.assert_close(bootstrap_interval(copies, clusters, "copies"), once)
    naive = bootstrap_interval(copies, torch.arange(50), "copies")
    assert (naive[1] - naive[0]).item() < 0.6 * (once[1] - once[0]).item()


def test_a_column_does_not_depend_on_the_others() -> None:
    values = torch.rand(12, 3, dtype=torch.float64)
    values[:4, 1] = NAN
    clusters = torch.arange(12) // 2
    together = bootstrap_interval(values, clusters, "columns")
    for column in range(3):
        alone = bootstrap_interval(values[:, [column]], clusters, "columns")
        torch.testing.assert_close(together[:, [column]], alone)
    present = bootstrap_interval(values[4:, [1]], clusters[4:], "columns")
    torch.testing.assert_close(together[:, [1]], present)


def test_differences_are_paired() -> None:
    first = torch.rand(9, dtype=torch.float64)
    values = torch.stack([first, first - 0.1, first - (first - 0.1)], dim=1)
    low, high = bootstrap_interval(values, torch.arange(9), "pairs")
    assert low[2].item() == pytest.approx(0.1)
    assert high[2].item() == pytest.approx(0.1)
    assert high[0] - low[0] > 0.05


@pytest.mark.parametrize("values", [[[0.5]], [[0.5], [0.7]], [[NAN], [NAN]]])
def test_one_cluster_or_none_has_no_interval(values: list[list[float]]) -> None:
    matrix = torch.tensor(values, dtype=torch.float64)
    assert bootstrap_interval(matrix, torch.zeros(len(values), dtype=torch.long), "one").isnan().all()
