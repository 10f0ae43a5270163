"""Table of a study: one row per variant and point of the grid, with means over seeds and their intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_vista.files.own_files import write_csv
from lightning_vista.metrics.aggregation import SeedMean, seed_mean
from lightning_vista.metrics.unlearning import leakage
from lightning_vista.study import LeakageSpec, Run

_COLUMNS = ("run", "metric", "mean", "ci_low", "ci_high", "seeds")
_SEED_COLUMNS = ("run", "metric", "seed", "value")


@dataclass
class StudyRow:
    """Measurements of the runs of one row.

    Attributes:
        name: Name of the row.
        variant: Name of the variant.
        point: Value of each key of the grid.
        folder: Folder of the first finished run.
        values: Value of each seed for each logged name.
        folders: Folder of each seed's finished run.
    """

    name: str
    variant: str
    point: dict[str, Any]
    folder: Path
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    folders: dict[int, Path] = field(default_factory=dict)

    def count(self, metric: str) -> int:
        """Return the number of seeds with a value of a metric; NaN counts as missing."""
        return sum(not math.isnan(value) for value in self.values.get(metric, {}).values())

    def mean(self, metric: str) -> SeedMean:
        """Return the mean of a metric over its seeds: infinite if a value is, such as that of what was not reached.

        NaN counts as missing.
        """
        # Infinite values stay: the mean of the others alone would hide exactly the seeds that did not get there.
        return seed_mean([value for value in self.values.get(metric, {}).values() if not math.isnan(value)])


def reference_row(rows: Sequence[StudyRow], row: StudyRow, variant: str) -> StudyRow | None:
    """Return the row of a variant to compare another row with; None without one.

    Args:
        rows: All rows.
        row: The row to compare.
        variant: Name of the variant.

    Returns:
        The row at the same point of the grid or, of a variant whose grid has fewer keys, at the same point of these.
    """
    below = [other for other in rows if other.variant == variant and other.point.items() <= row.point.items()]
    return max(below, key=lambda other: len(other.point), default=None)


def gather(runs: Sequence[Run]) -> list[StudyRow]:
    """Read the logged metrics of finished runs.

    Args:
        runs: The runs; unfinished ones are skipped.

    Returns:
        Rows, in the order of the runs.
    """
    rows: dict[str, StudyRow] = {}
    for run in runs:
        result = run.result()
        if result is not None:
            row = rows.setdefault(run.row, StudyRow(run.row, run.variant, run.point, run.folder))
            row.folders[run.seed] = run.folder
            for metric, value in result["metrics"].items():
                row.values.setdefault(metric, {})[run.seed] = value
    return list(rows.values())


def add_differences(rows: Sequence[StudyRow], metrics: Mapping[str, str], baseline: str) -> dict[str, str]:
    """Add to each row the differences of its values from a baseline with the same seed, see `reference_row`.

    Args:
        rows: Rows, which are changed.
        metrics: Logged name of each column.
        baseline: Name of the variant to compare with.

    Returns:
        The name of each column's differences among the values of rows.

    Example:
        >>> losses = {"base": 1.0, "new": 1.5}
        >>> rows = [StudyRow(name, name, {}, Path(), {"loss": {0: loss}}) for name, loss in losses.items()]
        >>> add_differences(rows, {"tax": "loss"}, "base")
        {'tax': 'loss - base'}
        >>> rows[1].values["loss - base"]
        {0: 0.5}
    """
    names = {title: f"{metric} - {baseline}" for title, metric in metrics.items()}
    for row in rows:
        below = reference_row(rows, row, baseline)
        if below is None:
            continue
        for title, metric in metrics.items():
            compared, values = below.values.get(metric, {}), row.values.get(metric, {})
            row.values[names[title]] = {seed: values[seed] - compared[seed] for seed in values if seed in compared}
    return names


def add_leakages(rows: Sequence[StudyRow], specs: Mapping[str, LeakageSpec], baseline: str = "") -> dict[str, str]:
    """Add to each row how much openly seen forget data gives filtering the same forget loss, see `leakage`.

    The losses of filtering are those of the same seed at the other points of the same grid. Rows whose seed has fewer
    than two of them get no value, and neither do those with nothing undiscovered, if the column is relative to it.

    Args:
        rows: Rows, which are changed.
        specs: Specification of each column.
        baseline: Name of the variant that filters where a specification names none.

    Returns:
        The name of each column's leakage among the values of rows.
    """
    names = {}
    for title, spec in specs.items():
        variant = spec.baseline or baseline
        names[title] = f"{'leakage' if spec.relative else 'openly seen share'} by {spec.value} of {variant}"
        for row in rows:
            undiscovered = 1 - row.point.get(spec.discovery, 1) if spec.relative else 1
            curves = {seed: _exposures(rows, row, spec, variant, seed) for seed in row.values.get(spec.value, {})}
            found = {
                seed: leakage(row.values[spec.value][seed], list(curve.values()), list(curve), undiscovered)
                for seed, curve in curves.items()
                if len(curve) > 1 and undiscovered > 0 and math.isfinite(row.values[spec.value][seed])
            }
            if found:
                row.values[names[title]] = found
    return names


def _exposures(
    rows: Sequence[StudyRow], row: StudyRow, spec: LeakageSpec, variant: str, seed: int
) -> dict[float, float]:
    """Return the loss of filtering at each openly seen share of the forget data, rising, for the grid of a row."""
    others = {key: value for key, value in row.point.items() if key != spec.discovery}
    curve = {
        1 - other.point[spec.discovery]: other.values.get(spec.value, {}).get(seed, math.nan)
        for other in rows
        if other.variant == variant and other.point == others | {spec.discovery: other.point.get(spec.discovery)}
    }
    return {share: curve[share] for share in sorted(curve) if math.isfinite(curve[share])}


def write_table(rows: Sequence[StudyRow], metrics: Mapping[str, str], out_dir: str | Path) -> str:
    """Write `results.csv` with the metrics of the table, and `seeds.csv` with the values of each seed.

    Args:
        rows: The rows.
        metrics: Logged name of each column.
        out_dir: The folder to write.

    Returns:
        The table in Markdown.
    """
    out = Path(out_dir)
    means = [
        [row.name, metric, *(None if math.isnan(value) else value for value in row.mean(metric)), row.count(metric)]
        for row in rows
        for metric in metrics.values()
    ]
    seeds = [
        [row.name, metric, seed, value]
        for row in rows
        for metric in metrics.values()
        for seed, value in row.values.get(metric, {}).items()
    ]
    write_csv(out / "results.csv", [_COLUMNS, *means], line_end="\r\n")
    write_csv(out / "seeds.csv", [_SEED_COLUMNS, *seeds], line_end="\r\n")
    lines = [["run", *metrics], ["---", *("---:" for _ in metrics)]]
    lines += [[row.name, *(cell(row.mean(metric)) for metric in metrics.values())] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def row_results(rows: Sequence[StudyRow]) -> list[dict[str, Any]]:
    """Return all logged metrics of all rows: values by seed, mean and interval, with None for missing values.

    Args:
        rows: The rows.
    """
    return [{"run": row.name, "variant": row.variant, "point": row.point, "metrics": _all(row)} for row in rows]


def cell(value: SeedMean) -> str:
    """Format a mean with its interval.

    Example:
        >>> cell(SeedMean(0.5, 0.25, 0.75))
        '0.500 (0.250 to 0.750)'
    """
    if math.isnan(value.mean):
        return "–"  # noqa: RUF001  an en dash stands for no value
    ends = "" if math.isnan(value.ci_low) else f" ({value.ci_low:.3f} to {value.ci_high:.3f})"
    return f"{value.mean:.3f}{ends}"


def _all(row: StudyRow) -> dict[str, Any]:
    """Return all metrics of a row: values by seed, mean and interval, with null for missing values."""
    return {
        metric: {key: _finite(value) for key, value in row.mean(metric)._asdict().items()}
        | {"seeds": {str(seed): _finite(value) for seed, value in seeds.items()}}
        for metric, seeds in row.values.items()
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
