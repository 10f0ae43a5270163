"""The report as one HTML file that needs no network: figures, tables, confusions, example videos."""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_vista.optional import require
from lightning_vista.parallel import one_thread
from lightning_vista.reports import figures
from lightning_vista.reports.examples import read_showcase
from lightning_vista.reports.headline import headline
from lightning_vista.reports.page_data import page_data
from lightning_vista.reports.reward_figures import reward_figures
from lightning_vista.reports.style import interval, styles
from lightning_vista.reports.view import View, views
from lightning_vista.vista.tables import ScoreTable

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Panel:
    """The figures of a section for one environment and rescaling (`any`: for each); the page shows one at a time."""

    section: str
    environment: str
    rescaling: str
    figures: Sequence[figures.Figure]

    def key(self, index: int) -> str:
        """The name under which the page finds the plot of a figure."""
        return f"{self.section}/{self.rescaling}/{self.environment}/{index}"


@one_thread()
def write_page(
    results: Mapping[str, Mapping[str, Any]],
    tables: Sequence[ScoreTable],
    out_path: str | Path,
    runs: Sequence[str | Path] = (),
) -> Path:
    """Write the report page; the same input gives the same bytes.

    Every text of the input is shown as text, whatever it looks like, and a content security policy forbids the page
    to load or run anything that is not in the file.

    Args:
        results: The contents of `results.json`: all models under one rescaling, baselines among them.
        tables: The score tables that the results were computed from.
        out_path: The HTML file to write; its folder is made.
        runs: Run folders, for their `examples/` and `transcripts/`; without them the page says what it lacks.

    Returns:
        The path of the file, which is below 15 MB for the whole benchmark and five models.

    Raises:
        ValueError: If the results are of several rescalings, or an `examples.json` is not as a run writes it.
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
        incomplete=[model for model in shown[0].judges if _is_incomplete(results[model])],
        strict=all(part.get("strict", True) for part in results.values()),
        kind_titles=figures.KIND_TITLES,
        interval=interval,
        showcase=showcase,
        has_runs=bool(runs),
        data=embed_json(page_data(shown, plots, tables, showcase)),
        css=(TEMPLATES / "report.css").read_text("utf-8"),
        scripts=scripts,
        policy=content_policy(scripts),
    )
    path = Path(out_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(page.encode())
    return path


def embed_json(value: object) -> str:
    r"""JSON in ASCII that no HTML parser takes for the end of its script.

    Example:
        >>> print(embed_json("</script>"))
        "\u003c/script\u003e"
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def content_policy(scripts: Iterable[str]) -> str:
    """A content security policy that runs exactly these scripts and fetches nothing.

    Args:
        scripts: The text of each inline script, as it stands between its tags.

    Returns:
        The content of the `Content-Security-Policy` meta tag.
    """
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(f"'sha256-{digest}'" for digest in digests),
        "style-src": "'unsafe-inline'",  # plotly styles its elements as it draws
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


def _is_incomplete(part: Mapping[str, Any]) -> bool:
    """Whether a model's results list reasons for unscored videos, or problem sets that its table lacks."""
    return bool(part.get("missing") or part.get("unscored", {}).get("reasons"))


def _panels(shown: Sequence[View]) -> Iterator[Panel]:
    """Every figure there is something to draw for, section by section."""
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
        differences = figures.paired_differences(chosen, environment)
        yield Panel("differences", environment, "any", [differences] if differences.rows else [])
        raw = [figures.raw_beside_rescaled(chosen, view, environment) for view in shown[1:]]
        yield Panel("raw", environment, "any", raw)
