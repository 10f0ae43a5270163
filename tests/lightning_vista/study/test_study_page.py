import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lightning_vista.study import FigureSpec, Run, Study, StudyError, Variant, expand_study, read_study
from lightning_vista.study.differing import differing_settings
from lightning_vista.study.loss_curves import plan_curves
from lightning_vista.study.study_page import write_study
from lightning_vista.study.study_table import gather

ROUTING = {"class_path": "lightning_vista.callbacks.GradientRouting", "init_args": {"mask_weight": 1.0}}
STUDY = Study(
    "Losses",
    [
        Variant("routed"),
        Variant("plain", overrides={"callbacks.GradientRouting.mask_weight": 0.0, "data.path": "/srv/elsewhere/texts"}),
    ],
    {"loss": "test/loss", "accuracy": "test/accuracy"},
    finding="The loss falls from {plain: loss} to {routed: loss}.",
    better={"loss": "lower"},
    overrides={"trainer.callbacks+": [ROUTING]},
    seeds=[0, 1],
    figures=[FigureSpec("Losses", {"loss": "test/loss"}, reference={"ordinary": "plain"})],
)
COMMAND = ["study", "losses.yaml", "--set", "data.path=/srv/elsewhere/texts"]


def finish(runs: list[Run]) -> None:
    for run in runs:
        run.write()
        value = (run.variant == "plain") + run.seed / 4
        run.finish({"test/loss": 2 + value, "test/accuracy": value / 2}, seconds=1)
        rows = "".join(f"{step},0,{4 - step / 100 + run.seed},\n" for step in range(0, 300, 2))
        (run.folder / "losses.csv").write_text(f"step,epoch,train/loss,train/accuracy\n{rows}", encoding="utf-8")


@pytest.fixture
def study(tmp_path: Path) -> tuple[Study, list[Run], Path]:
    (tmp_path / "base.yaml").write_text("trainer: {callbacks: []}\ndata: {path: texts}\n", encoding="utf-8")
    made = replace(STUDY, overrides={"trainer.callbacks": [ROUTING]}, configs=[str(tmp_path / "base.yaml")])
    runs = expand_study(made, tmp_path / "out")
    return made, runs, tmp_path / "out"


def test_finding_direction_and_command_are_told(study: tuple[Study, list[Run], Path]) -> None:
    made, runs, out = study
    finish(runs)
    page = write_study(made, runs, out, command=COMMAND).read_text(encoding="utf-8")
    assert '<p class="finding">The loss falls from 3.12 to 2.12.</p>' in page
    assert '<abbr title="lower is better">↓</abbr>' in page
    assert re.search(r'routed</th><td class="best">2.125', page)
    text = (out / "results.md").read_text(encoding="utf-8")
    assert "The loss falls from 3.12 to 2.12.\n" in text
    assert "| run | loss ↓ | accuracy |\n" in text
    assert "4 of 4 runs, 2 seed(s)" in text
    assert "    lightning-vista study losses.yaml --set data.path=…/texts\n" in text
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert (content["smoke"], content["better"]) == (False, {"loss": "lower"})


def test_figures_are_files_with_their_values(study: tuple[Study, list[Run], Path]) -> None:
    made, runs, out = study
    finish(runs)
    write_study(made, runs, out)
    files = {form: (out / f"figure_1.{form}").read_bytes() for form in ("pdf", "png")}
    assert files["pdf"].startswith(b"%PDF-")
    with Image.open(io.BytesIO(files["png"])) as picture:
        assert picture.width > 600
        assert len(set(picture.convert("L").tobytes())) > 10
    lines = (out / "figures.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["number,figure,series,x,value", "1,Losses,loss,routed,2.0", "1,Losses,loss,routed,2.25"]
    write_study(made, runs, out)
    assert files == {form: (out / f"figure_1.{form}").read_bytes() for form in ("pdf", "png")}


def test_no_path_of_the_machine_is_in_what_is_shared(study: tuple[Study, list[Run], Path]) -> None:
    made, runs, out = study
    finish(runs)
    page = write_study(made, runs, out, command=[*COMMAND, "--out", str(out)])
    for path in (page, out / "results.md", out / "results.json"):
        text = path.read_text(encoding="utf-8")
        assert not [place for place in (str(out), str(out.parent), str(Path.cwd()), "/srv") if place in text]
    assert "lightning-vista fit --config ./runs/routed/seed_0/run.yaml" in page.read_text(encoding="utf-8")


def test_a_folder_with_a_short_name_changes_no_words(
    study: tuple[Study, list[Run], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, out = replace(study[0], summary="One run goes without routing."), study[2]
    monkeypatch.chdir(out.parent)
    runs = expand_study(made, Path("out"))
    finish(runs)
    page = write_study(made, runs, Path("out")).read_text(encoding="utf-8")
    assert made.summary in page
    rows = json.loads(Path("out/results.json").read_text(encoding="utf-8"))["rows"]
    assert [row["run"] for row in rows] == ["routed", "plain"]


def test_a_smoke_run_says_so_and_has_no_finding(study: tuple[Study, list[Run], Path]) -> None:
    made, _, out = study
    runs = expand_study(made, out, smoke=True)
    finish(runs)
    page = write_study(made, runs, out, smoke=True).read_text(encoding="utf-8")
    assert "<title>SMOKE RUN: Losses</title>" in page
    assert '<p class="smoke" role="note">SMOKE RUN' in page
    assert "No finding yet: a smoke run shows" in page
    assert "> **SMOKE RUN" in (out / "results.md").read_text(encoding="utf-8")
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert (content["smoke"], content["finding"]) == (True, "")


def test_missing_runs_withhold_the_finding(study: tuple[Study, list[Run], Path]) -> None:
    made, runs, out = study
    finish(runs[:3])
    page = write_study(made, runs, out).read_text(encoding="utf-8")
    assert "No finding yet: runs or their numbers are missing." in page
    assert "3 of 4 runs finished" in page


def test_missing_numbers_withhold_the_finding(study: tuple[Study, list[Run], Path]) -> None:
    made, runs, out = study
    made = replace(made, metrics={**made.metrics, "loss": "test/losses"})  # which no run has logged
    finish(runs)
    page = write_study(made, runs, out).read_text(encoding="utf-8")
    assert "No finding yet: runs or their numbers are missing." in page
    assert "nan" not in (out / "results.md").read_text(encoding="utf-8")


def test_runs_differ_in_settings_by_the_class_of_callbacks(study: tuple[Study, list[Run], Path]) -> None:
    made, runs, _ = study
    assert differing_settings(runs) == {
        "routed": {"path": "texts", "mask_weight": "1.0"},
        "plain": {"path": "/srv/elsewhere/texts", "mask_weight": "0.0"},
    }
    other = replace(made, runs=[made.runs[0], Variant("bare", overrides={"trainer.callbacks": []})])
    assert differing_settings(expand_study(other, "out"))["bare"] == {"mask_weight": "absent"}


def test_losses_are_means_over_seeds_from_either_log(study: tuple[Study, list[Run], Path]) -> None:
    made, runs, out = study
    finish(runs)
    for run in runs[2:]:  # as a CSVLogger keeps them
        log = run.folder / "lightning_logs" / "version_0" / "metrics.csv"
        log.parent.mkdir(parents=True)
        (run.folder / "losses.csv").rename(log)
    (chart,) = plan_curves(gather(runs))
    assert (chart.title, list(chart.series), chart.dots) == ("train/loss", ["routed", "plain"], False)
    for points in chart.series.values():
        assert len(points) <= 61
        assert (points[0].place, points[-1].place) == (0, 298)
        assert points[0].values == (4, 5)
    names = ["train/loss", "train/accuracy"]
    assert [chart.title for chart in plan_curves(gather(runs), names)] == names
    assert "Losses over steps" in write_study(made, runs, out).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("better: {speed: higher}", "`better`: expected columns of .*got 'speed'"),
        ("better: {loss: larger}", "(?s)study.better.*Got value: larger"),
        ('finding: "{routed: speed}"', "`finding`: expected columns of .*got 'speed'"),
        ('finding: "{other: loss}"', "`finding`: expected rows of .*got 'other'"),
        ("figures: [{title: t, series: {a: b}, reference: {r: other}}]", "`reference`: expected a number or one of"),
    ],
)
def test_options_that_name_nothing_are_refused(tmp_path: Path, option: str, message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"title: t\nruns: [{{name: routed}}]\nmetrics: {{loss: test/loss}}\n{option}\n", encoding="utf-8")
    with pytest.raises(StudyError, match=message):
        read_study(path)
