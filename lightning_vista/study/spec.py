"""Specification of a study, as its YAML file gives it, and the merging of configurations."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import jsonargparse

from lightning_vista.files.documents import read_yaml

Config = dict[str, Any]


class StudyError(ValueError):
    """Error in the description of a study, or in some of its runs."""


def merge(base: Config, other: Mapping[str, Any]) -> Config:
    """Merge two configurations: join dictionaries, replace everything else.

    As on the command line, a list `<key>+` is appended to that of `<key>`.

    Args:
        base: Lower configuration.
        other: Upper configuration, which takes precedence.

    Returns:
        The merged configuration. Where `other` names another class, the options of the first class are dropped; a class
        may be named with or without its module.

    Example:
        >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
        {'a': {'b': 3, 'c': 2}}
        >>> merge({"a": [1]}, {"a+": [2]})
        {'a': [1, 2]}
    """
    # Not whole paths: the command line, too, takes `StoriesDataModule` and its path in any module for one class.
    names = [str(path).rpartition(".")[-1] for path in (base.get("class_path"), other.get("class_path"))]
    is_other_class = "class_path" in other and names[0] != names[1]
    merged = {} if is_other_class else copy.deepcopy(base)
    for key, value in other.items():
        if key.endswith("+"):
            merged[key[:-1]] = [*merged.get(key[:-1], []), *value]
        else:
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, dict) else {}, value) if isinstance(value, dict) else value
    return copy.deepcopy(merged)


def fill_words(value: Any, words: Mapping[str, str]) -> Any:
    """Replace words in all strings of nested dictionaries and lists.

    Args:
        value: Any content of a YAML file.
        words: Replacement of each word.

    Returns:
        The value with the words replaced.

    Example:
        >>> fill_words({"path": ["{folder}/a"], "number": 1}, {"{folder}": "runs"})
        {'path': ['runs/a'], 'number': 1}
    """
    if isinstance(value, str):
        for word, replacement in words.items():
            value = value.replace(word, replacement)
        return value
    if isinstance(value, dict):
        return {key: fill_words(item, words) for key, item in value.items()}
    return [fill_words(item, words) for item in value] if isinstance(value, list) else value


#: A cell of the table in the text of a finding: `{<row>: <column>}`.
CELL = re.compile(r"\{([^{}:]+): ([^{}]+)\}")

#: Default commands of a run, each with further options.
_COMMANDS = {"fit": {}, "test": {"ckpt_path": "{folder}/checkpoints/last.ckpt"}}


@dataclass(frozen=True)
class Variant:
    """One kind of run of a study.

    Attributes:
        name: Name of the variant, which heads its row of the table.
        configs: YAML files of `lightning-vista fit`, merged over the study's own; later files take precedence.
        overrides: Values by dotted key, callbacks by their class: `callbacks.GradientRouting.mask_weight: 0`; see
            `lightning_vista.study.overrides.override`.
        commands: Options of commands, merged over those of the study: `test: {ckpt_path: "{folder}/ablated.ckpt"}`.
        full: Whether the variant runs with `--full` only, since it takes long.
        grid: Values of each dotted key for this variant, in place of the study's grid: `{}` for a reference that does
            not depend on it.
    """

    name: str
    configs: list[str] = field(default_factory=list)
    overrides: Config = field(default_factory=dict)
    commands: dict[str, Config] = field(default_factory=dict)
    full: bool = False
    grid: dict[str, list[Any]] | None = None


@dataclass(frozen=True)
class FigureSpec:
    """A figure of a study.

    Attributes:
        title: Heading.
        series: Logged name of each series. `{x}` in it stands for each value of `x`, if `x` is a list.
        x: Quantity along the horizontal axis: `run`, a key of the grid, a list of values, or a logged name, over which
            each run is a point.
        runs: Variants to show; all by default.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.
        lines: Whether to connect the values over a list by lines.
        log_x: Whether a horizontal axis of numbers is logarithmic.
        log_y: Whether the axis of values is logarithmic, such as for perplexities.
        reference: Dashed lines: the name of each, with its value, such as that of chance, or with the name of the
            variant whose mean it shows.
        frontier: Table over steps in the folder of each run, such as `losses.csv` or `max_entropy.csv`. Instead of one
            point, a run then is the line of its points that no other point surpasses, with lower `x` and higher
            series: the retain and forget losses, as columns of the table, over its validations. `frontiers.csv` has the
            points of all such figures.
    """

    title: str
    series: dict[str, str]
    x: str | list[int | float | str] = "run"
    runs: list[str] | None = None
    x_title: str = ""
    y_title: str = ""
    lines: bool = False
    log_x: bool = False
    log_y: bool = False
    reference: dict[str, float | str] = field(default_factory=dict)
    frontier: str = ""


@dataclass(frozen=True)
class ComputeRatioSpec:
    """A column of compute ratios: the share of a baseline's training at which it had the same loss.

    Attributes:
        value: Logged name of the loss of each run, such as `test/loss/forget`.
        curve: Column of the baseline's `losses.csv`, such as `val/loss/forget`.
        baseline: Name of the variant with the curve, an ordinary model; that of the study by default.
    """

    value: str
    curve: str
    baseline: str = ""


@dataclass(frozen=True)
class LeakageSpec:
    """A column of leakage: how much openly seen forget data gives an ordinary model the same forget loss (SGTM).

    Ordinary models are the runs of a variant that filters by the same labels, over the shares of labels in the grid:
    with a share of .8, it sees a fifth of the forget data openly. The grid should go from 0 to 1.

    Attributes:
        value: Logged name of the forget loss of each run, such as `test/loss/forget`.
        discovery: Key of the grid that is the share of labelled forget data, such as `data.init_args.labelling.forget`.
        baseline: Name of the variant that filters; that of the study by default.
        relative: Whether to divide the openly seen share by the undiscovered share of the run: 1 then is the leakage of
            filtering.
    """

    value: str
    discovery: str
    baseline: str = ""
    relative: bool = True


@dataclass(frozen=True)
class Study:
    """A study, as its YAML file describes it.

    In every string, `{folder}` stands for the folder of the run and `{seed}` for its seed.

    Attributes:
        title: Heading of table and page.
        runs: Variants; each runs with every seed at every point of the grid.
        metrics: Logged name of each column of the table.
        baseline: Name of the variant that `differences` compare with.
        differences: Logged name of each further column, which shows the difference from the baseline with the same
            seed at the same point of the grid, as far as the baseline's grid goes.
        compute_ratios: Compute ratios of each further column.
        leakages: Leakage of each further column.
        summary: One or two sentences that tell readers what to look for.
        finding: What the study found. `{<row>: <column>}` stands for the mean in the table, so that the sentence never
            has other numbers than the table. It is left out where runs or their numbers are missing, and of smoke runs.
        better: Whether higher or lower values of a column are better.
        curves: Names of logged losses whose curves the page shows; by default those with "loss" in them, at most six.
        configs: YAML files that every run begins with, relative to the study's file.
        overrides: Values by dotted key for every run; those of a variant are applied after them.
        grid: Values of each dotted key; the runs cover all combinations.
        seeds: Random seeds of the runs.
        commands: Commands of a run, each with further options.
        figures: Figures of the page.
        pictures: Caption of each PNG file in the folders of runs; the page shows those of the first seed.
        smoke: Values by dotted key for a quick trial.
    """

    title: str
    runs: list[Variant]
    metrics: dict[str, str]
    summary: str = ""
    finding: str = ""
    better: dict[str, Literal["higher", "lower"]] = field(default_factory=dict)
    curves: list[str] = field(default_factory=list)
    baseline: str = ""
    differences: dict[str, str] = field(default_factory=dict)
    compute_ratios: dict[str, ComputeRatioSpec] = field(default_factory=dict)
    leakages: dict[str, LeakageSpec] = field(default_factory=dict)
    configs: list[str] = field(default_factory=list)
    overrides: Config = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])
    commands: dict[str, Config] = field(default_factory=lambda: copy.deepcopy(_COMMANDS))
    figures: list[FigureSpec] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    smoke: Config = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Titles of all columns of the table."""
        return [*self.metrics, *self.differences, *self.compute_ratios, *self.leakages]


def read_study(path: str | Path) -> Study:
    """Read a study's YAML file.

    Args:
        path: The file.

    Returns:
        The study, with paths of configs that are relative to the working directory.

    Raises:
        FileNotFoundError: If the file does not exist.
        StudyError: If the file does not describe a study.
    """
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--study", type=Study)
    content = read_yaml(path)
    try:
        study: Study = parser.instantiate_classes(parser.parse_object({"study": content})).study
    except jsonargparse.ArgumentError as error:
        raise StudyError(
            f"`{path}`: expected the description of a study, got an error. Fix the file: {error}"
        ) from error
    beside = Path(path).parent
    _check_references(study, path)
    variants = [replace(variant, configs=_beside(beside, variant.configs)) for variant in study.runs]
    return replace(study, configs=_beside(beside, study.configs), runs=variants)


def _check_references(study: Study, path: str | Path) -> None:
    """Refuse baselines that do not fit, frontiers without a column for the horizontal axis, and unknown columns."""
    names = [variant.name for variant in study.runs]
    ratios = {f"compute_ratios.{title}": spec.baseline for title, spec in study.compute_ratios.items()}
    ratios |= {f"leakages.{title}": spec.baseline for title, spec in study.leakages.items()}
    wanted = ({"differences": ""} if study.differences else {}) | ratios
    for what, name in wanted.items():
        if (baseline := name or study.baseline) not in names:
            raise StudyError(f"{path}: `baseline`: expected one of {names} for `{what}`, got {baseline!r}.")
    grids = {variant.name: study.grid if variant.grid is None else variant.grid for variant in study.runs}
    for title, leakage in study.leakages.items():
        if leakage.discovery not in (grid := grids[leakage.baseline or study.baseline]):
            raise StudyError(
                f"{path}: `discovery`: expected a key of the baseline's grid {list(grid)} for `leakages.{title}`, got "
                f"{leakage.discovery!r}."
            )
    _check_figures(study, names, path)
    cells = CELL.findall(study.finding)
    for option, column in [*(("better", name) for name in study.better), *(("finding", name) for _, name in cells)]:
        if column not in study.columns:
            raise StudyError(f"{path}: `{option}`: expected columns of {study.columns}, got {column!r}.")
    for row in (row for row, _ in cells if not row.startswith(tuple(names))):
        raise StudyError(f"{path}: `finding`: expected rows of {names}, got {row!r}.")


def _check_figures(study: Study, names: Sequence[str], path: str | Path) -> None:
    """Refuse frontiers without a column for the horizontal axis, and references to unknown variants."""
    for spec in study.figures:
        if spec.frontier and (spec.x == "run" or not isinstance(spec.x, str)):
            raise StudyError(f"{path}: `x`: expected a column of {spec.frontier} for {spec.title!r}, got {spec.x!r}.")
        for name in (value for value in spec.reference.values() if isinstance(value, str) and value not in names):
            raise StudyError(
                f"{path}: `reference`: expected a number or one of {names} for {spec.title!r}, got {name!r}."
            )


def _beside(folder: Path, names: Sequence[str]) -> list[str]:
    return [str(folder / name) for name in names]
