"""Runs of a study: their configurations, commands and results."""

import hashlib
import itertools
import json
import re
import shlex
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from lightning_vista.code_version import code_version
from lightning_vista.files.documents import read_yaml
from lightning_vista.files.own_files import DamagedFileError, from_sealed_json, write_sealed_json, write_whole
from lightning_vista.files.redaction import settings_without_secrets, without_secrets
from lightning_vista.files.run_files import check_config, sealed_config
from lightning_vista.study.overrides import key_labels, override
from lightning_vista.study.spec import Config, Study, StudyError, Variant, fill_words, merge

#: Version of `done.json`.
_DONE_VERSION = 1


@dataclass(frozen=True)
class Run:
    """One run: a variant at a point of the grid with one seed.

    Attributes:
        variant: Name of the variant.
        point: Value of each key of the grid.
        seed: Random seed.
        folder: Folder for all files of the run.
        config: Configuration, still with `{folder}` and `{seed}` in it.
        commands: Commands with their options, still with `{folder}` and `{seed}` in them.
        code_version: Version of the code when the study began.
    """

    variant: str
    point: Config
    seed: int
    folder: Path
    config: Config
    commands: dict[str, Config]
    code_version: str

    @property
    def row(self) -> str:
        """Name of the run's row in the table."""
        labels = key_labels(list(self.point))
        return ", ".join([self.variant, *(f"{labels[key]} {value}" for key, value in self.point.items())])

    @property
    def name(self) -> str:
        """Name of the run, unique in the study."""
        return f"{self.row}, seed {self.seed}"

    @property
    def arguments(self) -> list[list[str]]:
        """Arguments of `lightning-vista` for each command; they also work alone once `run.yaml` is written."""
        options: dict[str, Config] = self._filled(self.commands)
        start = {"config": str(self.folder / "run.yaml")}
        return [
            [name, *(part for key, value in (start | extra).items() for part in (f"--{key}", _as_text(value)))]
            for name, extra in options.items()
        ]

    @property
    def command_lines(self) -> str:
        """Commands for a shell, one per line."""
        return "".join(f"{shlex.join(['lightning-vista', *arguments])}\n" for arguments in self.arguments)

    def write(self) -> None:
        """Write `run.yaml` and `commands.txt` into the run's folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self._filled(self.config)
        if settings_without_secrets(config) != config or without_secrets(self.command_lines) != self.command_lines:
            raise ValueError(
                f"`{self.name}`: expected settings without passwords and keys, which run.yaml would keep, got an "
                "address or a setting that holds one. Give it in an environment variable."
            )
        write_whole(self.folder / "run.yaml", sealed_config(yaml.safe_dump(config, sort_keys=False)))
        write_whole(self.folder / "commands.txt", self.command_lines)

    def finish(self, metrics: Mapping[str, float], seconds: float) -> None:
        """Write `done.json`, which marks the run as finished, completely or not at all.

        Args:
            metrics: Logged metrics.
            seconds: Duration of the run.
        """
        content = {"run": self.name, "seconds": round(seconds, 1), **self._identity(), "metrics": dict(metrics)}
        write_sealed_json(self.folder / "done.json", content, _DONE_VERSION)

    def result(self) -> Config | None:
        """Return the content of `done.json`, or None unless the run finished with this configuration and code.

        A damaged file, or one of an earlier release without a checksum, counts as none, with a warning.
        """
        path = self.folder / "done.json"
        if not path.exists():
            return None
        try:
            content: Config = from_sealed_json(
                path.read_bytes(), path, version=_DONE_VERSION, remedy="The run is done again."
            )
        except DamagedFileError as error:
            warnings.warn(str(error), stacklevel=2)
            return None
        return content if content and self._identity().items() <= content.items() else None

    def _identity(self) -> dict[str, str]:
        described = json.dumps([self.config, self.commands, self.seed], sort_keys=True)
        return {"config_hash": hashlib.sha256(described.encode()).hexdigest()[:16], "code_version": self.code_version}

    def _filled(self, value: Any) -> Any:
        return fill_words(value, {"{folder}": str(self.folder), "{seed}": str(self.seed)})


def expand_study(study: Study, out_dir: str | Path, smoke: bool = False, full: bool = False) -> list[Run]:
    """List the runs of a study: one for each variant, point of the grid and seed.

    Args:
        study: The study.
        out_dir: Folder of the study, in which each run gets a folder of its own.
        smoke: Whether to make a quick trial, with the study's `smoke` values and the first seed only. Of values in a
            grid that `smoke` replaces, it takes the first.
        full: Whether to include the variants marked `full`.

    Returns:
        The runs, with seeds in the innermost loop.

    Raises:
        FileNotFoundError: If a config is missing.
        StudyError: If the study has no runs, an override does not fit its configuration, or two runs share a folder.
    """
    runs = [
        _run(study, variant, dict(zip(grid, values, strict=True)), seed, Path(out_dir), smoke)
        for variant in study.runs
        if full or not variant.full
        for grid in [_grid(study, variant, smoke)]
        for values in itertools.product(*grid.values())
        for seed in (study.seeds[:1] if smoke else study.seeds)
    ]
    if not runs:
        raise StudyError(
            "`runs` and `seeds`: expected at least one of each, got none. If all runs are marked `full`, add --full."
        )
    folders = [run.folder for run in runs]
    shared = sorted({run.name for run in runs if folders.count(run.folder) > 1})
    if shared:
        raise StudyError(f"`runs`: expected names that differ in letters and digits, got {shared}. Rename one.")
    return runs


def _grid(study: Study, variant: Variant, smoke: bool) -> Config:
    grid = study.grid if variant.grid is None else variant.grid
    if not smoke:
        return grid
    # Values that the trial replaces would all give the same run.
    return {key: values[:1] if key in study.smoke else values for key, values in grid.items()}


def _run(study: Study, variant: Variant, point: Config, seed: int, out: Path, smoke: bool) -> Run:
    config: Config = {}
    for path in (*study.configs, *variant.configs):
        check_config(Path(path))
        config = merge(config, read_yaml(path))
    fixed = {"seed_everything": seed, "trainer.default_root_dir": "{folder}"}
    for key, value in itertools.chain(*(layer.items() for layer in (fixed, study.overrides, variant.overrides, point))):
        override(config, key, value)
    for key, value in (study.smoke if smoke else {}).items():
        override(config, key, value)
    commands = merge(study.commands, variant.commands)
    run = Run(variant.name, point, seed, out, config, commands, code_version())
    return replace(run, folder=out / "runs" / re.sub(r"[^\w.-]+", "_", run.row) / f"seed_{seed}")


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
