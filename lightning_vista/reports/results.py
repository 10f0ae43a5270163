"""Results from score tables: `results.json` and `results.csv`, the figures behind every report."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_vista.files.own_files import write_csv, write_whole
from lightning_vista.metrics import (
    RESCALINGS,
    ProblemSetResult,
    Rescaling,
    majority_baseline,
    random_baseline,
    score_problem_set,
)
from lightning_vista.options import check_word
from lightning_vista.processes.parallel import one_thread
from lightning_vista.reports.comparisons import (
    Cell,
    cells,
    finite,
    order_leak_cells,
    paired_differences,
    reward_rows,
    tabulate,
)
from lightning_vista.reports.coverage import coverage_of
from lightning_vista.reports.joining import BASELINES, JoinedProblemSet, description_digests, join_tables
from lightning_vista.reports.order_controls import control_results
from lightning_vista.reports.reward_checks import confusion_matrices, success_rows
from lightning_vista.reports.verdicts import compare_with_chance
from lightning_vista.vista.problem_sets import ProblemSet
from lightning_vista.vista.tables import ScoreTable

_CELL_COLUMNS = ("environment", "level", "kind")
_FIGURE_COLUMNS = ("mean_macro_f1", "standard_error", "ci_low", "ci_high", "problem_sets")
CSV_COLUMNS = ("model", "rescaling", *_CELL_COLUMNS, *_FIGURE_COLUMNS)

_CHANCE = ("verdicts", "slopes", "types")

_Results = dict[str, dict[str, ProblemSetResult]]  # model -> problem set id -> result
_Rows = list[dict[str, Any]]


@one_thread()
def build_results(
    tables: Sequence[ScoreTable], rescaling: Rescaling = "both", strict: bool = True
) -> dict[str, dict[str, Any]]:
    """Score and compare models (ViSTa, section 4).

    Args:
        tables: Score tables, one per model, all with targets.
        rescaling: `none`, `video`, `label` or `both` (the paper's), see `rescale_scores`; baselines are not rescaled.
        strict: Whether an unscored video counts as wrong; otherwise it is left out. It is counted either way.

    Returns:
        Model -> its results, with the tables' models in their order, then `majority` and `random`:

        - `rescaling`, `strict`, `config_hash` (text; empty if unknown);
        - of a partial run (`ScoreTable.is_partial`) also `partial` (True), `videos_scored` and `videos_planned`;
        - `problem_sets`: {id: {macro_f1, accuracy, videos, unscored, ties}};
        - `contents`: {id: digest of the videos and true labels} of the problem sets of which the model's table has all
          videos, for comparisons with other reports; not of baselines;
        - `descriptions`: {id: digest of the descriptions} of the model's table, where it has them;
        - `aggregates`: [{environment, level, kind, mean_macro_f1, standard_error, ci_low, ci_high, problem_sets}],
          where `all` marks a pooled dimension, and a cell without problem sets of the model does not have a row;
        - `common`: {problem_sets, not_scored, aggregates, order_leak, reward_quality}: the same means over the problem
          sets whose videos every table has, so that models can be compared. `problem_sets` is their number, and
          `not_scored` lists the ids that this model prevents from being common;
        - `verdicts`, `slopes`, `types`: figures against chance, see `compare_with_chance`; also in `common` and `raw`;
        - `baseline` (True) of a scorer that draws its scores; it neither is compared nor limits what is compared;
        - `raw`: {rescaling: "none", problem_sets, aggregates, common}, from the raw scores;
        - `differences`: [{other, environment, level, kind, mean_difference, standard_error, ci_low, ci_high,
          problem_sets}], this model minus the other, over the problem sets that both have scored in full;
        - `order_leak`: [{environment, level, split, mean_macro_f1, standard_error, ci_low, ci_high, problem_sets}]
          of the permutation sets, split into trace-free ones (`go_only`) and `mixed`; empty without trace-free ones;
        - `reward_quality`: [{figure, environment, level, kind, mean, standard_error, ci_low, ci_high, problem_sets}],
          the figures of `RewardQuality` from the raw scores; empty for baselines;
        - `reward_confusion`: {id: {labels, means}}, see `confusion_matrices`; empty for baselines;
        - `success_threshold`: [{environment, level, kind, threshold, confusion, accuracy, balanced_accuracy, f1,
          unscored, problem_sets}], see `success_rows`; empty for baselines;
        - of a run with controls of frame order also `controls`: {verdict, rows}, see `control_results`; over all
          problem sets of the model's table;
        - `unscored`: {videos, reasons: {reason: videos}} and `ties`, totals over the problem sets;
        - `missing`: ids of the problem sets that another table has and this one lacks;
        - `single_video_sets`: ids of the problem sets with one scored video, where `label` and `both` cannot
          standardise (see `rescale_scores`).

        Figures that do not exist, such as the standard error of one problem set, are None.

    Raises:
        ValueError: If `rescaling` is unknown, or the tables cannot be compared; the message lists the reasons.

    Example:
        >>> import polars as pl
        >>> rows = {
        ...     "model": "clip", "problem_set": "home/level_2/remix/a", "video": [*"0011"], "label": ["ab", "ba"] * 2,
        ...     "score": [0.9, 0.1, 0.2, 0.8], "target": [True, False, False, True], "reason": None,
        ... }
        >>> results = build_results([ScoreTable(pl.DataFrame(rows))])
        >>> results["clip"]["problem_sets"]
        {'home/level_2/remix/a': {'macro_f1': 1.0, 'accuracy': 1.0, 'videos': 2, 'unscored': 0, 'ties': 0}}
        >>> results["random"]["aggregates"][0]["problem_sets"]
        1
    """
    check_word("rescaling", rescaling, RESCALINGS)
    joined = join_tables(tables)
    sets = joined.problem_sets
    baselines = _baselines(sets)
    results = _score(sets, rescaling, strict) | baselines
    raw = _score(sets, "none", strict) | baselines
    drawn = {table.model for table in tables if table.is_baseline}
    held_out = {id: value for table in tables for id, value in table.held_out.items()}
    compared = _compare(sets, results, raw, drawn, held_out)
    digests = {item.outline.id: (item.digest, item.complete) for item in sets}
    inputs = {
        table.model: {
            "contents": {id: digest for id, (digest, complete) in digests.items() if table.model in complete},
            "descriptions": description_digests(table),
        }
        for table in tables
    }
    hashes = {table.model: table.config_hash for table in tables}
    confusions, successes = confusion_matrices(sets), success_rows(sets, cells([item.outline for item in sets]))
    coverage = {table.model: coverage_of(table) for table in tables}
    controls = {table.model: control_results(table, rescaling, strict) for table in tables}
    return {
        model: {
            "rescaling": rescaling,
            "strict": strict,
            "config_hash": hashes.get(model, ""),
            **({"baseline": True} if model in drawn else {}),
            **coverage.get(model, {}),
            "problem_sets": _figures(own),
            **inputs.get(model, {}),
            "aggregates": compared[model]["aggregates"],
            **{name: compared[model][name] for name in _CHANCE},
            "common": compared[model]["common"],
            "raw": {"rescaling": "none", "problem_sets": _figures(raw[model]), **compared[model]["raw"]},
            "differences": compared[model]["differences"],
            "order_leak": compared[model]["order_leak"],
            "reward_quality": compared[model]["reward_quality"],
            "reward_confusion": confusions.get(model, {}),
            "success_threshold": successes.get(model, []),
            **({"controls": found} if (found := controls.get(model)) else {}),
            "unscored": {
                "videos": sum(result.unscored for result in own.values()),
                "reasons": joined.unscored.get(model, {}),
            },
            "ties": sum(result.ties for result in own.values()),
            "missing": [item.outline.id for item in sets if item.outline.id not in own],
            "single_video_sets": [id for id, result in own.items() if result.videos - result.unscored == 1],
        }
        for model, own in results.items()
    }


def write_results(results: Mapping[str, Mapping[str, Any]], out_dir: str | Path) -> None:
    """Write `results.json`, and `results.csv` with one row per model and aggregate.

    Args:
        results: Result of `build_results`.
        out_dir: Folder for both files; it is created if needed. Each file appears whole or not at all.

    Raises:
        ValueError: If a figure is NaN or infinite, which JSON cannot hold.
    """
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "results.json", json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_csv(folder / "results.csv", results_table(results))


def results_table(results: Mapping[str, Mapping[str, Any]], digits: int | None = None) -> list[list[object]]:
    """Return the cells of `results.csv`: the names of the columns, and one row per model and aggregate.

    Args:
        results: Result of `build_results`.
        digits: Number of digits after the point; None for all.
    """

    def short(value: object) -> object:
        return round(value, digits) if digits is not None and isinstance(value, float) else value

    rows = [
        {"model": model, "rescaling": entry["rescaling"], **row}
        for model, entry in results.items()
        for row in entry["aggregates"]
    ]
    return [[*CSV_COLUMNS], *([short(row[column]) for column in CSV_COLUMNS] for row in rows)]


def _score(problem_sets: Sequence[JoinedProblemSet], rescaling: Rescaling, strict: bool) -> _Results:
    """Score every model on every problem set that its table has."""
    results: _Results = {model: {} for item in problem_sets for model in item.scores}
    for item in problem_sets:
        for model, scores in item.scores.items():
            results[model][item.outline.id] = score_problem_set(scores, item.targets, rescaling, strict)
    return results


def _baselines(problem_sets: Sequence[JoinedProblemSet]) -> _Results:
    """Score the baselines on every problem set."""
    return {
        "majority": {item.outline.id: majority_baseline(item.targets) for item in problem_sets},
        "random": {item.outline.id: random_baseline(item.targets, item.outline.id) for item in problem_sets},
    }


def _compare(
    problem_sets: Sequence[JoinedProblemSet],
    results: _Results,
    raw: _Results,
    drawn: Collection[str],
    held_out: Mapping[str, bool],
) -> dict[str, dict[str, Any]]:
    """Return each model's own rows, see `_aggregate`, its `common` ones and its `differences`."""
    # Means of different problem sets cannot be compared, so `common` holds means over the sets that all scorers share.
    lacking = {
        model: {} if model in BASELINES else _not_scored(model, problem_sets, own) for model, own in results.items()
    }
    # Scores that were drawn at random are not compared, so what they lack takes nothing from the others.
    limiting = {model: ids for model, ids in lacking.items() if model not in drawn or len(drawn) == len(results) - 2}
    shared = [item for item in problem_sets if not any(item.outline.id in ids for ids in limiting.values())]
    own_rows = _aggregate(problem_sets, results, raw, held_out)
    common_rows = _aggregate(shared, results, raw, held_out, common=True)
    differences = _differences(problem_sets, results, lacking)
    compared: dict[str, dict[str, Any]] = {}
    for model in results:
        common = common_rows[model]
        counts = {"problem_sets": len(shared), "not_scored": list(limiting.get(model, ()))}
        raw_common = {"problem_sets": len(shared), **common.pop("raw")}
        compared[model] = own_rows[model] | {
            "common": counts | common,
            "raw": own_rows[model]["raw"] | {"common": raw_common},
            "differences": differences[model],
        }
    return compared


def _not_scored(
    model: str, problem_sets: Sequence[JoinedProblemSet], results: Mapping[str, ProblemSetResult]
) -> dict[str, None]:
    """Return the ids of the problem sets of which a scorer's table lacks videos, or for which it has no figure."""
    return {
        item.outline.id: None
        for item in problem_sets
        if model not in item.complete or math.isnan(results[item.outline.id].macro_f1)
    }


def _aggregate(
    problem_sets: Sequence[JoinedProblemSet],
    results: _Results,
    raw: _Results,
    held_out: Mapping[str, bool],
    common: bool = False,
) -> dict[str, dict[str, Any]]:
    """Return each model's rows of `aggregates`, `order_leak`, `reward_quality`, against chance, and in `raw`."""
    outlines, videos, by_cell = _places(problem_sets)
    f1 = _macro_f1(results, problem_sets)
    aggregates = tabulate(f1, videos, by_cell)
    raw_f1 = _macro_f1(raw, problem_sets)
    raw_aggregates = tabulate(raw_f1, videos, by_cell)
    models = list(results)
    chances = compare_with_chance(outlines, videos, f1, models, held_out)
    raw_chances = compare_with_chance(outlines, videos, raw_f1, models, held_out)
    order_leak = tabulate(f1, videos, order_leak_cells(outlines), group="split")
    rewards = reward_rows(problem_sets, by_cell, common)
    return {
        model: {
            "aggregates": aggregates[number],
            "order_leak": order_leak[number],
            "reward_quality": rewards.get(model, []),
            **vars(chances[model]),
            "raw": {"aggregates": raw_aggregates[number], **vars(raw_chances[model])},
        }
        for number, model in enumerate(results)
    }


def _differences(
    problem_sets: Sequence[JoinedProblemSet], results: _Results, lacking: Mapping[str, Mapping[str, None]]
) -> dict[str, _Rows]:
    """Return each model's rows of `differences`, over the problem sets that both models have scored in full."""
    _, videos, by_cell = _places(problem_sets)
    absent = torch.tensor([[item.outline.id in ids for ids in lacking.values()] for item in problem_sets])
    f1 = _macro_f1(results, problem_sets).masked_fill(absent, torch.nan)
    rows = tabulate(paired_differences(f1), videos, by_cell, mean="mean_difference")
    return {
        model: [
            {"other": other, **row}
            for place, other in enumerate(results)
            if other != model
            for row in rows[number * len(results) + place]
        ]
        for number, model in enumerate(results)
    }


def _places(
    problem_sets: Sequence[JoinedProblemSet],
) -> tuple[list[ProblemSet], list[set[tuple[str, str]]], dict[Cell, list[int]]]:
    """Return the outlines of problem sets, their videos, and their positions by cell."""
    outlines = [item.outline for item in problem_sets]
    videos = [{(item.outline.environment, video) for video in item.videos} for item in problem_sets]
    return outlines, videos, cells(outlines)


def _macro_f1(results: _Results, problem_sets: Sequence[JoinedProblemSet]) -> Tensor:
    """Return macro F1 `(problem_sets, models)`, float64; NaN where a model was not run."""
    return torch.tensor(
        [
            [own[item.outline.id].macro_f1 if item.outline.id in own else torch.nan for own in results.values()]
            for item in problem_sets
        ],
        dtype=torch.float64,
    ).reshape(len(problem_sets), len(results))


def _figures(results: Mapping[str, ProblemSetResult]) -> dict[str, dict[str, float | None]]:
    """Return the results of one model as JSON values."""
    return {id: {name: finite(value) for name, value in asdict(result).items()} for id, result in results.items()}
