"""Tables, charts and videos of a finished run, for loggers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_vista.drawing.boards import CellValue, Table
from lightning_vista.drawing.charts import Chart, Point
from lightning_vista.evaluation.example_videos import read_examples
from lightning_vista.metrics import RESCALINGS, Rescaling
from lightning_vista.options import check_word
from lightning_vista.reports.joining import predictions
from lightning_vista.reports.order_controls import CONTROL_COLUMNS, order_verdicts
from lightning_vista.reports.results import CSV_COLUMNS, build_results
from lightning_vista.reports.view import View
from lightning_vista.vista.problem_sets import outline
from lightning_vista.vista.tables import ScoreTable, read_scores

_SET_COLUMNS = ("model", "rescaling", "problem_set", "environment", "level", "kind")
_SET_FIGURES = ("macro_f1", "accuracy", "videos", "unscored", "ties")
_VIDEO_COLUMNS = ("model", "problem_set", "video", "target", "prediction", "correct", "scores", "reason")


@dataclass(frozen=True)
class RunResults:
    """The tables, charts and videos of an evaluation.

    Attributes:
        model: Name of the scorer.
        tables: Tables by name: `problem_sets` and `aggregates`, results of the scorer and the baselines as in
            `results.json`; `videos`, one row for each video of each problem set with its true and predicted labels,
            as JSON its scores, and the file of an example video; for a run with controls of frame order also
            `controls`, and `order_verdicts` with the verdict that follows from them.
        charts: Charts of the scorer's mean macro F1 by name: `f1_by_level/<environment>` for environments with several
            levels, a line for each kind, and `f1_at_level_1/<environment>`.
        examples: Video file in the run folder -> caption.
    """

    model: str
    tables: Mapping[str, Table]
    charts: Mapping[str, Chart]
    examples: Mapping[Path, str]


def read_run_results(run_path: str | Path, rescaling: Rescaling = "both", strict: bool = True) -> RunResults:
    """Read the results of a run.

    Args:
        run_path: Folder that `test` wrote.
        rescaling: `none`, `video`, `label` or `both` (the paper's), see `rescale_scores`.
        strict: Whether an unscored video counts as wrong; otherwise it is left out.

    Returns:
        The results, for any logger.

    Raises:
        FileNotFoundError: If the folder does not hold a score table.
        ValueError: If the scorer has the name of a baseline, or `rescaling` is unknown.
    """
    check_word("rescaling", rescaling, RESCALINGS)
    run_path = Path(run_path)
    table = read_scores(run_path)
    results = build_results([table], rescaling, strict)
    rows = list(_video_rows(table, rescaling, strict))
    files = _example_files(run_path)
    videos = Table(_VIDEO_COLUMNS, rows, [files.get(str(video)) for _, _, video, *_ in rows])
    aggregates = [
        {"model": model, "rescaling": rescaling, **row, "level": str(row["level"])}
        for model, entry in results.items()
        for row in entry["aggregates"]
    ]
    tables = {
        "problem_sets": _table((*_SET_COLUMNS, *_SET_FIGURES), _problem_set_rows(results, table, rescaling)),
        "aggregates": _table(CSV_COLUMNS, aggregates),
        "videos": videos,
    }
    if "controls" in results[table.model]:
        tables["controls"] = _table(CONTROL_COLUMNS, results[table.model]["controls"]["rows"])
        tables["order_verdicts"] = Table(("model", "verdict"), list(order_verdicts(results).items()))
    charts = dict(_charts(results[table.model]["aggregates"], rescaling))
    return RunResults(table.model, tables, charts, _captions(files, videos))


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(tuple(columns), [tuple(row[column] for column in columns) for row in rows])


def _charts(aggregates: Sequence[Mapping[str, Any]], rescaling: Rescaling) -> Iterator[tuple[str, Chart]]:
    """Yield charts of each environment's macro F1 by level, if it has several levels, and at level 1, if it has it."""
    for environment in View(rescaling, {"scorer": {"aggregates": aggregates}}).environments:
        rows = [row for row in aggregates if row["environment"] == environment and row["mean_macro_f1"] is not None]
        levels = [row for row in rows if row["level"] != "all"]
        lines: dict[str, list[Point]] = {}
        for row in levels:
            lines.setdefault(row["kind"], []).append(Point(row["level"], (row["mean_macro_f1"],)))
        if len({row["level"] for row in levels}) > 1:
            title = f"Macro F1 by level: {environment}"
            yield f"f1_by_level/{environment}", Chart(title, lines, "Level", "Mean macro F1", lines=True, reach=(0, 1))
        ones = [
            Point(row["kind"], (row["mean_macro_f1"],)) for row in levels if row["level"] == 1 and row["kind"] != "all"
        ]
        if ones:
            title = f"Macro F1 at level 1: {environment}"
            chart = Chart(title, {"macro F1": ones}, "Kind", "Mean macro F1", rows=True, reach=(0, 1))
            yield f"f1_at_level_1/{environment}", chart


def _problem_set_rows(
    results: Mapping[str, Mapping[str, Any]], table: ScoreTable, rescaling: Rescaling
) -> list[dict[str, Any]]:
    """Return one row per model and problem set."""
    rows = []
    for model, entry in results.items():
        for id, figures in entry["problem_sets"].items():
            it = outline(id, table.kinds)
            place = (model, rescaling, id, it.environment, str(it.level), it.kind)
            rows.append({**dict(zip(_SET_COLUMNS, place, strict=True)), **figures})
    return rows


def _video_rows(table: ScoreTable, rescaling: Rescaling, strict: bool) -> Iterator[tuple[CellValue, ...]]:
    """Yield one row per (problem set, video); several labels are joined by commas, an unscored video has none."""
    scores: dict[tuple[str, str], dict[str, float | None]] = {}
    reasons: dict[tuple[str, str], str | None] = {}
    columns = ("problem_set", "video", "label", "score", "reason")
    for id, video, label, score, reason in table.rows.select(columns).iter_rows():
        scores.setdefault((id, video), {})[label] = score
        reasons[id, video] = reason
    for id, item in predictions([table], [rescaling]).items():
        predicted = item["predicted"][rescaling][table.model]
        for video, truth, prediction in zip(item["videos"], item["truth"], predicted, strict=True):
            yield (
                table.model,
                id,
                video,
                _names(truth, item["labels"]),
                _names(prediction, item["labels"]),
                truth == prediction if strict or prediction != [] else None,
                json.dumps(scores[id, video], ensure_ascii=False),
                reasons[id, video],
            )


def _names(places: int | list[int], labels: Sequence[str]) -> str | None:
    """Return labels by their positions, joined by commas; None for an empty list."""
    return ", ".join(labels[place] for place in (places if isinstance(places, list) else [places])) or None


def _example_files(run_path: Path) -> dict[str, Path]:
    """Return the files of the example videos in a run folder."""
    return {entry["video"]: run_path / "examples" / entry["file"] for entry in read_examples(run_path)}


def _captions(files: Mapping[str, Path], videos: Table) -> dict[Path, str]:
    """Return the example videos, with true and predicted labels as captions."""
    verdicts: dict[CellValue, list[str]] = {}
    for _, id, video, target, prediction, *_ in videos.rows:
        verdicts.setdefault(video, []).append(f"{id}: true: {target}; predicted: {prediction or 'nothing'}")
    return {file: "\n".join([video, *verdicts.get(video, [])]) for video, file in files.items()}
