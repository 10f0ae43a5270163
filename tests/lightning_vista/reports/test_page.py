import base64
import hashlib
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects
import pytest
from report_data import ATTACK, BOLD, SETS, minimal, run_folder, score_table, tables

from lightning_vista.reports import examples
from lightning_vista.reports.headline import headline
from lightning_vista.reports.page import write_page
from lightning_vista.reports.results import build_results
from lightning_vista.reports.view import views


class Page(HTMLParser):
    """The elements, attributes and scripts of a page, as a browser's parser would find them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._in_script = False
        self.source = path.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.text += data

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found

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


def test_policy_allows_exactly_the_scripts_of_the_page(full: Page) -> None:
    (policy,) = [a["content"] for _, a in full.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in full.scripts[1:]]
    assert rules["script-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)


def test_texts_stay_text(full: Page) -> None:
    assert [a.get("type") for tag, a in full.elements if tag == "script"] == ["application/json", None, None]
    assert "img" not in {tag for tag, _ in full.elements}
    assert not [name for _, name, _ in full.attributes() if name.startswith("on")]
    assert not set("<>&\u2028") & set(full.scripts[0])
    assert ATTACK in full.data["sets"][0]["labels"]
    assert ATTACK in full.text  # the transcript and the reasons, shown as they are
    assert BOLD in full.text
    assert BOLD not in json.dumps(full.data["plots"])  # where plotly would take it for markup


def test_same_input_same_bytes(tmp_path: Path) -> None:
    judged = tables()
    run = run_folder(tmp_path, judged)
    pages = [write_page(build_results(judged), judged, tmp_path / name, [run]).read_bytes() for name in "ab"]
    assert pages[0] == pages[1]


def test_every_section_and_its_tables(full: Page) -> None:
    sections = [attributes["id"] for tag, attributes in full.elements if tag == "section"]
    figures = ["overview", "levels", "kinds", "order", "reward", "differences", "raw", "hardest", "problem-sets"]
    assert sections == [*figures, "examples", "transcripts", "definitions"]
    plots = [attributes["data-plot"] for _, attributes in full.elements if "data-plot" in attributes]
    assert sorted(map(str, plots)) == sorted(full.data["plots"])
    assert len([tag for tag, _ in full.elements if tag == "figure"]) == len(plots)
    assert len([tag for tag, _ in full.elements if tag == "caption"]) == len(plots)


def test_plots_are_valid(full: Page) -> None:
    for plot in full.data["plots"].values():
        figure = plotly.graph_objects.Figure(plot)
        assert figure.data


def test_minimal_results(tmp_path: Path) -> None:
    results, judged = minimal()
    page = Page(write_page(results, judged, tmp_path / "deep" / "report.html"))
    sections = {attributes["id"] for tag, attributes in page.elements if tag == "section"}
    assert not sections & {"order", "reward", "differences", "raw", "transcripts"}
    assert "bare score tables" in page.text
    assert page.data["rescalings"] == ["both"]


def test_predictions_are_those_of_the_metrics(full: Page) -> None:
    results = build_results(tables())
    data = full.data
    assert data["rescalings"] == ["both", "none"]
    assert [found["id"] for found in data["sets"]] == sorted(SETS)
    for found in data["sets"]:
        for place, model in enumerate(data["models"][: data["scorers"]]):
            for view, part in enumerate((results[model], results[model]["raw"])):
                expected = part["problem_sets"][found["id"]]
                predicted = found["predicted"][view][place]
                right = sum(guess == true for guess, true in zip(predicted, found["truth"], strict=True))
                assert right / len(predicted) == pytest.approx(expected["accuracy"])
                assert predicted.count([]) == expected["unscored"] == 1
                assert found["results"][view][place] == [
                    pytest.approx(expected["macro_f1"], abs=1e-4),
                    pytest.approx(expected["accuracy"], abs=1e-4),
                    *(expected[name] for name in ("videos", "unscored", "ties")),
                ]


def test_several_true_labels(full: Page) -> None:
    (many,) = [found for found in full.data["sets"] if found["id"].endswith("many")]
    assert [0, 1] in many["truth"] or [1, 2] in many["truth"]
    assert all(
        len(guess) == len(true)
        for guess, true in zip(many["predicted"][0][0], many["truth"], strict=True)
        if isinstance(true, list) and guess
    )


def test_examples_and_transcripts(full: Page, tmp_path: Path) -> None:
    data = full.data
    run = run_folder(tmp_path, tables())
    assert [base64.b64decode(video) for video in data["videos"]] == [
        path.read_bytes() for path in sorted((run / "examples").glob("*.mp4"))
    ]
    assert [example["transcripts"] for example in data["examples"]] == [[{"place": 0, "run": "run"}], [], []]
    assert data["examples"][0]["descriptions"] == [
        f"First, we go to {label}, and then we wait" for label in ("z", "y", ATTACK)
    ]
    rows = tables()[1].rows
    first = data["examples"][0]
    expected = rows.filter((rows["problem_set"] == first["set"]) & (rows["video"] == first["video"]))["score"]
    assert first["scores"][1] == expected.to_list()


def test_videos_beyond_the_budget_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = tables()
    run = run_folder(tmp_path, judged)
    first = base64.b64encode((run / "examples" / "key0.mp4").read_bytes())
    monkeypatch.setattr(examples, "VIDEO_BYTES", len(first) + 10)
    page = Page(write_page(build_results(judged), judged, tmp_path / "report.html", [run, run]))
    assert len(page.data["videos"]) == len(page.data["examples"]) == 1
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


def test_headline_names_the_best_scorer() -> None:
    sentences = headline(views(build_results(tables()))[0])
    assert sentences[0].startswith(f"Of 2 scorers, {BOLD} does best: it reaches a mean macro F1 of ")
    assert "over 9 problem sets, against " in sentences[0]
    assert sentences[1].startswith("Its F1 goes from ")
    assert sentences[2] == "18 of 92 (video, problem set) pairs are unscored."


@pytest.mark.slow
def test_the_whole_benchmark_fits_in_15_mb(tmp_path: Path) -> None:
    kinds = ("foundation/objects", "foundation/clean", "level_2/remix", "level_5/permutation")
    sets = [f"{('home', 'craft', 'world')[n % 3]}/{kinds[n % 4]}/number_{n}" for n in range(492)]
    judged = [score_table(f"judge {number}", number / 5, sets) for number in range(5)]
    results = build_results(judged)
    page = write_page(results, judged, tmp_path / "report.html")
    assert page.stat().st_size < 15e6
