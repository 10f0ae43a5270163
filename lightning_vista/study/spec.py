"""What a study's YAML file says, and how configurations are laid over each other."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

Config = dict[str, Any]


class StudyError(ValueError):
    """A study is not described as it should be, or some of its runs failed."""


def merge(base: Config, other: Mapping[str, Any]) -> Config:
    """Lay one configuration over another: dictionaries are joined, anything else is replaced.

    As on the command line, a list `<key>+` is appended to that of `<key>`.

    Args:
        base: The configuration below.
        other: The one above, which wins.

    Returns:
        The joint configuration; options of another class than that of `other` are left out.

    Example:
        >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
        {'a': {'b': 3, 'c': 2}}
        >>> merge({"a": [1]}, {"a+": [2]})
        {'a': [1, 2]}
    """
    is_other_class = base.get("class_path") != other.get("class_path", base.get("class_path"))
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
        value: Whatever YAML may hold.
        words: What is replaced, with what replaces it.

    Returns:
        The same with the words replaced.

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


#: What is done in each run: commands of `lightning-vista`, each with further options.
_COMMANDS = {"fit": {}, "test": {"ckpt_path": "{folder}/checkpoints/last.ckpt"}}


@dataclass(frozen=True)
class Variant:
    """One kind of run of a study.

    Attributes:
        name: Heads its row of the table.
        configs: YAML files of `lightning-vista fit`, beyond the study's own; later ones win.
        overrides: Values by dotted key, callbacks by their class: `callbacks.GradientRouting.mask_weight: 0`; see
            `lightning_vista.study.overrides.override`.
        commands: Options of its commands, over those of the study's: `test: {ckpt_path: "{folder}/ablated.ckpt"}`.
        full: Whether it is only run with `--full`, since it takes long.
    """

    name: str
    configs: list[str] = field(default_factory=list)
    overrides: Config = field(default_factory=dict)
    commands: dict[str, Config] = field(default_factory=dict)
    full: bool = False


@dataclass(frozen=True)
class FigureSpec:
    """A figure of a study.

    Attributes:
        title: Its heading.
        series: Logged name of each series; `{x}` in it stands for the values of `x`, where these are a list.
        x: What is along the axis: `run`, a key of the grid, a list of values, or a logged name, over which each run is
            a point.
        runs: The variants that it shows; all by default.
        x_title: What the axis shows.
        y_title: What the values are.
        lines: Whether to join the values over a list by lines.
        log_x: Whether the axis is logarithmic, where there are numbers along it.
    """

    title: str
    series: dict[str, str]
    x: str | list[int | float | str] = "run"
    runs: list[str] | None = None
    x_title: str = ""
    y_title: str = ""
    lines: bool = False
    log_x: bool = False


@dataclass(frozen=True)
class Study:
    """What a study's YAML file says.

    In every string, `{folder}` stands for the folder of the run and `{seed}` for its seed.

    Attributes:
        title: Heads table and page.
        runs: The variants; each is run with every seed and every point of the grid.
        metrics: Logged name of each column of the table.
        baseline: The variant that `differences` are from.
        differences: Logged name of further columns: what is shown is the difference to the baseline with the same seed
            and point of the grid.
        summary: A sentence or two on what to look for.
        configs: YAML files that every run begins with, relative to the study's file.
        overrides: Values by dotted key for every run; those of a variant come after them.
        grid: Dotted keys, each with the values to go through.
        seeds: Of the runs.
        commands: Commands of a run, each with further options.
        figures: The figures.
        pictures: Names of PNG files in the folders of runs, with what they show; the page has those of the first seed.
        smoke: Values by dotted key for a quick trial.
    """

    title: str
    runs: list[Variant]
    metrics: dict[str, str]
    summary: str = ""
    baseline: str = ""
    differences: dict[str, str] = field(default_factory=dict)
    configs: list[str] = field(default_factory=list)
    overrides: Config = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])
    commands: dict[str, Config] = field(default_factory=lambda: copy.deepcopy(_COMMANDS))
    figures: list[FigureSpec] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    smoke: Config = field(default_factory=dict)


def read_study(path: str | Path) -> Study:
    """Read a study's YAML file.

    Args:
        path: The file.

    Returns:
        The study; its configs are paths from the working directory.

    Raises:
        FileNotFoundError: If there is no such file.
        StudyError: If it does not describe a study.
    """
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--study", type=Study)
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    try:
        study: Study = parser.instantiate_classes(parser.parse_object({"study": content})).study
    except jsonargparse.ArgumentError as error:
        raise StudyError(f"{path} does not describe a study: {error}") from error
    beside = Path(path).parent
    if study.differences and study.baseline not in {variant.name for variant in study.runs}:
        names = [variant.name for variant in study.runs]
        raise StudyError(f"{path}: `differences` need a `baseline`, one of {names}, got {study.baseline!r}.")
    variants = [replace(variant, configs=_beside(beside, variant.configs)) for variant in study.runs]
    return replace(study, configs=_beside(beside, study.configs), runs=variants)


def _beside(folder: Path, names: Sequence[str]) -> list[str]:
    return [str(folder / name) for name in names]
