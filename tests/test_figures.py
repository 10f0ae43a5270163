"""The figures of the documents: drawn from committed files alone, with nothing where no value can be."""

import csv
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lightning_vista.drawing.charts import Chart

ROOT = Path(__file__).parents[1]
RESULTS, SCRIPTS = ROOT / "docs" / "results", ROOT / "docs" / "figures"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a script of docs/figures, as Python does when it runs it."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    names = [path.stem for path in SCRIPTS.glob("*.py")]

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in names:
        sys.modules.pop(name, None)


def test_all_figures_are_drawn_from_the_committed_files(
    scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = scripts("draw_results")
    drawn: list[Chart] = []
    panel = script.panel
    monkeypatch.setattr(script, "OUT", tmp_path)

    def keep(chart: Chart) -> Any:
        drawn.append(chart)
        return panel(chart)

    monkeypatch.setattr(script, "panel", keep)
    for figure in script.FIGURES:
        figure()
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 14
    for name in names:
        assert (RESULTS / name).exists()
        assert (RESULTS / name).with_suffix(".csv").exists()
        page = (RESULTS / name).with_suffix(".md").read_text(encoding="utf-8")
        assert f"]({name})" in page
    for chart in drawn:
        low, high = chart.bounds
        assert chart.values
        assert all(low <= value <= high for value in chart.values), chart.title
        if chart.y_title in ("Accuracy", "Share of episodes"):
            assert (low, high) == (0, 1)


def test_numbers_of_gone_runs_are_those_that_the_page_prints(scripts: Any) -> None:
    found = 0
    for path in (*RESULTS.glob("*.csv"), RESULTS.with_name("model_card.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = list(csv.reader(file))
        if "source" in head:
            found += 1
            page = path.with_suffix(".md").read_text(encoding="utf-8")
            assert rows == scripts("tables_to_csv").rows_of(page), path.name
    assert found == 9


def test_every_page_of_results_names_its_command_and_its_numbers() -> None:
    interval = re.compile(r"\d \([-+]?\d*\.\d+ to ")
    pages = [path for path in RESULTS.glob("*.md") if path.name != "README.md"]
    assert len(pages) >= 12
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert re.search(r"^ +(lightning-vista|python) ", text, flags=re.MULTILINE), f"{path.name}: no command"
        if interval.search(text):
            assert f"]({path.stem}.csv)" in text, f"{path.name}: no CSV file of its numbers"
            assert path.with_suffix(".csv").exists()


def test_cells_of_pages_are_means_with_intervals_or_seeds(scripts: Any) -> None:
    numbers = scripts("tables_to_csv").numbers
    assert list(numbers(".080 (-.009 to .168)")) == [("", ".080", "-.009", ".168")]
    assert list(numbers("1.5")) == [("", "1.5", "", "")]
    assert list(numbers("1 / 844 / .2")) == [("0", "1", "", ""), ("1", "844", "", ""), ("2", ".2", "", "")]
    columns = scripts("tables_to_csv").columns_of("dual-mean", "1.00 ± 0.01 / 0.56 ± 0.15")
    assert [(column, value) for column, _, value, *_ in columns] == [
        ("dual-mean", "1.00"),
        ("dual-mean, standard deviation", "0.01"),
        ("dual-mean, held out", "0.56"),
        ("dual-mean, held out, standard deviation", "0.15"),
    ]
    assert list(numbers(".013, .037, -.016")) == [("0", ".013", "", ""), ("1", ".037", "", ""), ("2", "-.016", "", "")]
    assert list(numbers("not run")) == list(numbers("")) == []


def test_the_picture_of_the_readme_is_drawn_from_the_committed_files(scripts: Any, tmp_path: Path) -> None:
    from PIL import Image

    scripts("draw_readme").draw(tmp_path / "demo.png")
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.size == (1200, 420)


def test_the_picture_of_the_readme_shows_orders_that_leave_no_traces(scripts: Any) -> None:
    script = scripts("draw_readme")
    with script.LEVELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["kind"], row["problem_sets"]) for row in rows} == {("general", "6"), ("trace-free", "8")}
    assert "/permutation_go_only/" in script.TASK
    own, chance = (script.points_of(rows, model, "trace-free") for model in ("dual-mean", "random"))
    assert own[:, 1].mean() <= chance[:, 1].mean()


def test_the_template_of_a_report_names_what_is_logged(scripts: Any) -> None:
    wr = pytest.importorskip("wandb_workspaces.reports.v2", reason="only the template needs it")
    blocks = repr(list(scripts("wandb_report").sections(wr, wr.Runset(entity="me", project="p"))))
    tables = set(re.findall(r"table_name='([^']+)'", blocks))
    assert tables >= {"test/videos", "test/order_verdicts", "routing/shares", "test/relearning", "test/profiles_table"}


def test_the_pictures_of_the_report_page_are_those_of_the_script(scripts: Any) -> None:
    from PIL import Image

    script = scripts("draw_report")
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    shown = {match for match in re.findall(r"\]\(report/(\w+)\.png\)", text)}
    assert shown == set(script.FORMS) == {path.stem for path in script.OUT.iterdir()}
    for name, form in script.FORMS.items():
        path = script.OUT / f"{name}.png"
        assert path.stat().st_size < 150_000
        with Image.open(path) as picture:
            assert picture.size == (form.width, form.height)


@pytest.mark.slow
def test_the_script_of_the_report_page_takes_and_measures(
    scripts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image, ImageChops
    from report_data import minimal

    from lightning_vista.reports.page import write_page

    script = scripts("draw_report")
    if script.CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    page = write_page(*minimal(), tmp_path / "report.html")
    script.draw(page, tmp_path / "pictures")
    with (
        Image.open(tmp_path / "pictures" / "light.png") as light,
        Image.open(tmp_path / "pictures" / "dark.png") as dark,
    ):
        means = [sum(picture.convert("L").resize((1, 1)).getdata()) for picture in (light, dark)]
        assert ImageChops.difference(light.convert("RGB"), dark.convert("RGB")).getbbox()
    assert means[0] > 200
    assert means[1] < 60
    script.measure(page, rounds=1)
    printed = capsys.readouterr().out
    assert f"weight: {page.stat().st_size / 1e6:.2f} MB" in printed
    assert re.search(r"interactive: \d+ ms \(median of 1;", printed)
