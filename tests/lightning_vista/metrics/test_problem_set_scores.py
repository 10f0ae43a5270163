"""Run as a script, this file is the second rank of `test_two_ranks_give_what_one_process_gives`."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from lightning_vista.metrics import ProblemSetResult, ProblemSetScores, score_problem_set
from lightning_vista.vista.problem_sets import LabelledVideo, ProblemSet

NAN = math.nan


def problem_set(id: str, labels: str, truths: list[str]) -> ProblemSet:
    videos = tuple(LabelledVideo(f"{number}.mp4", tuple(truth)) for number, truth in enumerate(truths))
    return ProblemSet(id, {label: f"We do {label}" for label in labels}, videos)


SETS = (
    problem_set("home/level_2/remix/a", "xyz", [*"xyzxyz", "x"]),
    problem_set("home/level_2/permutation/b", "xy", [*"xyxy"]),
    problem_set("home/foundation/objects/c", "xyz", ["x", "xy", "yz"]),
    problem_set("craft/level_3/remix/d", "xy", ["y"]),
)


def matrices() -> list[tuple[Tensor, Tensor]]:
    """Scores and targets of `SETS`; one video of the first is unscored, scores are coarse enough to tie."""
    generator = torch.Generator().manual_seed(3)
    pairs = []
    for item in SETS:
        shape = (len(item.videos), len(item.labels))
        scores = torch.randint(0, 6, shape, generator=generator).double() / 5
        targets = torch.tensor([[label in video.labels for label in item.labels] for video in item.videos])
        pairs.append((scores, targets))
    pairs[0][0][2, 1] = NAN
    return pairs


def rows() -> list[tuple[int, int, int, float, bool]]:
    """One row per candidate, shuffled."""
    ordered = [
        (number, video, label, scores[video, label].item(), bool(targets[video, label]))
        for number, (scores, targets) in enumerate(matrices())
        for video in range(len(scores))
        for label in range(scores.shape[1])
    ]
    return [ordered[place] for place in torch.randperm(len(ordered), generator=torch.Generator().manual_seed(0))]


def update(metric: ProblemSetScores, part: list[tuple[int, int, int, float, bool]], **changes: Tensor) -> None:
    numbers, videos, labels, scores, targets = zip(*part, strict=True)
    columns = {
        "problem_set": torch.tensor(numbers),
        "video": torch.tensor(videos),
        "label": torch.tensor(labels),
        "score": torch.tensor(scores, dtype=torch.float64),
        "target": torch.tensor(targets),
    }
    metric.update(**(columns | changes))


@pytest.fixture
def metric() -> ProblemSetScores:
    return ProblemSetScores(SETS)


@pytest.mark.parametrize("strict", [True, False])
def test_any_order_and_number_of_updates_gives_the_results_of_the_matrices(strict: bool) -> None:
    metric = ProblemSetScores(SETS, rescaling="video", strict=strict)
    for start in range(0, len(rows()), 5):
        update(metric, rows()[start : start + 5])
    expected = {
        item.id: score_problem_set(scores, targets, "video", strict)
        for item, (scores, targets) in zip(SETS, matrices(), strict=True)
    }
    assert metric.per_problem_set() == expected


def test_logs_a_figure_for_every_cell(metric: ProblemSetScores) -> None:
    update(metric, rows())
    figures, results = metric.compute(), metric.per_problem_set()
    assert list(figures) == [
        "macro_f1",
        "accuracy",
        "unscored",
        "ties",
        "macro_f1/craft/level_3/general",
        "macro_f1/general",
        "macro_f1/home/level_1/objects",
        "macro_f1/home/level_2/general",
        "macro_f1/home/level_2/permutation",
        "macro_f1/objects",
        "macro_f1/permutation",
    ]
    assert figures["macro_f1"].item() == pytest.approx(sum(r.macro_f1 for r in results.values()) / 4)
    general = (results["home/level_2/remix/a"].macro_f1 + results["craft/level_3/remix/d"].macro_f1) / 2
    assert figures["macro_f1/general"].item() == pytest.approx(general)
    assert figures["unscored"].item() == 1
    assert figures["ties"].item() == sum(r.ties for r in results.values())
    assert all(figure.ndim == 0 for figure in figures.values())


def test_videos_without_scores_are_left_out(metric: ProblemSetScores) -> None:
    update(metric, [row for row in rows() if row[:2] in ((1, 0), (1, 3))])
    assert [(id, result.videos) for id, result in metric.per_problem_set().items()] == [
        ("home/level_2/permutation/b", 2)
    ]


def test_locates_videos_by_name(metric: ProblemSetScores) -> None:
    assert metric.locate("home/level_2/permutation/b", "home/3.mp4") == (1, 3)
    with pytest.raises(KeyError, match=r"craft/0\.mp4"):
        metric.locate("home/level_2/permutation/b", "craft/0.mp4")


def test_reset_starts_anew(metric: ProblemSetScores) -> None:
    update(metric, rows())
    metric.reset()
    assert metric.per_problem_set() == {}
    update(metric, rows())
    assert len(metric.per_problem_set()) == 4


@pytest.mark.parametrize(
    "degrade",
    [
        lambda metric: metric.half(),
        lambda metric: metric.set_dtype(torch.float16),
        lambda metric: metric.to(torch.bfloat16),
        lambda metric: torch.nn.ModuleList([metric]).to(torch.float16)[0],
    ],
)
def test_half_precision_does_not_reach_the_scores(degrade: Any) -> None:  # any conversion
    exact, same = ProblemSetScores(SETS), ProblemSetScores(SETS)
    update(exact, rows())
    update(degrade(same), rows()[:10])
    update(degrade(same), rows()[10:])
    assert torch.equal(same.scores.nan_to_num(), exact.scores.nan_to_num())
    assert degrade(same).scores.dtype == torch.float64
    assert same.per_problem_set() == exact.per_problem_set()


@pytest.mark.parametrize("part", [rows() + rows()[:1], rows()[1:]])
def test_every_candidate_must_be_scored_once(metric: ProblemSetScores, part: list[Any]) -> None:
    update(metric, part)
    with pytest.raises(ValueError, match=r"mp4 got \d scores for its \d candidates. Give each candidate exactly one"):
        metric.per_problem_set()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem_set": torch.tensor([4, 0])}, "`problem_set`: expected positions in `problem_sets`, got 4"),
        ({"video": torch.tensor([0, -1])}, "`video`: expected positions .*, got -1"),
        ({"label": torch.tensor([7, 0])}, "`label`: expected positions .*, got 7"),
        ({"score": torch.tensor([0.0, torch.inf])}, "got infinity. Give NaN"),
        ({"score": torch.tensor([0.0])}, r"five columns of one length \(rows,\), got the shapes \(2,\)"),
    ],
)
def test_wrong_rows(metric: ProblemSetScores, changes: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        update(metric, rows()[:2], **changes)
    assert metric.per_problem_set() == {}


@contextmanager
def process_group(rank: int, store: Path) -> Iterator[None]:
    init = f"file://{store}"  # minutes, since the script imports torchmetrics anew, on a machine that may be busy
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=2, timeout=timedelta(minutes=15))
    try:
        yield
    finally:
        dist.destroy_process_group()


def outcome(parts: list[list[Any]]) -> dict[str, Any]:
    """What one rank gets, and whether its own state is intact afterwards."""
    metric = ProblemSetScores(SETS)
    for part in parts:
        update(metric, part)
    before = metric.counts.clone()
    figures = {name: figure.item() for name, figure in metric.compute().items()}
    results = {id: asdict(result) for id, result in metric.per_problem_set().items()}
    return {"figures": figures, "results": results, "intact": torch.equal(metric.counts, before)}


def outcomes_of_rank(rank: int) -> list[dict[str, Any]]:
    """The second rank empty, both with two updates, then a sampler that repeats a video on both."""
    halves = [rows()[0::2], rows()[1::2]]
    found = [
        outcome([rows()[:9], rows()[9:]] if rank == 0 else []),
        outcome([halves[rank][:7], halves[rank][7:]]),
    ]
    try:
        outcome([rows()] if rank == 0 else [rows()[:3]])
    except ValueError as error:
        found.append({"error": str(error)})
    return found


def test_two_ranks_give_what_one_process_gives(tmp_path: Path) -> None:
    expected = outcome([rows()])
    command = [sys.executable, __file__, str(tmp_path / "store"), str(tmp_path / "rank_1.json")]
    with subprocess.Popen(command) as second, process_group(0, tmp_path / "store"):
        first_rank = outcomes_of_rank(0)
        assert second.wait(timeout=900) == 0
    second_rank = json.loads((tmp_path / "rank_1.json").read_text())
    for found in (first_rank, second_rank):
        assert found[:2] == [expected, expected]
        assert "do not use a sampler that repeats samples" in found[2]["error"]


def test_results_are_plain_numbers(metric: ProblemSetScores) -> None:
    update(metric, rows())
    result = metric.per_problem_set()["craft/level_3/remix/d"]
    assert isinstance(result, ProblemSetResult)
    assert all(type(value) in (int, float) for value in asdict(result).values())


if __name__ == "__main__":
    with process_group(1, Path(sys.argv[1])):
        Path(sys.argv[2]).write_text(json.dumps(outcomes_of_rank(1)))
