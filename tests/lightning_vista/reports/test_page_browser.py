"""The report page in Chromium: every switch, the address, files, keyboard, phone, print, and no scripts."""

import base64
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
from browser import CHROMIUM, Browser
from report_data import ATTACK, BOLD, LABELS, SETS, minimal, run_folder, score_table, tables

from lightning_vista.files.csv_tables import plain_cell
from lightning_vista.reports.page import write_page
from lightning_vista.reports.results import build_results
from lightning_vista.vista.tables import ScoreTable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
READY = "!document.querySelector('.controls').hidden"
#: Elements that are drawn: neither hidden nor in closed details.
SHOWN = "(node) => node.checkVisibility()"
ROWS = "[...document.querySelectorAll('#sets > details')].filter((row) => !row.hidden).map((row) => row.id.slice(4))"
SET = "home/level_2/remix/c"


def described(table: ScoreTable) -> ScoreTable:
    """A table that knows the descriptions of its problem sets; those of one set name a lamp."""
    texts = {id: {label: f"First, we see {label}, and then we wait in {id}" for label in LABELS} for id in SETS}
    texts[SET] = {label: f"We turn on the lamp {place}" for place, label in enumerate(LABELS)}
    return replace(table, descriptions=texts)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    judged = [described(table) for table in tables()]
    return write_page(build_results(judged), judged, root / "report.html", [run_folder(root, judged)])


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten scorers, one of them partial, one without any score, and one that draws its scores."""
    judged = [score_table(f"organisation/judge-with-a-long-name-{number}", number / 4) for number in range(10)]
    judged[3] = replace(judged[3], planned=99)
    silent = judged[4].rows.with_columns(score=pl.lit(None, pl.Float64), reason=pl.lit("refused"))
    judged[4] = replace(judged[4], rows=silent)
    judged.append(replace(score_table("dice", 0.0), is_baseline=True))
    return write_page(build_results(judged), judged, tmp_path_factory.mktemp("ten") / "report.html")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as tab:
        tab.resize(1280)
        tab.prefer("light")
        yield tab
        assert tab.problems() == []


def show(browser: Browser, page: Path, address: str = "") -> None:
    browser.open(page)
    if address:
        browser.run(f"location.hash = {json.dumps(address)}")
    browser.wait_for(READY)
    browser.run("new Promise((done) => setTimeout(done, 50))")  # the event of the address comes after the script's end


def pick(browser: Browser, name: str, value: str) -> None:
    browser.run(f"document.querySelector('[name={name}][value=\"{value}\"]').click()")


def select(browser: Browser, title: str, value: str) -> None:
    found = f"[...document.querySelectorAll('#set-filters label')].find((n) => n.textContent.startsWith('{title}'))"
    browser.run(
        f"(() => {{ const box = {found}.querySelector('select'); box.value = '{value}'; "
        "box.dispatchEvent(new Event('change')); })()"
    )


def search(browser: Browser, words: str) -> None:
    browser.run(
        f"(() => {{ const box = document.querySelector('input[type=search]'); box.value = '{words}'; "
        "box.dispatchEvent(new Event('input')); })()"
    )


def saved(browser: Browser, click: str) -> str:
    """The content of the file that a click saves; the click on its link is caught, so that no file is written."""
    browser.run(
        "window.caught = new Promise((done) => { HTMLAnchorElement.prototype.click = function () {"
        " fetchBlob(this.href).then(done); }; });"
        "window.blobs = new Map(); const original = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { const url = original.call(URL, blob); blobs.set(url, blob); return url; };"
        "window.fetchBlob = (url) => blobs.get(url).text();"
    )
    browser.run(click)
    text: str = browser.run("window.caught")
    return text


def overlaps(browser: Browser) -> list[Any]:
    """Sections whose content is drawn over the next one, or leaves its own box."""
    found: list[Any] = browser.run(
        "[...document.querySelectorAll('main > section')].flatMap((section) => {"
        "  const box = section.getBoundingClientRect();"
        "  return [...section.querySelectorAll('svg, table, h3, p')].filter((node) => {"
        "    const own = node.getBoundingClientRect();"
        "    return node.checkVisibility() && own.bottom > box.bottom + 1 && !node.closest('.scroll');"
        "  }).map((node) => `${section.id}: ${node.tagName}`); })"
    )
    return found


def test_figures_follow_the_choices(page: Path, browser: Browser) -> None:
    show(browser, page)
    switches = "(node) => `${node.dataset.environment},${node.dataset.rescaling}`"
    shown = f"[...document.querySelectorAll('.panel')].filter({SHOWN})"
    panels = f"[...new Set({shown}.map({switches}))].sort()"
    assert browser.run(panels) == ["all,any", "all,both"]
    rows = f"[...document.querySelectorAll('.verdicts tr[data-model]')].filter({SHOWN}).length"
    assert browser.run(rows) == 2
    pick(browser, "model", "1")
    assert browser.run(rows) == 1
    pick(browser, "environment", "craft")
    pick(browser, "rescaling", "none")
    assert browser.run(panels) == ["craft,any", "craft,none"]
    assert "Environment" not in browser.run("document.getElementById('announcer').textContent")
    pick(browser, "environment", "home")
    assert browser.run("document.getElementById('announcer').textContent").startswith("Environment home. ")
    assert all(id.startswith("home/") for id in browser.run(ROWS))


@pytest.mark.parametrize("scorers", ["two", "ten"])
def test_nothing_overlaps_when_scorers_are_hidden(page: Path, ten: Path, browser: Browser, scorers: str) -> None:
    """Figures used to keep their height while their places shrank, and lay over the next sections."""
    show(browser, page if scorers == "two" else ten)
    assert overlaps(browser) == []
    for number in range(3):
        pick(browser, "model", str(number))
        assert overlaps(browser) == []
    heights = "[...document.querySelectorAll('main > section')].map((node) => node.offsetHeight)"
    before = browser.run(heights)
    browser.run("document.querySelectorAll('[name=model]:checked').forEach((box) => box.click())")
    assert overlaps(browser) == []
    assert not browser.run("document.getElementById('nobody').hidden")
    assert all(now <= then for now, then in zip(browser.run(heights), before, strict=True))


def test_untrusted_text_is_never_run(page: Path, browser: Browser) -> None:
    show(browser, page)
    browser.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    browser.run("new Promise((done) => setTimeout(done, 200))")
    assert browser.run("window.hacked") is None
    assert browser.run("[...document.images].filter((image) => !image.src.startsWith('data:image/webp')).length") == 0
    assert browser.run("document.querySelectorAll('a[href^=javascript], svg a').length") == 0
    shown = browser.run("document.body.textContent")
    assert ATTACK in shown
    assert BOLD in shown


def test_problem_sets_filter_sort_search_and_open(page: Path, browser: Browser) -> None:
    show(browser, page)
    assert sorted(browser.run(ROWS)) == sorted(SETS)
    select(browser, "Kind", "permutation")
    select(browser, "Level", "3")
    assert sorted(browser.run(ROWS)) == ["home/level_3/permutation/d", "home/level_3/permutation_go_only/g"]
    select(browser, "Kind", "")
    select(browser, "Level", "")
    search(browser, "LAMP turn")
    assert browser.run(ROWS) == [SET]  # by its descriptions, which no example shows
    search(browser, "")
    results = build_results(tables())
    sets = {model: part["problem_sets"] for model, part in results.items()}
    above = {
        id: sum(sets[m][id]["macro_f1"] for m in (BOLD, "plain judge")) / 2 - sets["random"][id]["macro_f1"]
        for id in SETS
    }
    select(browser, "Order", "hard")
    found = [above[id] for id in browser.run(ROWS)]
    assert found == pytest.approx(sorted(above.values()), abs=2e-3)
    select(browser, "Order", "easy")
    assert [above[id] for id in browser.run(ROWS)] == pytest.approx(sorted(above.values(), reverse=True), abs=2e-3)
    select(browser, "Order", "id")
    browser.run("document.querySelector('.hardest').open = true; document.querySelector('.hardest a').click()")
    assert browser.run("document.querySelectorAll('#sets > details[open]').length") == 1
    assert browser.run("document.activeElement.closest('details').querySelectorAll('.confusion').length") == 2


def test_confusions_count_every_video(page: Path, browser: Browser) -> None:
    show(browser, page, f"set={quote(SET, safe='')}")
    cells = (
        "[...document.querySelector('details[open] .confusion').querySelectorAll('td')].map((cell) => cell.textContent)"
    )
    counts = browser.run(cells)
    assert len(counts) == 3 * 4  # the fourth column is the unscored video
    assert sum(int(count) for count in counts if count != "·") == 6
    labels = browser.run("[...document.querySelectorAll('details[open] .labels li')].map((n) => n.textContent)")
    assert [label.split(" lamp ")[1][0] for label in labels] == ["0", "1", "2"]
    many = quote("craft/foundation/foundation/many", safe="")
    show(browser, page, f"set={many}")
    heads = "[...document.querySelectorAll('details[open] .confusion thead th')].map((cell) => cell.textContent)"
    assert browser.run(heads)[:4] == ["label", "hits", "misses", "false alarms"]


def test_the_address_restores_the_state(page: Path, browser: Browser) -> None:
    show(browser, page)
    pick(browser, "environment", "home")
    pick(browser, "rescaling", "none")
    pick(browser, "model", "0")
    select(browser, "Kind", "general")
    search(browser, "lamp")
    browser.run("document.getElementById('corrected').click()")
    browser.run(f"openSet({json.dumps(SET)}); writeAddress()")
    address = browser.run("location.hash")
    show(browser, page, "")
    assert browser.run("address()") == ""  # a page without an address opens as it was written
    browser.send("Page.navigate", url="about:blank")
    browser.send("Page.navigate", url=page.as_uri() + address)
    browser.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")
    browser.wait_for(READY)
    assert browser.run("[state.environment, state.view, [...state.shown]]") == ["home", 1, [1]]
    assert browser.run(ROWS) == [SET]
    assert browser.run("document.getElementById('corrected').checked")
    assert browser.run(f"document.getElementById('set={SET}').open")
    assert browser.run("location.hash") == address


@pytest.mark.parametrize("is_allowed", [True, False])
def test_the_link_is_copied_or_stands_in_the_address_bar(page: Path, browser: Browser, is_allowed: bool) -> None:
    show(browser, page)
    pick(browser, "environment", "home")
    write = "window.copied = text" if is_allowed else "throw new Error('refused')"
    clipboard = f"{{value: {{writeText: async (text) => {{ {write}; }}}}}}"
    browser.run(f"Object.defineProperty(navigator, 'clipboard', {clipboard})")
    browser.run("document.getElementById('share').click()")
    said = "Copied" if is_allowed else "The address bar has it"
    browser.wait_for(f"document.getElementById('announcer').textContent === '{said}'")
    assert browser.run("location.hash").endswith("env=home")
    assert not is_allowed or browser.run("window.copied === location.href")


def test_an_address_of_something_unknown_is_harmless(page: Path, browser: Browser) -> None:
    show(browser, page, "env=nowhere&show=99&set=nothing&kind=none&order=none&q=&scores=magic")
    assert browser.run("document.getElementById('announcer').textContent") == "This report has no problem set nothing."
    assert browser.run("document.querySelectorAll('#sets > details').length") == len(SETS)


def test_sections_and_sets_have_addresses_of_their_own(page: Path, browser: Browser) -> None:
    show(browser, page)
    links = "[...document.querySelectorAll('.bar nav a')].map((link) => link.getAttribute('href').slice(1))"
    assert all(browser.run(f"Boolean(document.getElementById('{name}'))") for name in browser.run(links))
    assert browser.run(
        "[...document.querySelectorAll('h2 .anchor')].every((link) => document.querySelector(link.hash))"
    )
    browser.run("document.querySelector('.card .path a').click()")
    assert browser.run("location.hash").startswith("#set=")
    assert browser.run("document.querySelectorAll('#sets > details[open]').length") == 1


def test_the_overview_sorts_and_corrects_for_chance(page: Path, browser: Browser) -> None:
    show(browser, page)
    rows = "[...document.querySelectorAll('.sortable')].find((t) => t.getClientRects().length)"
    names = f"[...{rows}.tBodies[0].rows].map((row) => row.cells[0].textContent.trim())"
    column = f"{rows}.tHead.rows[0].cells[2]"
    values = (
        f"[...{rows}.tBodies[0].rows].filter((row) => !row.hidden).map((row) => Number(row.cells[2].dataset.value))"
    )
    browser.run(f"{column}.querySelector('button').click()")
    assert browser.run(f"{column}.ariaSort") == "descending"
    first = browser.run(values)
    assert first[:-1] == sorted(first[:-1], reverse=True)
    browser.run(f"{column}.querySelector('button').click()")
    second = browser.run(values)
    assert second[:-1] == sorted(first[:-1])
    assert browser.run(names)[-1] == "A random answer"  # pinned
    text = (
        f"[...{rows}.tBodies[0].rows].find((row) => row.matches('.pinned')).cells[2].querySelector('.f1').textContent"
    )
    browser.run("document.getElementById('corrected').click()")
    assert browser.run(text) in ("0.00", "-0.00")
    browser.run("document.getElementById('corrected').click()")
    assert float(browser.run(text)) > 0


def test_files_hold_what_the_page_shows(page: Path, browser: Browser) -> None:
    show(browser, page)
    results = build_results(tables())
    found = json.loads(saved(browser, "document.querySelector('[data-file=json]').click()"))
    assert set(found) == set(results)
    for model, part in results.items():
        sets = {id: entry["macro_f1"] for id, entry in found[model]["problem_sets"].items()}
        assert sets == pytest.approx({id: entry["macro_f1"] for id, entry in part["problem_sets"].items()}, abs=1e-3)
        assert len(found[model]["aggregates"]) == len(part["aggregates"])
    show(browser, page)
    rows = list(csv.DictReader(io.StringIO(saved(browser, "document.querySelector('[data-file=csv]').click()"))))
    assert len(rows) == sum(len(part["aggregates"]) for part in results.values())
    assert {row["model"] for row in rows} == set(results)


def test_every_figure_gives_csv_and_svg(page: Path, browser: Browser) -> None:
    show(browser, page)
    figures = f"[...document.querySelectorAll('.figure')].filter({SHOWN})"
    for number in range(browser.run(f"{figures}.length")):
        drawing = browser.run(f"figureSvg({figures}[{number}])")
        assert drawing.startswith("<svg")
        assert "var(--" not in drawing
        parse = f"new DOMParser().parseFromString({json.dumps(drawing)}, 'image/svg+xml')"
        parsed = browser.run(f"{parse}.querySelectorAll('parsererror').length")
        assert parsed == 0
        assert "<text" in drawing
        assert len(list(csv.reader(io.StringIO(browser.run(f"figureCsv({figures}[{number}])"))))) > 1
    assert "<svg" in saved(browser, "document.querySelectorAll('.downloads button')[1].click()")


def test_no_file_of_the_page_has_a_formula(browser: Browser, tmp_path: Path) -> None:
    name = '=HYPERLINK("http://x";"y")'
    judged = [score_table(name, 0.6), score_table("two\nlines", 0.2)]
    results = build_results(judged)
    show(browser, write_page(results, judged, tmp_path / "report.html"))
    texts = [name, "+1+1", " -a", "@SUM(1)", "\t=1", "\r=1", "＝1", "a=b", "-0.5", "+3", "'=1", "-", ""]  # noqa: RUF001
    values = [*texts, -0.5, None]
    assert browser.run(f"{json.dumps(values)}.map(plain)") == [
        "" if value is None else str(plain_cell(value)) for value in values
    ]
    tables = [browser.run(f"figureCsv(document.querySelectorAll('.figure')[{number}])") for number in range(3)]
    tables.append(saved(browser, "document.querySelector('[data-file=csv]').click()"))
    cells = [cell for table in tables for row in csv.reader(io.StringIO(table)) for cell in row]
    assert any(cell == f"'{name}" for cell in cells)
    assert [cell for cell in cells if plain_cell(cell) != cell] == []
    show(browser, tmp_path / "report.html")
    found = json.loads(saved(browser, "document.querySelector('[data-file=json]').click()"))
    for model, part in results.items():
        rows = [{**row, "mean_macro_f1": pytest.approx(row["mean_macro_f1"], abs=1e-3)} for row in part["aggregates"]]
        kept = ("environment", "level", "kind", "mean_macro_f1", "problem_sets")
        assert [{key: row[key] for key in kept} for row in found[model]["aggregates"]] == [
            {key: row[key] for key in kept} for row in rows
        ]


def test_examples_play(page: Path, browser: Browser) -> None:
    show(browser, page)
    assert browser.run("document.querySelectorAll('.card').length") == 3
    assert browser.run("document.querySelectorAll('video').length") == 0
    browser.run("document.querySelector('.play').click()")
    browser.wait_for("document.querySelector('video').readyState >= 2")
    browser.wait_for("document.querySelector('video').currentTime > 0")
    browser.run("document.querySelector('a[href^=\"#transcript-\"]').click()")
    assert browser.run("document.querySelector('.transcript').open")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scorers", ["two", "ten"])
def test_a_phone_shows_all_without_scrolling_sideways(
    page: Path, ten: Path, browser: Browser, scheme: str, scorers: str, tmp_path: Path
) -> None:
    browser.resize(390)
    browser.prefer(scheme)
    show(browser, page if scorers == "two" else ten)
    browser.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    browser.run("new Promise((done) => setTimeout(done, 300))")
    assert browser.run("document.documentElement.scrollWidth") == 390
    assert browser.run("window.innerWidth") == 390
    small = (
        f"[...document.querySelectorAll('button, .choice, summary, .bar a, select')].filter({SHOWN})"
        ".filter((node) => node.getBoundingClientRect().height < 31.5).map((node) => node.outerHTML.slice(0, 60))"
    )
    assert browser.run(small) == []  # fingers are wide
    browser.screenshot(tmp_path / f"{scheme}.png")


def test_the_page_takes_the_colours_of_the_theme(page: Path, browser: Browser) -> None:
    show(browser, page)
    line = "getComputedStyle(document.querySelector('svg.track circle, svg.track path')).stroke"
    light = browser.run(line)
    browser.prefer("dark")
    browser.wait_for(f"{line} !== '{light}'")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"


def test_the_keyboard_reaches_and_works_everything(page: Path, browser: Browser) -> None:
    show(browser, page)
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.className") == "skip"
    for _ in range(400):
        browser.run("document.activeElement.dataset.reached = true")
        browser.press("Tab", 9)
        if browser.run("document.activeElement === document.body || 'reached' in document.activeElement.dataset"):
            break
    wanted = f"[...document.querySelectorAll('button, summary, a[href], select, input')].filter({SHOWN})"
    missed = browser.run(
        f"{wanted}.filter((n) => !n.dataset.reached && n.type !== 'radio').map((n) => n.outerHTML.slice(0, 80))"
    )
    assert missed == []
    browser.run("document.querySelector('#sets summary').focus()")
    browser.press("Enter", 13, "\r")
    browser.wait_for("document.querySelector('#sets details').open")
    browser.run("document.querySelector('[name=model]').focus()")
    browser.press(" ", 32, " ")
    assert not browser.run("state.shown.has(0)")
    browser.run("document.querySelector('[name=environment]').focus()")
    browser.press("ArrowRight", 39)
    assert browser.run("state.environment") == "craft"


def test_everything_has_a_name(page: Path, browser: Browser) -> None:
    show(browser, page)
    browser.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    browser.send("Accessibility.enable")
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "checkbox", "radio", "combobox", "searchbox", "image", "region", "Video", "form"}
    named = [node for node in nodes if node.get("role", {}).get("value") in roles and not node["ignored"]]
    assert len(named) > 60
    assert not [node for node in named if not node.get("name", {}).get("value")]


def test_without_scripts_the_page_is_whole(page: Path, browser: Browser) -> None:
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    browser.send("Page.navigate", url=page.as_uri())
    while not any(event.get("method") == "Page.loadEventFired" for event in browser.events):
        browser.send("Page.getFrameTree")  # events are read with the answers
    document = browser.send("DOM.getDocument", depth=-1)["root"]["nodeId"]

    def count(selector: str) -> int:
        return len(browser.send("DOM.querySelectorAll", nodeId=document, selector=selector)["nodeIds"])

    def is_shown(selector: str) -> bool:
        node = browser.send("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        try:
            return bool(browser.send("DOM.getBoxModel", nodeId=node)["model"]["height"])
        except Exception:  # the protocol's answer for an element without a box
            return False

    assert count("#sets > details") == len(SETS)
    for selector in ("h1", ".verdicts svg.track", "svg.levels", ".matrix", ".card .strip img", "#sets > details"):
        assert is_shown(selector), selector
    assert not is_shown(".controls")
    assert not is_shown("#set-filters")
    assert count("#sets .labels li") == 3 * len(SETS)


def test_print_shows_the_figures_and_no_switches(page: Path, browser: Browser) -> None:
    show(browser, page)
    browser.send("Emulation.setEmulatedMedia", media="print")
    assert not browser.run("document.querySelector('.controls').getClientRects().length")
    assert not browser.run("document.querySelector('.bar').getClientRects().length")
    for selector in (".verdicts svg.track", "svg.levels", ".strip img"):
        assert browser.run(f"[...document.querySelectorAll('{selector}')].some({SHOWN})")
    pdf = base64.b64decode(browser.send("Page.printToPDF", printBackground=True)["data"])
    assert pdf.startswith(b"%PDF")


def test_ten_scorers_are_told_apart(ten: Path, browser: Browser, tmp_path: Path) -> None:
    show(browser, ten)
    symbols = browser.run("[...document.querySelectorAll('symbol')].map((node) => node.innerHTML)")
    assert len(set(symbols[:10])) == 10
    rows = f"[...document.querySelectorAll('.verdicts tbody tr')].filter({SHOWN})"
    assert browser.run(f"{rows}.length") == 10
    assert browser.run("document.documentElement.scrollWidth") <= 1280
    named = browser.run(f"{rows}.map((row) => row.querySelector('.name').textContent)")
    assert not any("dice" in name for name in named)
    pick(browser, "model", "10")
    assert browser.run(f"{rows}.length") == 11
    silent = browser.run(f"{rows}.find((row) => row.textContent.includes('name-4')).textContent")
    assert "below chance" in silent  # nothing of it is scored, which counts as wrong
    assert browser.run("document.querySelector('.banner').textContent").count("videos scored") == 1
    assert "refused" in browser.run("document.querySelector('.facts-table').textContent")
    assert browser.screenshot(tmp_path / "ten.png").stat().st_size > 10_000


def test_minimal_results(browser: Browser, tmp_path: Path) -> None:
    results, judged = minimal()
    show(browser, write_page(results, judged, tmp_path / "report.html"))
    assert browser.run("document.querySelectorAll('#sets > details').length") == 7


def test_sets_that_are_not_compared_are_listed_and_open(browser: Browser, tmp_path: Path) -> None:
    home = [name for name in SETS if name.startswith("home")]
    judged = [score_table("a", 0.6), replace(score_table("b", 0.2, home), planned=99)]
    show(browser, write_page(build_results(judged), judged, tmp_path / "report.html"))
    ranked = browser.run(
        "[...document.querySelectorAll('.panel:not([hidden]) .hardest a')].map((link) => link.textContent)"
    )
    assert sorted(ranked) == sorted(home)
    assert set(browser.run(ROWS)[: len(home)]) == set(home)  # what is compared comes first
    assert sorted(browser.run(ROWS)) == sorted(SETS)
    browser.run("openSet('craft/level_2/remix/i')")
    assert browser.run("document.querySelectorAll('details[open] .confusion').length") == 1
    select(browser, "Order", "hard")
    assert {id.split("/")[0] for id in browser.run(ROWS)[-2:]} == {"craft"}  # without a mean over both scorers
