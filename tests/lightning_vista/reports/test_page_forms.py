"""The forms of the report page in Chromium: windows of every width, paper, and words that stay in their pictures."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from report_data import run_folder, score_table, tables

from lightning_vista.reports.page import write_page
from lightning_vista.reports.results import build_results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
#: A4 at 96 pixels an inch, less margins of 1 cm.
PAPER = 718


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("forms")
    judged = [*tables(), score_table("third-judge", 0.9)]
    return write_page(build_results(judged), judged, root / "report.html", [run_folder(root, judged)])


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as tab:
        tab.send("Emulation.setScrollbarsHidden", hidden=True)
        yield tab
        assert tab.problems() == []


@pytest.mark.parametrize("width", [800, 1024, 1280, 1440])
def test_no_window_scrolls_sideways(page: Path, browser: Browser, width: int) -> None:
    """Verdicts used to be wider than the windows of tablets and small laptops."""
    browser.resize(width)
    browser.open(page)
    assert browser.run("document.documentElement.scrollWidth") == width
    columns = "[...document.querySelectorAll('.panel:not([hidden]) > .figure > .verdicts thead th')]"
    rights = browser.run(f"{columns}.map((node) => node.getBoundingClientRect().right)")
    assert len(rights) == 5
    assert all(0 < right <= width for right in rights)


def found_where(browser: Browser, selector: str, frame: str, is_outside: str, told: str) -> list[str]:
    """The visible elements that leave the frame around them, in words; `own` and `frame` are their boxes."""
    found: list[str] = browser.run(
        f"[...document.querySelectorAll('{selector}')].filter((node) => node.checkVisibility()).filter((node) => {{"
        "  const [own, frame] = [node, node.closest('" + frame + "')].map((each) => each.getBoundingClientRect());"
        f"  return {is_outside}; }}).map((node) => {told})"
    )
    return found


@pytest.mark.parametrize("width", [390, 1440])
def test_words_stay_in_their_pictures(page: Path, browser: Browser, width: int) -> None:
    """The name of a line used to be cut off at the edge of its plot."""
    browser.resize(width)
    browser.open(page)
    assert browser.run("[...document.querySelectorAll('svg.levels text')].some((n) => n.textContent === 'trace-free')")
    outside = "own.left < frame.left - 1 || own.right > frame.right + 1 || own.bottom > frame.bottom + 1"
    assert found_where(browser, "svg.levels text", "svg", outside, "node.textContent") == []


def test_buttons_stay_in_their_sections(page: Path, browser: Browser) -> None:
    """Buttons below the last table of a section used to lie on the line that ends it."""
    browser.resize(1440)
    browser.open(page)
    browser.wait_for("document.querySelectorAll('.downloads').length > 5")
    below = "own.bottom > frame.bottom"
    assert found_where(browser, ".downloads", "section", below, "node.closest('section').id") == []


def test_the_bar_has_room_for_all_sections(page: Path, browser: Browser) -> None:
    browser.resize(1440)
    browser.open(page)
    assert browser.run("document.querySelectorAll('.bar nav a').length") > 10
    assert browser.run(
        "document.querySelector('.bar nav').scrollWidth <= document.querySelector('.bar nav').clientWidth"
    )


def test_the_bar_stays_in_sight(page: Path, browser: Browser) -> None:
    browser.resize(1440)
    browser.open(page)
    browser.run("document.getElementById('definitions').scrollIntoView({behavior: 'instant'})")
    assert browser.run("scrollY") > 1000
    assert browser.run("document.querySelector('.bar').getBoundingClientRect().top") == 0


def test_paper_is_white_and_holds_the_columns(page: Path, browser: Browser) -> None:
    browser.resize(PAPER, 1047)
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    browser.send("Emulation.setEmulatedMedia", media="print", features=[dark])
    browser.open(page)
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("document.documentElement.scrollWidth") == PAPER
    tops = "[...document.querySelectorAll('.verdicts tbody tr')[0].cells].map((n) => n.getBoundingClientRect().top)"
    assert len(set(browser.run(tops))) == 1  # side by side, not under each other
    plots = "[...document.querySelectorAll('#length .panel:not([hidden]) figure')]"
    assert len(set(browser.run(f"{plots}.map((node) => node.getBoundingClientRect().top)"))) == 1
    assert not browser.run("document.querySelector('.corrected').checkVisibility()")
    assert browser.run("[...document.querySelectorAll('.numbers')].filter((n) => n.checkVisibility()).length") == 0
