"""The report page: one HTML file that works without a network."""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_vista.optional import require
from lightning_vista.own_files import write_whole
from lightning_vista.parallel import one_thread
from lightning_vista.reports import figures
from lightning_vista.reports.coverage import (
    gaps,
    left_out,
    left_out_note,
    partial_notes,
    single_videos,
    single_videos_note,
)
from lightning_vista.reports.examples import Showcase, read_showcase
from lightning_vista.reports.headline import headline
from lightning_vista.reports.joining import predictions
from lightning_vista.reports.order_controls import control_kinds, control_lines, order_verdicts
from lightning_vista.reports.progress_figure import draw_progress
from lightning_vista.reports.reward_figures import reward_figures
from lightning_vista.reports.style import interval, styles
from lightning_vista.reports.view import View, number, views
from lightning_vista.vista.tables import ScoreTable


def page_data(
    shown: Sequence[View], plots: Mapping[str, Any], tables: Sequence[ScoreTable], showcase: Showcase
) -> dict[str, Any]:
    """Return the data of the page's script as JSON values; lists of models' values follow the order of `models`.

    Args:
        shown: Views, the chosen one first.
        plots: Key -> plotly specification.
        tables: Score tables.
        showcase: Example videos and transcripts.

    Returns:
        `{models, looks, scorers, rescalings, plots, sets, examples, videos}`.
    """
    models = list(shown[0].models)
    return {
        "models": models,
        "looks": [
            {"glyph": look.glyph, "colour": look.colour, "partial": model in shown[0].partial}
            for model, look in styles(models).items()
        ],
        "scorers": len(shown[0].scorers),
        "rescalings": [view.rescaling for view in shown],
        "plots": plots,
        "sets": list(_problem_sets(shown, tables, showcase)),
        "examples": [_example(example, models, showcase) for example in showcase.examples],
        "videos": list(showcase.videos.values()),
    }


def _example(example: Mapping[str, Any], models: Sequence[str], showcase: Showcase) -> dict[str, Any]:
    """Return one card: a video, its candidate descriptions, and the scores that each model gave them."""
    labels = list(example["descriptions"])
    key = Path(example["file"]).stem
    return {
        "video": example["video"],
        "set": example["problem_set"],
        "file": list(showcase.videos).index(example["video"]),
        "labels": labels,
        "descriptions": list(example["descriptions"].values()),
        "scores": [[example["scores"].get(model, {}).get(label) for label in labels] for model in models],
        "progress": _drawn_progress(example, models, showcase),
        "transcripts": [
            {"place": place, "run": transcript.run}
            for place, transcript in enumerate(showcase.transcripts)
            if transcript.key == key
        ],
    }


def _drawn_progress(example: Mapping[str, Any], models: Sequence[str], showcase: Showcase) -> str:
    """Return the SVG of the models' progress in an example video; empty without any."""
    curves = showcase.progress.get((example["video"], example["problem_set"]), {})
    return draw_progress({model: curves[model] for model in models if model in curves}, models)


def _problem_sets(shown: Sequence[View], tables: Sequence[ScoreTable], showcase: Showcase) -> Iterator[dict[str, Any]]:
    """Yield every problem set with its results and predictions under each rescaling, model by model."""
    predicted = predictions(tables, [view.rescaling for view in shown])
    descriptions = {example["problem_set"]: example["descriptions"] for example in showcase.examples}
    for name in sorted({name for part in shown[0].models.values() for name in part["problem_sets"]}):
        environment, level, kind = shown[0].place(name)
        known = predicted.get(name, {"labels": [], "videos": [], "truth": [], "predicted": {}})
        yield {
            "id": name,
            "environment": environment,
            "level": int(level),
            "common": name not in shown[0].left_out,
            "kind": kind,
            "labels": known["labels"],
            "descriptions": [descriptions.get(name, {}).get(label) for label in known["labels"]],
            "videos": known["videos"],
            "truth": known["truth"],
            "results": [[_entry(view, model, name) for model in shown[0].models] for view in shown],
            "predicted": [
                [known["predicted"].get(view.rescaling, {}).get(model) for model in shown[0].models] for view in shown
            ],
        }


def _entry(view: View, model: str, problem_set: str) -> list[float | int | None] | None:
    """Return macro F1, accuracy, videos, unscored and ties of a model on a problem set; None if its table lacks it."""
    entry = view.models.get(model, {"problem_sets": {}})["problem_sets"].get(problem_set)
    if entry is None:
        return None
    shares = [
        None if value is None else round(value, 4) for value in map(number, (entry["macro_f1"], entry["accuracy"]))
    ]
    return [*shares, entry["videos"], entry["unscored"], entry["ties"]]


TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Panel:
    """The figures of a section for one environment and rescaling (`any` for all); the page shows one panel at a time.

    Attributes:
        section: Id of the section.
        environment: Environment of the figures.
        rescaling: Rescaling of the figures, or `any`.
        figures: Figures of the panel.
    """

    section: str
    environment: str
    rescaling: str
    figures: Sequence[figures.Figure]

    def key(self, index: int) -> str:
        """Return the key of a figure's plot in the page's data."""
        return f"{self.section}/{self.rescaling}/{self.environment}/{index}"


@one_thread()
def write_page(
    results: Mapping[str, Mapping[str, Any]],
    tables: Sequence[ScoreTable],
    out_path: str | Path,
    runs: Sequence[str | Path] = (),
) -> Path:
    """Write the report page; the same input gives the same bytes.

    All text of the input appears as text, even if it looks like markup. A content security policy keeps the page from
    loading or running anything that is not in the file.

    Args:
        results: Content of `results.json`: all models under one rescaling, including the baselines.
        tables: Score tables from which the results were computed.
        out_path: HTML file to write; its folder is created.
        runs: Run folders with `examples/` and `transcripts/`; without them the page says that it lacks these.

    Returns:
        Path of the file, which is below 15 MB for the whole benchmark and five models.

    Raises:
        ValueError: If the results have several rescalings, or an `examples.json` does not have a run's format.
        ModuleNotFoundError: If jinja2 or plotly is missing; the message names the extra.
    """
    kinds = {problem_set: kind for table in tables for problem_set, kind in table.kinds.items()}
    shown = views(results, kinds)
    showcase = read_showcase([Path(run) for run in runs], tables)
    panels = list(_panels(shown))
    plots = {panel.key(index): figure.plot for panel in panels for index, figure in enumerate(panel.figures)}
    scripts = [require("plotly.offline", "vista").get_plotlyjs(), (TEMPLATES / "report.js").read_text("utf-8")]
    page = _template().render(
        views=shown,
        panels=panels,
        looks=styles(shown[0].models),
        headline=headline(shown[0]),
        partial=partial_notes(results),
        left_out=left_out(results),
        left_out_note=left_out_note(results),
        single_videos=single_videos(results),
        single_videos_note=single_videos_note(results),
        incomplete={model: text for model in shown[0].scorers if (text := gaps(results[model]))},
        strict=all(part.get("strict", True) for part in results.values()),
        kind_titles=figures.KIND_TITLES,
        verdicts=order_verdicts(results),
        control_lines={environment: control_lines(results, environment) for environment in shown[0].environments},
        control_kinds=control_kinds,
        interval=interval,
        showcase=showcase,
        has_runs=bool(runs),
        data=embed_json(page_data(shown, plots, tables, showcase)),
        css=(TEMPLATES / "report.css").read_text("utf-8"),
        scripts=scripts,
        policy=content_policy(scripts),
    )
    path = Path(out_path)
    write_whole(path, page)
    return path


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


def content_policy(scripts: Iterable[str]) -> str:
    """Return a content security policy that permits exactly these scripts and fetches nothing.

    Args:
        scripts: Text of each inline script, exactly as between its tags.

    Returns:
        Content of the `Content-Security-Policy` meta tag.

    Example:
        >>> content_policy(["alert(1)"]).split("; ")[1]
        "script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"
    """
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(f"'sha256-{digest}'" for digest in digests),
        "style-src": "'unsafe-inline'",  # plotly sets inline styles when it draws
        "img-src": "data:",
        "media-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _template() -> Any:
    jinja2 = require("jinja2", "vista")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja")


def _panels(shown: Sequence[View]) -> Iterator[Panel]:
    """Yield the panels of all sections; figures without data are omitted."""
    for view in shown:
        for environment in view.environments:
            kinds = ("all", *view.kinds_at(environment))
            long = [kind for kind in kinds if len(view.levels_of(environment, kind)) > 1]
            lines = [figures.f1_by_level(view, environment, kind) for kind in long]
            yield Panel("levels", environment, view.rescaling, lines)
            bars = [figures.level_one_bars(view, environment)] if view.kinds_at(environment, 1) else []
            yield Panel("kinds", environment, view.rescaling, bars)
    chosen = shown[0]
    for environment in chosen.environments:
        leaks = [figures.order_leak(chosen, environment, split) for split in figures.SPLIT_TITLES]
        yield Panel("order", environment, "any", [figure for figure in leaks if figure.rows])
        yield Panel("reward", environment, "any", reward_figures(chosen, environment))
        differences = figures.draw_differences(chosen, environment)
        yield Panel("differences", environment, "any", [differences] if differences.rows else [])
        others = shown[1:] if chosen.num_sets(environment) else ()
        raw = [figures.raw_beside_rescaled(chosen, view, environment) for view in others]
        yield Panel("raw", environment, "any", raw)
