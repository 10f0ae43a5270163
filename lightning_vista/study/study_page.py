"""Results of a study for readers: a page in one HTML file without scripts, and `results.md` and `results.json`."""

import base64
import json
import math
import os
import platform
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_vista.drawing.chart_drawing import chart_svg
from lightning_vista.drawing.charts import Chart
from lightning_vista.files.own_files import write_whole
from lightning_vista.optional import require
from lightning_vista.study import FigureSpec, Run, Study
from lightning_vista.study.differing import differing_settings
from lightning_vista.study.loss_curves import add_compute_ratios, plan_curves, write_frontiers
from lightning_vista.study.spec import CELL
from lightning_vista.study.study_figures import plan_figure, write_figures
from lightning_vista.study.study_table import (
    StudyRow,
    add_differences,
    add_leakages,
    cell,
    gather,
    row_results,
    write_table,
)

#: Version of `results.json`.
_FORMAT = 2
_TEMPLATES = Path(__file__).with_name("templates")
_SMOKE = "SMOKE RUN: a quick trial with one seed and far too little training. Its numbers mean nothing."
#: An absolute path; not an address, and not a path that begins with a name.
_ELSEWHERE = re.compile(r"(?<![\w.:/~…-])/(?:[\w.+-]+/)+([\w.+-]+)")
_ARROWS = {"higher": "↑", "lower": "↓"}


def write_study(
    study: Study, runs: Sequence[Run], out_dir: str | Path, smoke: bool = False, command: Sequence[str] = ()
) -> Path:
    """Write the results of a study, and print the table.

    Tables are `results.csv`, `seeds.csv`, for figures `figures.csv`, and for those of frontiers `frontiers.csv`. Each
    figure is also a file, `figure_1.pdf` and `figure_1.png`. `results.json` has everything that was logged;
    `results.md` and `study.html` are for readers. None of the last three has a path of this machine.

    Args:
        study: The study.
        runs: Its runs. Unfinished ones are skipped, and the page reports their number.
        out_dir: The folder to write.
        smoke: Whether the runs are a quick trial, which is then said wherever the results are.
        command: Arguments of `lightning-vista` that make these results again.

    Returns:
        The path of the page.

    Raises:
        ModuleNotFoundError: If jinja2 or matplotlib is missing; the message names the extra.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    rows = gather(runs)
    metrics = study.metrics | add_differences(rows, study.differences, study.baseline)
    metrics |= add_compute_ratios(rows, study.compute_ratios, study.baseline)
    metrics |= add_leakages(rows, study.leakages, study.baseline)
    print(table := write_table(rows, metrics, out))
    absent = [metric for metric in metrics.values() if not any(metric in row.values for row in rows)]
    if rows and absent:
        print(f"No run logged {', '.join(absent)}. See {out / 'results.json'} for all logged metrics.")
    if shown := [spec for spec in study.figures if spec.frontier]:
        write_frontiers(shown, rows, out / "frontiers.csv")
    figures = [(spec, plan_figure(spec, rows)) for spec in study.figures] if rows else []
    if figures:
        write_figures(figures, out)
    facts = {
        "title": study.title,
        "smoke": smoke,
        "finding": _finding(study, rows, metrics, smoke or len(rows) == 0 or any(run.result() is None for run in runs)),
        "finished": sum(run.result() is not None for run in runs),
        "runs": len(runs),
        "seeds": len({run.seed for run in runs}),
        "better": study.better,
        "command": _without_places(shlex.join(["lightning-vista", *command]), out) if command else "",
        "code_version": runs[0].code_version,
        "machine": f"{os.cpu_count()} CPU cores, {platform.system()} {platform.machine()}",
    }
    content = {"format": _FORMAT, **facts, "rows": row_results(rows)}
    write_whole(out / "results.json", _without_places(json.dumps(content, indent=1), out))
    write_whole(out / "results.md", "\n".join(_markdown(facts, metrics, table)))
    path = out / "study.html"
    write_whole(path, _render(study, runs, rows, metrics, facts, figures, out))
    return path


def _finding(study: Study, rows: Sequence[StudyRow], metrics: Mapping[str, str], is_partial: bool) -> str:
    """Return the finding with the numbers of the table; empty unless all runs and numbers are there."""
    by_name = {row.name: row for row in rows}
    cells = set(CELL.findall(study.finding))
    if is_partial or any(name not in by_name for name, _ in cells):
        return ""
    means = {(name, column): by_name[name].mean(metrics[column]).mean for name, column in cells}
    if any(map(math.isnan, means.values())):
        return ""
    return CELL.sub(lambda found: f"{means[found[1], found[2]]:.3g}", study.finding)


def _markdown(facts: Mapping[str, Any], metrics: Mapping[str, str], table: str) -> Iterator[str]:
    """Yield the lines of `results.md`."""
    yield f"# {facts['title']}\n"
    if facts["smoke"]:
        yield f"> **{_SMOKE}**\n"
    if facts["finding"]:
        yield f"{facts['finding']}\n"
    body = table.splitlines()[1:]
    better = facts["better"]
    titles = [f"{title} {_ARROWS[better[title]]}" if title in better else title for title in metrics]
    yield from [f"| {' | '.join(['run', *titles])} |", *body, ""]
    yield (
        f"{facts['finished']} of {facts['runs']} runs, {facts['seeds']} seed(s); means with 95 % intervals by "
        f"Student's distribution; ↑ higher is better, ↓ lower. Code version {facts['code_version']}; "
        f"{facts['machine']}.\n"
    )
    if facts["command"]:
        yield f"    {facts['command']}\n"


def _render(
    study: Study,
    runs: Sequence[Run],
    rows: Sequence[StudyRow],
    metrics: Mapping[str, str],
    facts: Mapping[str, Any],
    figures: Sequence[tuple[FigureSpec, Chart]],
    out: Path,
) -> str:
    """Return the page."""
    jinja2 = require("jinja2", "vista")
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    differing = {
        name: {key: _without_places(value, out) for key, value in settings.items()}
        for name, settings in differing_settings(runs, study.baseline).items()
    }
    return str(
        environment.get_template("study.html.jinja").render(
            study=study,
            metrics=metrics,
            rows=rows,
            cell=cell,
            facts=facts,
            smoke_text=_SMOKE,
            arrows=_ARROWS,
            best=_best(study, rows, metrics),
            differing=differing,
            figures=[(spec, chart_svg(chart)) for spec, chart in figures],
            curves=[(chart.title, chart_svg(chart)) for chart in plan_curves(rows, study.curves)],
            pictures=list(_pictures(study, rows)),
            commands=_without_places(runs[0].command_lines, out),
            css=(_TEMPLATES / "study.css").read_text("utf-8"),
        )
    )


def _best(study: Study, rows: Sequence[StudyRow], metrics: Mapping[str, str]) -> dict[str, str]:
    """Return the row with the best mean of each column that has a direction."""
    best = {}
    for title, direction in study.better.items():
        means = {row.name: row.mean(metrics[title]).mean for row in rows}
        means = {name: mean for name, mean in means.items() if mean == mean}  # without NaN
        if len(means) > 1:
            best[title] = (max if direction == "higher" else min)(means, key=means.__getitem__)
    return best


def _without_places(text: str, out: Path) -> str:
    """Return a text without the folders of this machine: relative paths, and of any others the last part alone."""
    places = {out.absolute(): ".", out.resolve(): ".", Path.cwd(): ".", Path.home(): "~"}
    for place, replacement in places.items():
        if place != Path(place.anchor):
            text = re.sub(re.escape(str(place)) + r"(?![\w-])", replacement, text)
    return _ELSEWHERE.sub(r"…/\1", text)


def _pictures(study: Study, rows: Sequence[StudyRow]) -> Iterator[tuple[str, str]]:
    """Yield the pictures of each row: a title, and the image in base 64."""
    for row in rows:
        for name, caption in study.pictures.items():
            if (path := row.folder / name).exists():
                yield f"{row.name}: {caption}", base64.b64encode(path.read_bytes()).decode()
