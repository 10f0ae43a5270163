"""The runs of a study."""

import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import lightning_vista
from lightning_vista.study.overrides import key_labels, override
from lightning_vista.study.spec import Config, Study, StudyError, Variant, fill_words, merge


@dataclass(frozen=True)
class Run:
    """One run: a variant at a point of the grid with one seed.

    Attributes:
        variant: The variant's name.
        point: The value of each key of the grid.
        seed: The seed.
        folder: Where everything of the run is written.
        config: The configuration, `{folder}` and `{seed}` still in it.
        commands: The commands, likewise.
        code_version: Of the code when the study began.
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
        """The name of its row in the table."""
        labels = key_labels(list(self.point))
        return ", ".join([self.variant, *(f"{labels[key]} {value}" for key, value in self.point.items())])

    @property
    def name(self) -> str:
        """Its name among all runs."""
        return f"{self.row}, seed {self.seed}"

    @property
    def arguments(self) -> list[list[str]]:
        """Its commands, as `lightning-vista` takes them; they also work alone once `run.yaml` is written."""
        options: dict[str, Config] = self._filled(self.commands)
        start = {"config": str(self.folder / "run.yaml")}
        return [
            [name, *(part for key, value in (start | extra).items() for part in (f"--{key}", _as_text(value)))]
            for name, extra in options.items()
        ]

    @property
    def command_lines(self) -> str:
        """Its commands as a shell takes them, one a line."""
        return "".join(f"{shlex.join(['lightning-vista', *arguments])}\n" for arguments in self.arguments)

    def write(self) -> None:
        """Write `run.yaml` and `commands.txt` into its folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self._filled(self.config)
        (self.folder / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        (self.folder / "commands.txt").write_text(self.command_lines, encoding="utf-8")

    def finish(self, metrics: Mapping[str, float], seconds: float) -> None:
        """Write `done.json`, whole or not at all."""
        content = {"run": self.name, "seconds": round(seconds, 1), **self._identity(), "metrics": dict(metrics)}
        temporary = self.folder / "done.json.part"
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        temporary.replace(self.folder / "done.json")

    def result(self) -> Config | None:
        """What `done.json` holds; None if the run is not finished in this configuration and version of the code."""
        path = self.folder / "done.json"
        content: Config = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return content if content and self._identity().items() <= content.items() else None

    def _identity(self) -> dict[str, str]:
        described = json.dumps([self.config, self.commands, self.seed], sort_keys=True)
        return {"config_hash": hashlib.sha256(described.encode()).hexdigest()[:16], "code_version": self.code_version}

    def _filled(self, value: Any) -> Any:
        return fill_words(value, {"{folder}": str(self.folder), "{seed}": str(self.seed)})


def expand_study(study: Study, out_dir: str | Path, smoke: bool = False, full: bool = False) -> list[Run]:
    """List the runs of a study: every variant, point of the grid and seed.

    Args:
        study: The study.
        out_dir: The folder of the study; each run gets a folder in it.
        smoke: Whether to make a quick trial: with the study's `smoke` values, and the first seed only.
        full: Whether to run the variants marked so too.

    Returns:
        The runs, seeds innermost.

    Raises:
        FileNotFoundError: If a config is missing.
        StudyError: If there are no runs, an override does not fit its config, or two runs would share a folder.
    """
    runs = [
        _run(study, variant, dict(zip(study.grid, values, strict=True)), seed, Path(out_dir), smoke)
        for variant in study.runs
        if full or not variant.full
        for values in itertools.product(*study.grid.values())
        for seed in (study.seeds[:1] if smoke else study.seeds)
    ]
    if not runs:
        raise StudyError("Expected runs and seeds, found none; where all runs are marked `full`, add --full.")
    folders = [run.folder for run in runs]
    shared = sorted({run.name for run in runs if folders.count(run.folder) > 1})
    if shared:
        raise StudyError(
            f"Expected runs and seeds to differ in their names' letters and digits; these do not: {shared}."
        )
    return runs


@cache
def code_version() -> str:
    """The package's version and a digest of its source files, whichever way it was installed."""
    root = Path(lightning_vista.__file__).parent
    folders = (root, root / "callbacks", root / "datamodules")  # the last two may be links, which rglob passes by
    sources = sorted({file.read_bytes() for folder in folders for file in folder.rglob("*.py")})
    return f"{lightning_vista.__version__}+{hashlib.sha256(b''.join(sources)).hexdigest()[:12]}"


def _run(study: Study, variant: Variant, point: Config, seed: int, out: Path, smoke: bool) -> Run:
    config: Config = {}
    for path in (*study.configs, *variant.configs):
        config = merge(config, yaml.safe_load(Path(path).read_text(encoding="utf-8")))
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
