import re
from pathlib import Path
from xml.etree import ElementTree

import lightning as L
import pytest
import torch

from lightning_vista.callbacks import Evaluation, ProgressCurves
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.evaluation.example_videos import read_examples
from lightning_vista.evaluation.progress_file import Progress, ProgressFile, read_progress, write_progress
from lightning_vista.reports import write_report
from lightning_vista.reports.progress_figure import draw_progress
from lightning_vista.scorers import Scores, VLMScorer
from lightning_vista.video import FrameSpec
from lightning_vista.vista.batch import VideoBatch
from lightning_vista.vista.tables import read_scores


class Brightness(VLMScorer):
    """Scores each description with its length, times the mean of the frames."""

    def __init__(self) -> None:
        super().__init__("brightness", FrameSpec(3, size=16))

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        means = batch.frames.double().mean(dim=(1, 2, 3, 4))
        return [
            [Scores(mean * torch.tensor([float(len(text)) for text in each.descriptions])) for each in sets]
            for mean, sets in zip(means, batch.candidates, strict=True)
        ]


def evaluate(shards: Path, run: Path, *callbacks: L.Callback) -> Brightness:
    scorer = Brightness()
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Evaluation(str(run)), *callbacks],
    )
    trainer.test(scorer, ViSTaDataModule(str(shards), scorer.frame_spec, num_workers=0), verbose=False)
    return scorer


@pytest.fixture(scope="module")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "brightness"
    evaluate(shards, folder, ProgressCurves(points=4, per_step=True))
    return folder


def test_every_example_has_the_curve_of_its_true_description(run: Path) -> None:
    measured = read_progress(run)
    assert measured is not None
    assert measured.model == "brightness"
    assert not measured.left_out
    examples = read_examples(run)
    assert [(curve.video, curve.problem_set) for curve in measured.curves] == [
        (example["video"], example["problem_set"]) for example in examples
    ]
    table = read_scores(run).rows
    for curve, example in zip(measured.curves, examples, strict=True):
        true = table.filter(
            (table["video"] == curve.video) & (table["problem_set"] == curve.problem_set) & table["target"]
        )
        assert curve.description in [example["descriptions"][label] for label in true["label"]]
        direct = Brightness().progress(run / "examples" / example["file"], curve.description, 4)
        assert curve.values == pytest.approx(direct.values)
        # The whole video is what the run has scored, since these examples are the dataset's own files.
        assert curve.values[-1] == pytest.approx(true["score"][0])
        assert curve.steps[-1][1] == curve.values


def test_videos_with_too_few_frames_are_listed(shards: Path, tmp_path: Path) -> None:
    evaluate(shards, tmp_path / "run", ProgressCurves(points=1000))
    measured = read_progress(tmp_path / "run")
    assert measured is not None
    assert not measured.curves
    assert measured.left_out
    assert "expected at least as many frames as points (1000)" in measured.left_out[0]


def test_the_page_shows_the_curves(run: Path, tmp_path: Path) -> None:
    page = write_report([run], tmp_path, rescaling="none").read_text(encoding="utf-8")
    assert page.count('<figure class="progress">') > 0
    assert re.search(r"<figcaption>[^<]*: (?:value order -?\d\.\d\d|constant)", page)
    assert "rank correlation with time" in page


def test_a_page_without_curves_does_not_speak_of_them(shards: Path, tmp_path: Path) -> None:
    evaluate(shards, tmp_path / "run")
    page = write_report([tmp_path / "run"], tmp_path, rescaling="none").read_text(encoding="utf-8")
    assert '<figure class="progress">' not in page
    assert "rank correlation with time" not in page


def test_too_few_points_are_refused_before_the_run() -> None:
    with pytest.raises(ValueError, match="`points`: expected at least 3, got 2"):
        ProgressCurves(points=2)


CURVE = Progress(
    "First, we open it, and then we close it",
    (1, 3, 5, 9),
    (0.0, 0.25, 0.5, 1.0),
    (0.5, float("nan"), 0.75, 1.0),
    (("We open it", (0.25, 0.75, 0.5, 0.5)), ("First, we open it, and then we close it", (0.0, 0.25, 0.5, 1.0))),
    "home/a b.mp4",
    "home/level_2/remix/a",
)


def test_the_file_comes_back_whole(tmp_path: Path) -> None:
    written = ProgressFile("judge", (CURVE,), ("one was short",))
    write_progress(written, tmp_path)
    found = read_progress(tmp_path)
    assert repr(found) == repr(written)  # NaN differs from itself
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    assert read_progress(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("old", "new"), [('"version": 1', '"version": 2'), ("0.75", "0.76"), ('"curves"', '"lines"'), ("{", "")]
)
def test_a_damaged_file_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = write_progress(ProgressFile("judge", (CURVE,)), tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"progress\.json: expected the progress file of a run, version 1"):
        read_progress(tmp_path)


def test_a_step_that_was_done_stays_done() -> None:
    # Highest values so far: .25 .75 .75 .75, and 0 .25 .5 1; their means at the points, and lines between these.
    assert CURVE.steps_per_frame() == pytest.approx([0.125, 0.3125, 0.5, 0.5625, 0.625, 0.6875, 0.75, 0.8125, 0.875])
    with pytest.raises(ValueError, match="Measure progress with per_step=True"):
        Progress("a", (1, 2, 3), (0, 1, 2), (0, 1, 2)).steps_per_frame()


def test_lines_of_a_figure_have_gaps_where_points_are_unscored() -> None:
    whole = Progress("a", (1, 5, 9), (0.0, 0.5, 1.0), (0.0, 0.5, 1.0))
    picture = ElementTree.fromstring(draw_progress({"<b>": CURVE, "b": whole}, ["<b>", "b"]))
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    points = [[tuple(map(float, point.split(","))) for point in line.get("points", "").split()] for line in lines]
    assert list(map(len, points)) == [1, 2, 3]
    assert list(points[2][0]) == [30, 104]  # the lowest value at the bottom, the highest at the top
    assert list(points[2][2]) == [270, 8]
    assert lines[0].get("stroke") != lines[2].get("stroke")
    assert "<b>: some points unscored; b: value order 1.00" in picture.get("aria-label", "")


def test_no_scores_no_figure() -> None:
    nothing = Progress("a", (1, 5, 9), (0.0, 0.5, 1.0), (float("nan"),) * 3)
    assert draw_progress({"a": nothing}, ["a"]) == ""


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000])
def test_a_file_that_is_nested_without_end_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text(text)
    with pytest.raises(ValueError, match=r"progress\.json: expected the progress file of a run"):
        read_progress(tmp_path)
