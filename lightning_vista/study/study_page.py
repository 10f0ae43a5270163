"""Page of a study: one HTML file with table, figures, pictures and commands, which needs no network."""

import base64
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning_vista.optional import require
from lightning_vista.own_files import write_whole
from lightning_vista.reports.page import TEMPLATES, content_policy, embed_json
from lightning_vista.study import Run, Study
from lightning_vista.study.loss_curves import add_compute_ratios, write_frontiers
from lightning_vista.study.study_figures import draw_figure
from lightning_vista.study.study_table import StudyRow, add_differences, add_leakages, cell, gather, write_table


def write_study(study: Study, runs: Sequence[Run], out_dir: str | Path) -> Path:
    """Write `results.csv`, `results.json`, `results.md` and `study.html`, and print the table.

    Where figures show frontiers, `frontiers.csv` has their points.

    Args:
        study: The study.
        runs: Its runs. Unfinished ones are skipped, and the page reports their number.
        out_dir: The folder to write.

    Returns:
        The path of the page.

    Raises:
        ModuleNotFoundError: If jinja2 or plotly is missing; the message names the extra.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    rows = gather(runs)
    metrics = study.metrics | add_differences(rows, study.differences, study.baseline)
    metrics |= add_compute_ratios(rows, study.compute_ratios, study.baseline)
    metrics |= add_leakages(rows, study.leakages, study.baseline)
    print(write_table(rows, metrics, out))
    absent = [metric for metric in metrics.values() if not any(metric in row.values for row in rows)]
    if rows and absent:
        print(f"No run logged {', '.join(absent)}. See {out / 'results.json'} for all logged metrics.")
    if shown := [spec for spec in study.figures if spec.frontier]:
        write_frontiers(shown, rows, out / "frontiers.csv")
    plots = [draw_figure(spec, rows) for spec in study.figures]
    scripts = [require("plotly.offline", "vista").get_plotlyjs(), (TEMPLATES / "study.js").read_text("utf-8")]
    jinja2 = require("jinja2", "vista")
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.get_template("study.html.jinja").render(
        study=study,
        metrics=metrics,
        rows=rows,
        cell=cell,
        runs=runs,
        finished=sum(run.result() is not None for run in runs),
        pictures=list(_pictures(study, rows)),
        machine=f"{os.cpu_count()} CPU cores, {platform.system()} {platform.machine()}",
        data=embed_json(plots),
        css=(TEMPLATES / "report.css").read_text("utf-8"),
        scripts=scripts,
        policy=content_policy(scripts),
    )
    path = out / "study.html"
    write_whole(path, page)
    return path


def _pictures(study: Study, rows: Sequence[StudyRow]) -> Iterator[tuple[str, str]]:
    """Yield the pictures of each row: a title, and the image in base 64."""
    for row in rows:
        for name, caption in study.pictures.items():
            if (path := row.folder / name).exists():
                yield f"{row.name}: {caption}", base64.b64encode(path.read_bytes()).decode()
