"""Layers of configs: `--config A --config B` on the command line gives what a study makes of `configs: [A, B]`."""

import contextlib
import io
from pathlib import Path

import pytest
import yaml

from lightning_vista.cli import main
from lightning_vista.study import read_study
from lightning_vista.study.spec import Config, merge

ROOT = Path(__file__).parents[2]


def stacks() -> list[tuple[Path, ...]]:
    """Return the different stacks of two and more files that shipped studies merge."""
    found = {
        tuple(Path(path).resolve() for path in (*study.configs, *variant.configs))
        for study in map(read_study, sorted((ROOT / "configs/studies").glob("*.yaml")))
        for variant in study.runs
    }
    return sorted(stack for stack in found if len(stack) > 1)


def parsed(*paths: Path) -> Config:
    """Return the configuration that the command line makes of files."""
    printed = io.StringIO()
    arguments = ["fit", *(part for path in paths for part in ("--config", str(path))), "--print_config"]
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code, ended.value.code
    config: Config = yaml.safe_load(printed.getvalue())
    return config


@pytest.mark.slow
@pytest.mark.parametrize("stack", stacks(), ids=lambda stack: "+".join(path.stem for path in stack))
def test_the_command_line_merges_as_a_study_does(stack: tuple[Path, ...], tmp_path: Path) -> None:
    merged: Config = {}
    for path in stack:
        merged = merge(merged, yaml.safe_load(path.read_text(encoding="utf-8")))
    whole = tmp_path / "whole.yaml"
    whole.write_text(yaml.safe_dump(merged, sort_keys=False), encoding="utf-8")

    assert parsed(*stack) == parsed(whole)
