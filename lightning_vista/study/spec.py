"""What a study's YAML file says."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from lightning_vista.study.layers import Config, StudyError

#: What is done in each run: commands of `lightning-vista`, each with further options.
_COMMANDS = {"fit": {}, "test": {"ckpt_path": "{folder}/checkpoints/last.ckpt"}}


@dataclass(frozen=True)
class Variant:
    """One kind of run of a study.

    Attributes:
        name: Heads its row of the table.
        configs: YAML files of `lightning-vista fit`, beyond the study's own; later ones win.
        overrides: Values by dotted key, list items by number: `trainer.callbacks.0.init_args.mask_weight: 0`.
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
