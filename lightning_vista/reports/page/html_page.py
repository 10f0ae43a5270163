"""The report page: one HTML file that works without a network and, but for its switches, without scripts."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_vista.code_version import code_version
from lightning_vista.files.own_files import write_whole
from lightning_vista.optional import require
from lightning_vista.processes.parallel import one_thread
from lightning_vista.reports.against import Change
from lightning_vista.reports.coverage import (
    descriptions_note,
    differing_descriptions,
    left_out,
    left_out_note,
    partial_notes,
    single_videos,
    single_videos_note,
)
from lightning_vista.reports.examples import Showcase, read_showcase
from lightning_vista.reports.joining import description_versions, predictions
from lightning_vista.reports.order_controls import control_kinds, order_verdicts
from lightning_vista.reports.page.cast import Member, cast, judges_of
from lightning_vista.reports.page.example_cards import Card, chosen_first, make_card, raw_scores, task_to_watch
from lightning_vista.reports.page.panels import build_panels
from lightning_vista.reports.page.reward_table import SUCCESS_COLUMNS
from lightning_vista.reports.page.scorer_facts import scorer_facts
from lightning_vista.reports.page.scorer_profiles import profile_tables, scorer_profiles
from lightning_vista.reports.page.set_entries import Versions, set_data, set_entries
from lightning_vista.reports.page.strip_pictures import Strips, example_strip
from lightning_vista.reports.page.svg import draw_mark
from lightning_vista.reports.page.type_table import KIND_TITLES
from lightning_vista.reports.progress_figure import draw_progress, value_orders
from lightning_vista.reports.results import results_table
from lightning_vista.reports.style import interval
from lightning_vista.reports.view import View, views
from lightning_vista.vista.tables import TABLE_NAME, ScoreTable, read_scores

TEMPLATES = Path(__file__).parents[1] / "templates"
#: Number of example videos that the page holds; the others are in the run folders, and here as film strips.
PLAYED = 3
#: Style of a scorer's mark in the list of problem sets, where an SVG for each would weigh more than the rest.
_MARK = '.scores [data-model="%d"]::before, .answers [data-model="%d"] th::before { content: "%s "; color: %s; }\n'
_SCRIPTS = ("dom.js", "state.js", "confusions.js", "problem_sets.js", "examples.js", "downloads.js", "start.js")


@one_thread()
def write_page(
    results: Mapping[str, Mapping[str, Any]],
    tables: Sequence[ScoreTable],
    out_path: str | Path,
    runs: Sequence[str | Path] = (),
    changes: Sequence[Change] = (),
    change_notes: Sequence[str] = (),
) -> Path:
    """Write the report page; the same input gives the same bytes.

    All text of the input appears as text, even if it looks like markup. A content security policy keeps the page from
    loading or running anything that is not in the file.

    Args:
        results: Content of `results.json`: all models under one rescaling, including the baselines.
        tables: Score tables from which the results were computed.
        out_path: HTML file to write; its folder is created.
        runs: Run folders with `run.json`, `strips/`, `examples/` and `transcripts/`; without them the page says that it
            lacks these.
        changes: Result of `compare_with_earlier`, for a page that compares with an earlier report.
        change_notes: Result of `notes_on_earlier`.

    Returns:
        Path of the file.

    Raises:
        ValueError: If the results have several rescalings, or a run's `examples.json` or `run.json` is damaged.
        ModuleNotFoundError: If jinja2 is missing; the message names the extra.
    """
    kinds = {problem_set: kind for table in tables for problem_set, kind in table.kinds.items()}
    folders = [Path(run) for run in runs]
    partial, everything = partial_notes(results), results
    profiles = scorer_profiles(list(results), folders)
    # A scorer without some of its modules is not another scorer: it has a section of its own.
    results = {model: part for model, part in results.items() if not any(model in each.cut for each in profiles)}
    shown = views(results, kinds)
    members = cast(results, shown[0], partial)
    results = {member.name: results[member.name] for member in members}  # every part has the page's order
    panels = build_panels(results, shown, members)
    places = [(panel.rescaling, panel.environment) for panel in panels]
    page = _template().render(
        views=shown,
        view=shown[0],
        panels=panels,
        profiles=profile_tables(everything, kinds, members, profiles, places),
        members=members,
        judges=judges_of(members),
        partial=partial,
        has_runs=bool(runs),
        facts=scorer_facts(results, members, folders),
        changes=[change for change in changes if change.model in results],
        change_notes=change_notes,
        run_names=[run.name for run in folders],
        **_videos(results, shown, members, tables, folders),
        **_notes(results),
        **_frame(members),
    )
    path = Path(out_path)
    write_whole(path, page)
    return path


def _videos(
    results: Mapping[str, Mapping[str, Any]],
    shown: Sequence[View],
    members: Sequence[Member],
    tables: Sequence[ScoreTable],
    folders: Sequence[Path],
) -> dict[str, Any]:
    """Return the problem sets and the examples, with their videos, and the data of the page's scripts."""
    view, judges = shown[0], judges_of(members)
    # What a scorer of random numbers was shown is of interest only without other scorers.
    drawn = [run for run in folders if _is_drawn(run, members)]
    showcase = read_showcase([run for run in folders if run not in drawn])
    predicted = predictions(tables, [view.rescaling for view in shown])
    strips = Strips([*(run for run in folders if run not in drawn), *drawn])
    texts = _descriptions(tables, showcase)
    held_out = {id: value for table in tables for id, value in table.held_out.items()}
    entries = set_entries(view, members, predicted, texts, held_out, strips)
    cards = chosen_first(_cards(view, judges, predicted, texts, tables, showcase))
    cards = _with_pictures(cards, showcase)
    played = sorted({card.file for card in cards if card.file is not None})
    videos = list(showcase.videos.values())
    data = {
        "models": [_script_model(member) for member in members],
        "rescalings": [view.rescaling for view in shown],
        "sets": set_data(shown, members, entries, predicted),
        "videos": {place: videos[place] for place in played},
        "table": results_table(results, digits=3),
    }
    return {
        "entries": entries,
        "cards": cards,
        "watch": _watch(view, judges, predicted, texts, tables, strips),
        "showcase": showcase,
        "strips_left_out": strips.left_out,
        "has_descriptions": bool(texts),
        "data": embed_json(data),
    }


def _script_model(member: Member) -> dict[str, Any]:
    """Return what the page's scripts know of a scorer."""
    return {
        "name": member.name,
        "glyph": member.look.glyph,
        "colour": member.look.colour,
        "baseline": member.is_baseline,
        "part": bool(member.part),
    }


def _notes(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the notes on `results.json` as a whole: coverage, descriptions, strictness, and verdicts on order."""
    return {
        "left_out": left_out(results),
        "left_out_note": left_out_note(results),
        "single_videos": single_videos(results),
        "single_videos_note": single_videos_note(results),
        "differing": differing_descriptions(results),
        "descriptions_note": descriptions_note(results),
        "strict": all(part.get("strict", True) for part in results.values()),
        "verdicts": order_verdicts(results),
    }


def _frame(members: Sequence[Member]) -> dict[str, Any]:
    """Return styles, scripts and their policy, and what the template draws and names with."""
    scripts = [(TEMPLATES / "report" / name).read_text("utf-8") for name in _SCRIPTS]
    css = (TEMPLATES / "report.css").read_text("utf-8")
    css += "".join(_MARK % (m.index, m.index, m.look.glyph, m.look.colour) for m in members)
    return {
        "marks": lambda member: draw_mark(8, 8, member.look.symbol, member.look.colour, member.is_baseline, 6),
        "by_name": {member.name: member for member in members},
        "control_kinds": control_kinds,
        "kind_titles": KIND_TITLES,
        "interval": interval,
        "success_columns": SUCCESS_COLUMNS,
        "code_version": code_version(),
        "css": css,
        "scripts": scripts,
        "policy": content_policy(scripts, [css]),
    }


def embed_json(value: object) -> str:
    r"""Return JSON in ASCII without characters that an HTML parser could take for the end of the script.

    Args:
        value: JSON values.

    Returns:
        The text.

    Example:
        >>> print(embed_json("</script>"))
        "\u003c/script\u003e"
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def content_policy(scripts: Iterable[str], styles: Iterable[str] = ()) -> str:
    """Return a content security policy that permits exactly these scripts and styles, and fetches nothing.

    Args:
        scripts: Text of each inline script, exactly as between its tags.
        styles: Text of each style block.

    Returns:
        Content of the `Content-Security-Policy` meta tag.

    Example:
        >>> content_policy(["alert(1)"]).split("; ")[1]
        "script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"
    """
    rules = {
        "default-src": "'none'",
        "script-src": _digests(scripts),
        "style-src": _digests(styles) or "'none'",
        "img-src": "data:",
        "media-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _digests(texts: Iterable[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _template() -> Any:
    jinja2 = require("jinja2", "vista")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES / "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["swap"] = lambda text: str(text).replace("_", " ")
    return environment.get_template("page.html.jinja")


def _is_drawn(run: Path, members: Sequence[Member]) -> bool:
    """Say whether the scorer of a run folder is one of the page's baselines."""
    name = read_scores(run).model if (run / TABLE_NAME).is_file() else ""
    return name in {member.name for member in members if member.is_baseline}


def _descriptions(tables: Sequence[ScoreTable], showcase: Showcase) -> dict[str, Versions]:
    """Return the descriptions of every problem set; those of the examples serve tables of earlier versions."""
    found: dict[str, Versions] = {e["problem_set"]: [("", e["descriptions"])] for e in showcase.examples}
    for id, versions in description_versions(tables).items():
        found[id] = [(", ".join(names), texts) for names, texts in versions]
    return found


def _cards(
    view: View,
    judges: Sequence[Member],
    predicted: Mapping[str, Mapping[str, Any]],
    texts: Mapping[str, Versions],
    tables: Sequence[ScoreTable],
    showcase: Showcase,
) -> list[Card]:
    """Return the cards of the example videos."""
    pairs = [(example["problem_set"], example["video"]) for example in showcase.examples]
    pairs = [(id, video) for id, video in pairs if video in predicted.get(id, {"videos": []})["videos"]]
    scores = raw_scores(tables, set(pairs))
    keys = {(e["problem_set"], e["video"]): Path(e["file"]).stem for e in showcase.examples}
    models = [member.name for member in judges]
    cards = []
    for id, video in pairs:
        found = showcase.progress.get((video, id), {})
        curves = {model: found[model] for model in models if model in found}
        told = [(n, t.run) for n, t in enumerate(showcase.transcripts) if t.key == keys[id, video]]
        more = {
            "strip": None,
            "progress": draw_progress(curves, models),
            "value_orders": value_orders(curves),
            "transcripts": told,
        }
        cards.append(make_card(view, judges, predicted, texts.get(id, ()), scores[id, video], id, video, **more))
    return cards


def _with_pictures(cards: Sequence[Card], showcase: Showcase) -> list[Card]:
    """Return the cards with their strips; those that the page shows at first are large, and can be played."""
    places = {video: place for place, video in enumerate(showcase.videos)}
    first = sum(bool(card.heading) for card in cards) or 3
    drawn = []
    for number, card in enumerate(cards):
        content = base64.b64decode(showcase.videos[card.video])
        strip = example_strip(content, card.video, is_large=number < first)
        drawn.append(replace(card, strip=strip, file=places[card.video] if number < PLAYED else None))
    return drawn


def _watch(
    view: View,
    judges: Sequence[Member],
    predicted: Mapping[str, Mapping[str, Any]],
    texts: Mapping[str, Versions],
    tables: Sequence[ScoreTable],
    strips: Strips,
) -> Card | None:
    """Return the card of the task to watch."""
    found = task_to_watch(view, predicted, judges, strips)
    if found is None or found[0] not in texts:
        return None
    scores = raw_scores(tables, {found})[found]
    return make_card(view, judges, predicted, texts[found[0]], scores, *found, strip=strips.large(found[1]))
