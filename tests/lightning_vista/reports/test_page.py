"""The file of the report page, without a browser."""

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_data import ATTACK, BOLD, LABELS, SETS, minimal, run_folder, score_table, tables

from lightning_vista.evaluation.provenance import Provenance, write_provenance
from lightning_vista.files.own_files import write_cached
from lightning_vista.reports import examples
from lightning_vista.reports.page import html_page, write_page
from lightning_vista.reports.page.set_entries import as_list
from lightning_vista.reports.results import build_results
from lightning_vista.reports.style import styles
from lightning_vista.reports.summary import summary_notes
from lightning_vista.reports.view import views
from lightning_vista.vista.index import sample_key


class Page(HTMLParser):
    """The elements, attributes and scripts of a page, as a browser's parser would find them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self._inside = ""
        self.source = path.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "style":
            self.styles.append(data)
        else:
            self.text += data

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found

    @property
    def sets(self) -> list[str]:
        """Ids of the problem sets, in the order of the data."""
        return [str(a["id"]).removeprefix("set=") for _, a in self.elements if a.get("class") == "set"]

    def attributes(self) -> Iterator[tuple[str, str, str | None]]:
        for tag, attributes in self.elements:
            for name, value in attributes.items():
                yield tag, name, value


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Page:
    root = tmp_path_factory.mktemp("report")
    judged = tables()
    return Page(write_page(build_results(judged), judged, root / "report.html", [run_folder(root, judged)]))


def test_one_file_that_fetches_nothing(full: Page) -> None:
    links = [value or "" for _, name, value in full.attributes() if name in ("src", "href", "action", "poster")]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not {"link", "iframe", "object", "embed", "base"} & {
        tag for tag, attributes in full.elements if attributes.get("rel") != "icon"
    }


def test_policy_allows_exactly_the_scripts_and_styles_of_the_page(full: Page) -> None:
    (policy,) = [a["content"] for _, a in full.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for name, texts in (("script-src", full.scripts[1:]), ("style-src", full.styles)):
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert rules[name] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert not [name for _, name, _ in full.attributes() if name == "style"]


def test_texts_stay_text(full: Page) -> None:
    scripts = [a.get("type") for tag, a in full.elements if tag == "script"]
    assert scripts == ["application/json", *[None] * len(html_page._SCRIPTS)]
    pictures = [a["src"] or "" for tag, a in full.elements if tag == "img"]
    assert all(source.startswith("data:image/webp;base64,") for source in pictures)
    assert not [name for _, name, _ in full.attributes() if name.startswith("on")]
    assert not set("<>&\u2028") & set(full.scripts[0])
    assert ATTACK in full.text  # labels, the transcript and the reasons, shown as they are
    assert BOLD in full.text


@pytest.mark.parametrize("split", [None, "val <i>"])
def test_the_line_below_the_title_names_the_split_where_it_is_known(tmp_path: Path, split: str | None) -> None:
    judged = tables()
    run = run_folder(tmp_path, judged)
    dataset = {"environments": ["toy"], "problem_sets": 3, "videos": 40, "plan": "1f3a" * 16}
    dataset |= {} if split is None else {"split": split}
    facts: Any = (judged[0].model, "a.Judge", {}, {"num_frames": 8}, (), "32-true", "cpu", dataset)
    write_provenance(Provenance(*facts), run)
    page = Page(write_page(build_results(judged), judged, tmp_path / "report.html", [run]))
    lines = re.findall(r'<p class="provenance">.*?</p>', page.source)
    named = "" if split is None else ", split val &lt;i&gt;"
    assert lines
    assert all(f"· data: toy{named} (shards 1f3a1f3a1f3a)" in line for line in lines)


def test_same_input_same_bytes(tmp_path: Path) -> None:
    judged = tables()
    run = run_folder(tmp_path, judged)
    pages = [write_page(build_results(judged), judged, tmp_path / name, [run]).read_bytes() for name in "ab"]
    assert pages[0] == pages[1]


def test_the_order_of_the_sections(full: Page) -> None:
    sections = [attributes["id"] for tag, attributes in full.elements if tag == "section"]
    figures = ["verdicts", "length", "types", "order", "reward", "differences", "raw", "problem-sets"]
    assert sections == [*figures, "examples", "transcripts", "scorers", "definitions"]
    names = {str(a["href"]) for tag, a in full.elements if tag == "a"}
    assert {f"#{section}" for section in sections} <= names  # the bar leads to each


def test_every_picture_says_what_it_shows_and_has_its_numbers(full: Page) -> None:
    pictures = [a for tag, a in full.elements if tag == "svg" and a.get("role") == "img"]
    assert len(pictures) > 40
    assert all(picture["aria-label"] for picture in pictures)
    plots = len([a for a in pictures if a.get("class") == "levels"])
    # Every plot has its numbers; so have the figures of rewards, which are tables.
    assert 0 < plots <= len([a for _, a in full.elements if a.get("class") == "numbers"])
    assert not re.search(r'(?:x|y|cx|cy|width|height|d)="[^"]*(?:nan|inf|None)', full.source)


def test_one_panel_is_open_without_scripts(full: Page) -> None:
    panels = [a for _, a in full.elements if a.get("class") == "panel"]
    open_panels = [a for a in panels if "hidden" not in a]
    assert {(a["data-environment"], a["data-rescaling"]) for a in open_panels} == {("all", "both"), ("all", "any")}
    assert {a["data-environment"] for a in panels} == {"all", "home", "craft"}
    assert all("hidden" in a for _, a in full.elements if "scripted" in (a.get("class") or ""))


def test_the_switch_says_what_it_does_not_change(full: Page) -> None:
    assert "Order or traces, rewards, differences and examples keep the scores they name." in full.text
    assert full.text.count("These figures keep the scores they name, whatever is chosen above.") == 2


def test_optional_parts_may_be_missing(tmp_path: Path) -> None:
    results, judged = minimal()
    page = Page(write_page(results, judged, tmp_path / "deep" / "report.html"))
    assert "made from bare score tables" in page.text
    assert "This environment lacks figures against chance." in page.text
    assert len(page.data["rescalings"]) == 1
    sections = [a["id"] for tag, a in page.elements if tag == "section"]
    assert sections == ["verdicts", "types", "problem-sets", "examples", "scorers", "definitions"]


def test_predictions_agree_with_the_results(full: Page) -> None:
    results = build_results(tables())
    data = full.data
    assert data["rescalings"] == ["both", "none"]
    assert full.sets == sorted(SETS)
    scorers = [(place, m["name"]) for place, m in enumerate(data["models"]) if not m["baseline"]]
    assert {name for _, name in scorers} == {BOLD, "plain judge"}
    for id, found in zip(full.sets, data["sets"], strict=True):
        for place, model in scorers:
            for view, part in enumerate((results[model], results[model]["raw"])):
                expected = part["problem_sets"][id]
                predicted = found["predicted"][view][place]
                right = sum(guess == true for guess, true in zip(predicted, found["truth"], strict=True))
                assert right / len(predicted) == pytest.approx(expected["accuracy"])
                assert predicted.count([]) == expected["unscored"] == 1
                assert found["results"][view][place] == [
                    pytest.approx(expected["macro_f1"], abs=1e-3),
                    pytest.approx(expected["accuracy"], abs=1e-3),
                    *(expected[name] for name in ("videos", "unscored", "ties")),
                ]


def test_several_true_labels(full: Page) -> None:
    (many,) = [found for id, found in zip(full.sets, full.data["sets"], strict=True) if id.endswith("many")]
    assert [0, 1] in many["truth"] or [1, 2] in many["truth"]
    assert all(
        len(as_list(guess)) == len(as_list(true))
        for guess, true in zip(many["predicted"][0][0], many["truth"], strict=True)
        if guess != []
    )


def test_every_problem_set_shows_its_descriptions(tmp_path: Path) -> None:
    """Descriptions used to come from the examples alone, so that most sets had none, and the search missed them."""
    texts = {id: {label: f"We see the {id} of {label}" for label in LABELS} for id in SETS}
    judged = [replace(table, descriptions=texts) for table in tables()]
    page = Page(write_page(build_results(judged), judged, tmp_path / "report.html"))
    assert all(page.text.count(text) == 1 for own in texts.values() for text in own.values())


def test_descriptions_that_differ_between_scorers_are_named_and_shown_by_scorer(tmp_path: Path) -> None:
    """The last table's texts used to stand for the scores of all, silently."""
    sets = ("home/level_2/remix/c", "craft/level_2/remix/i")
    judged = []
    for verb, name in (("open", "a"), ("close", "b"), ("open", "c")):
        texts = {id: {label: f"We {verb if id == sets[0] else 'see'} {label}" for label in LABELS} for id in sets}
        judged.append(replace(score_table(name, 0.5), descriptions=texts))
    results = build_results(judged)
    digests = [results[name]["descriptions"] for name in "abc"]
    assert digests[0] == digests[2]
    assert [id for id in sets if digests[0][id] != digests[1][id]] == [sets[0]]
    note = f"Scorers were given different descriptions in 1 problem set, under the same labels: {sets[0]} (a, c / b)."
    assert summary_notes(results)[-1] == note
    folder = run_folder(tmp_path, judged)
    entries = [{"video": "home/c 1.mp4", "file": "key0.mp4", "problem_set": sets[0], "descriptions": texts[sets[0]]}]
    (folder / "examples/examples.json").write_text(json.dumps(entries))
    page = Page(write_page(results, judged, tmp_path / "report.html", runs=[folder]))
    assert note in page.text
    assert page.text.count("a, c: We open z; b: We close z") == 2  # in the list of problem sets, and on the example
    assert page.text.count("We see z") == 1


def test_tables_without_descriptions_or_with_the_same_ones_have_no_note() -> None:
    same = {id: {label: f"We see {label}" for label in LABELS} for id in SETS}
    judged = [replace(score_table("a", 0.5), descriptions=same), replace(score_table("b", 0.5), descriptions=same)]
    for shown in (judged, [judged[0], score_table("old", 0.5)]):
        assert not any("descriptions" in note for note in summary_notes(build_results(shown)))


def test_steps_that_differ_are_marked(tmp_path: Path) -> None:
    orders = ("First, we go to a, and then we go to b", "First, we go to b, and then we go to a", "We wait")
    texts = {"home/level_2/permutation/e": dict(zip(LABELS, orders, strict=True))}
    judged = [replace(score_table("judge", 0.5), descriptions=texts)]
    page = write_page(build_results(judged), judged, tmp_path / "report.html").read_text("utf-8")
    assert "<li>First, we go to a, and then we go to b" in page
    assert "<li><mark>First, we go to b, and then we go to a</mark>" in page


def test_no_two_of_sixty_scorers_look_alike() -> None:
    """Colours and symbols used to repeat together, so that the ninth scorer looked like the first."""
    looks = [(look.colour, look.symbol) for look in styles(f"judge {number}" for number in range(60)).values()]
    assert len(set(looks)) == 60


def test_examples_and_transcripts(full: Page, tmp_path: Path) -> None:
    run = run_folder(tmp_path, tables())
    files = [path.read_bytes() for path in sorted((run / "examples").glob("*.mp4"))]
    assert [base64.b64decode(video) for video in full.data["videos"].values()] == files
    cards = full.source.split('<article class="card">')[1:]
    assert len(cards) == 3
    assert sum('href="#transcript-0"' in card for card in cards) == 1
    assert full.source.count("First, we go to z, and then ") > 1  # the examples' descriptions
    shown = re.findall(r"<td[^>]*><span[^>]*>([^<]*)</span>", "".join(cards))
    rows = tables()[1].rows
    pairs = re.findall(r'<a href="#set=[^"]*">([^<]*)</a> · level .*? · (.*?)</p>', "".join(cards))
    assert len(pairs) == 3
    scored = rows.filter(rows["score"].is_not_null())
    assert {f"{value:.3f}" for value in scored["score"]} & set(shown)


def test_a_transcript_that_is_not_text_shows_that(tmp_path: Path) -> None:
    run = run_folder(tmp_path, tables())
    path = next((run / "transcripts").glob("*.txt"))
    path.write_bytes(b"They \xff wait")
    assert "They \N{REPLACEMENT CHARACTER} wait" in [each.text for each in examples.read_showcase([run]).transcripts]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize("pattern", ["transcripts/*.txt", "examples/*.mp4", "strips/*.webp"])
def test_a_page_shows_only_files_of_the_run_folder(tmp_path: Path, pattern: str, kind: str) -> None:
    judged = tables()
    run = run_folder(tmp_path, judged)
    (run / "strips").mkdir(exist_ok=True)
    write_cached(run / "strips" / f"{sample_key(judged[0].rows['video'][0])}-6.webp", b"x")
    path = sorted(run.glob(pattern))[0]
    outside = path.rename(tmp_path / "private")
    if kind == "link":
        path.symlink_to(outside)
    else:
        os.mkfifo(path)
    with pytest.raises(ValueError, match="got a link that leaves it|expected a regular file, got a folder, a pipe"):
        write_page(build_results(judged), judged, tmp_path / "report.html", [run])


def test_only_the_first_examples_can_be_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = tables()
    monkeypatch.setattr(html_page, "PLAYED", 1)
    page = Page(write_page(build_results(judged), judged, tmp_path / "report.html", [run_folder(tmp_path, judged)]))
    assert len(page.data["videos"]) == 1
    assert [tag for tag, a in page.elements if a.get("class") == "play"] == ["button"]
    assert len([a for _, a in page.elements if a.get("class") == "strip"]) == 3


def test_videos_beyond_the_budget_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = tables()
    run = run_folder(tmp_path, judged)
    first = base64.b64encode((run / "examples" / "key0.mp4").read_bytes())
    monkeypatch.setattr(examples, "VIDEO_BYTES", len(first) + 10)
    page = Page(write_page(build_results(judged), judged, tmp_path / "report.html", [run, run]))
    assert len(page.data["videos"]) == page.source.count('<article class="card">') == 1
    assert "2 example videos of run did not fit" in page.text


@pytest.mark.parametrize("file", ["../../secret.mp4", "/etc/passwd", 3])
def test_an_example_must_lie_in_its_folder(file: object, tmp_path: Path) -> None:
    judged = tables()
    run = run_folder(tmp_path, judged)
    listing = run / "examples" / "examples.json"
    listing.write_text(json.dumps([json.loads(listing.read_text("utf-8"))[0] | {"file": file}]), "utf-8")
    with pytest.raises(ValueError, match=r"examples\.json: expected a list"):
        write_page(build_results(judged), judged, tmp_path / "report.html", [run])


def test_one_rescaling_per_page() -> None:
    judged = tables()
    mixed = build_results(judged[:1], "both") | build_results(judged[1:], "video")
    with pytest.raises(ValueError, match="one rescaling, got \\['both', 'video'\\]"):
        views(mixed)


@pytest.mark.slow
def test_the_whole_benchmark_fits_in_15_mb(tmp_path: Path) -> None:
    kinds = ("foundation/objects", "foundation/clean", "level_2/remix", "level_5/permutation")
    sets = [f"{('home', 'craft', 'world')[n % 3]}/{kinds[n % 4]}/number_{n}" for n in range(492)]
    judged = [score_table(f"judge {number}", number / 5, sets) for number in range(5)]
    results = build_results(judged)
    page = write_page(results, judged, tmp_path / "report.html")
    assert page.stat().st_size < 15e6
