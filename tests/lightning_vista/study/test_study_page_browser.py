from pathlib import Path

import pytest
from browser import CHROMIUM, Browser

from lightning_vista.study import FigureSpec, Study, Variant, expand_study
from lightning_vista.study.study_page import write_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
DRAWN = "[...document.querySelectorAll('#figures svg')].map((node) => node.getBoundingClientRect().width > 200)"
COLOURS = "[...document.querySelectorAll('#figures svg use')].map((node) => getComputedStyle(node).fill)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_draws_its_figures_and_asks_for_nothing(tmp_path: Path, scheme: str) -> None:
    figures = [FigureSpec("Bars </script>", {"a <b>": "a", "b": "b"}), FigureSpec("Lines", {"a": "a"}, x="size")]
    variants = [Variant("one"), Variant("<i>two</i>")]
    study = Study("A <b>study</b>", variants, {"a": "a"}, grid={"size": [1, 2]}, seeds=[0, 1], figures=figures)
    runs = expand_study(study, tmp_path)
    for number, run in enumerate(runs):
        run.write()
        run.finish({"a": number, "b": -number}, seconds=1)
    with Browser(tmp_path / "profile") as browser:
        browser.resize(400)
        browser.prefer(scheme)
        browser.open(write_study(study, runs, tmp_path))
        assert browser.run(DRAWN) == [True, True]
        assert ("rgb(86, 180, 233)" if scheme == "dark" else "rgb(0, 114, 178)") in browser.run(COLOURS)
        assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.run("document.querySelector('h1').textContent") == "A <b>study</b>"
        assert browser.problems() == []
