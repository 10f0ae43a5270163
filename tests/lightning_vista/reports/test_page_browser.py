from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from report_data import ATTACK, BOLD, SETS, minimal, run_folder, score_table, tables

from lightning_vista.reports.page import write_page
from lightning_vista.reports.results import build_results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
VISIBLE = "[...document.querySelectorAll('.plot')].filter((node) => node.offsetParent !== null)"
DRAWN = f"{VISIBLE}.length > 0 && {VISIBLE}.every((node) => node.querySelector('.main-svg'))"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    judged = tables()
    return write_page(build_results(judged), judged, root / "report.html", [run_folder(root, judged)])


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as tab:
        tab.resize(1280)
        tab.prefer("light")
        yield tab
        assert tab.problems() == []


def pick(browser: Browser, name: str, value: str) -> None:
    browser.run(f"document.querySelector('[name={name}][value=\"{value}\"]').click()")


def select(browser: Browser, form: str, place: int, value: str) -> None:
    chosen = f"document.querySelectorAll('#{form} select')[{place}]"
    browser.run(f"{chosen}.value = '{value}'; {chosen}.dispatchEvent(new Event('change'))")


def test_figures_follow_the_choices(page: Path, browser: Browser, tmp_path: Path) -> None:
    browser.open(page)
    browser.wait_for(DRAWN)
    lines = (
        "document.querySelector('[data-plot=\"levels/both/all/0\"]').querySelectorAll('.scatterlayer .trace').length"
    )
    assert browser.run(lines) == 4
    pick(browser, "model", "1")
    assert browser.run(lines) == 3
    assert browser.run("document.querySelectorAll('tr[data-model=\"1\"]')[0].hidden")
    pick(browser, "environment", "craft")
    pick(browser, "rescaling", "none")
    browser.wait_for(DRAWN)
    assert set(browser.run(f"{VISIBLE}.map((node) => node.dataset.plot.split('/').slice(1, 3).join())")) == {
        "none,craft",
        "any,craft",
    }
    assert browser.screenshot(tmp_path / "page.png").stat().st_size > 10_000


def test_untrusted_text_is_never_run(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.wait_for(DRAWN)
    browser.run("document.querySelectorAll('.opener').forEach((_, place, all) => all[place].click())")
    browser.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert browser.run("window.hacked") is None
    assert browser.run("document.images.length") == 0
    assert browser.run("document.querySelectorAll('a[href^=javascript], svg a').length") == 0
    shown = browser.run("document.body.textContent")
    assert ATTACK in shown
    names = browser.run("[...document.querySelectorAll('.annotation-text')].map((node) => node.textContent)")
    assert any(name.startswith(BOLD[:20]) for name in names)


def test_problem_sets_filter_sort_and_open(page: Path, browser: Browser) -> None:
    browser.open(page)
    rows = "[...document.querySelectorAll('#sets tr[data-set]')].map((row) => row.dataset.set)"
    assert len(browser.run(rows)) == 9
    select(browser, "set-filters", 0, "craft")
    assert browser.run(rows)
    assert all(name.startswith("craft/") for name in browser.run(rows))
    select(browser, "set-filters", 0, "")
    select(browser, "set-filters", 1, "permutation")
    select(browser, "set-filters", 2, "3")
    assert sorted(browser.run(rows)) == ["home/level_3/permutation/d", "home/level_3/permutation_go_only/g"]
    select(browser, "set-filters", 1, "")
    select(browser, "set-filters", 2, "")
    levels = "[...document.querySelectorAll('#sets td:nth-child(3)')].map((cell) => Number(cell.textContent))"
    for direction, reverse in (("ascending", False), ("descending", True)):
        browser.run("document.querySelector('[data-key=level]').click()")
        assert browser.run(levels) == sorted(browser.run(levels), reverse=reverse)
        assert browser.run("document.querySelector('[aria-sort]').ariaSort") == direction
    browser.run("document.querySelector('.hardest a').click()")
    assert len(browser.run(rows)) == 1
    assert browser.run("document.querySelectorAll('.confusion').length") == 2
    assert browser.run("document.activeElement.getAttribute('aria-expanded')") == "true"


def test_only_common_problem_sets_are_ranked(browser: Browser, tmp_path: Path) -> None:
    home = [name for name in SETS if name.startswith("home")]
    judged = [score_table("a", 0.6), replace(score_table("b", 0.2, home), planned=99)]
    browser.open(write_page(build_results(judged), judged, tmp_path / "report.html"))
    browser.wait_for(DRAWN)
    ranked = browser.run("[...document.querySelectorAll('.hardest a')].map((link) => link.textContent)")
    assert sorted(ranked) == sorted(home)
    mean = "[...document.querySelectorAll('#sets tr[data-set^=craft] td:nth-child(5)')].map((cell) => cell.textContent)"
    assert browser.run(mean) == ["–", "–"]  # noqa: RUF001  no mean of one scorer
    heads = browser.run("[...document.querySelectorAll('#sets th')].map((cell) => cell.textContent)")
    assert "■ b part" in " ".join(heads)
    pick(browser, "environment", "craft")
    assert browser.run("document.querySelectorAll('.hardest li').length") == 0
    assert not browser.run("document.getElementById('hardest-nothing').hidden")


def test_confusions_count_every_video(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.run("document.querySelector('[data-set=\"home/level_2/remix/c\"] button').click()")
    cells = browser.run("[...document.querySelectorAll('.confusion')][0].querySelectorAll('td').length")
    assert cells == 3 * 4  # the fourth column is the unscored video
    counts = browser.run("[...document.querySelector('.confusion').querySelectorAll('td')].map((c) => c.textContent)")
    assert sum(int(count) for count in counts if count != "·") == 6


def test_examples_play_and_filter(page: Path, browser: Browser) -> None:
    browser.open(page)
    assert browser.run("document.querySelectorAll('.example').length") == 3
    browser.wait_for("[...document.querySelectorAll('video')].every((video) => video.readyState >= 2)")
    browser.run("document.querySelector('video').scrollIntoView()")
    browser.run("document.querySelector('video').play()")
    browser.wait_for("document.querySelector('video').currentTime > 0")
    right = browser.run("document.querySelectorAll('.example small.right').length")
    wrong = browser.run("document.querySelectorAll('.example small.wrong').length")
    assert right + wrong + browser.run("document.querySelectorAll('.example small.unscored').length") == 6
    select(browser, "example-filters", 2, "0")
    for outcome in ("right", "wrong"):
        select(browser, "example-filters", 3, outcome)
        verdicts = browser.run(
            "[...document.querySelectorAll('.example th:nth-child(2) small')].map((n) => n.className)"
        )
        assert all(verdict == outcome for verdict in verdicts)
    assert browser.run("document.querySelector('#example-status').textContent").endswith(" of 3 examples.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_without_scrolling_sideways(
    page: Path, browser: Browser, scheme: str, tmp_path: Path
) -> None:
    browser.resize(360)
    browser.prefer(scheme)
    browser.open(page)
    browser.wait_for(DRAWN)
    browser.run("document.querySelectorAll('.opener')[0].click()")
    browser.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert browser.run("document.documentElement.scrollWidth") == 360
    assert browser.run("window.innerWidth") == 360
    browser.screenshot(tmp_path / f"{scheme}.png")


def test_figures_take_the_colours_of_the_theme(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.wait_for(DRAWN)
    line = "getComputedStyle(document.querySelector('.js-line')).stroke"
    light = browser.run(line)
    browser.prefer("dark")
    browser.wait_for(f"{line} !== '{light}'")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"


def test_keyboard_and_names(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.className") == "skip"
    browser.run("document.querySelector('.opener').focus()")
    browser.press("Enter", 13, "\r")
    assert browser.run("document.querySelector('.opener').ariaExpanded") == "true"
    assert browser.run("document.activeElement === document.querySelector('.opener')")
    browser.send("Accessibility.enable")
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "checkbox", "radio", "combobox", "searchbox", "image", "region", "Video", "form"}
    named = [node for node in nodes if node.get("role", {}).get("value") in roles and not node["ignored"]]
    assert len(named) > 30
    assert not [node for node in named if not node.get("name", {}).get("value")]


def test_minimal_results(browser: Browser, tmp_path: Path) -> None:
    results, judged = minimal()
    browser.open(write_page(results, judged, tmp_path / "report.html"))
    browser.wait_for(DRAWN)
    assert browser.run("document.querySelectorAll('#sets tr[data-set]').length") == 7
