"""Folders of tests: what a callback writes, and wandb, offline and silent, stay within the test's own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another root folder a trainer's files go to the current one, which would be the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def wandb_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the loggers of a test; a run still open at its end is ended."""
    wandb = pytest.importorskip("wandb")
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", os.fspath(tmp_path / "wandb-home"))
    for name, value in {"MODE": "offline", "SILENT": "true", "CONSOLE": "off", "DISABLE_GIT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    (tmp_path / "logs").mkdir()
    yield tmp_path / "logs"
    wandb.finish()
