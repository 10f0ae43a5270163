"""Judges of other packages: installed, named by entry point, used from YAML."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from lightning_vista import cli
from lightning_vista.vista.tables import read_scores

PACKAGE = Path(__file__).parent / "helpers" / "plugin_package"
CONFIG = """
model:
  class_path: {judge}
evaluation: {{run_dir: {run}}}
data:
  class_path: ViSTaDataModule
  init_args: {{shards: {shards}, num_workers: 0}}
trainer: {{accelerator: cpu, logger: false}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PACKAGE, folder / "source")
    install = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target"]
    subprocess.run([sys.executable, "-m", *install, str(folder / "site"), str(folder / "source")], check=True)
    return folder / "site"


@pytest.mark.parametrize("judge", ["BrightnessScorer", "brightness_judge.BrightnessScorer"])
def test_an_installed_package_brings_its_judge(judge: str, site: Path, shards: Path, tmp_path: Path) -> None:
    config = tmp_path / "judge.yaml"
    config.write_text(CONFIG.format(judge=judge, run=tmp_path / "run", shards=shards), encoding="utf-8")
    command = [sys.executable, "-m", "lightning_vista", "test", "--config", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(site), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=900)
    assert read_scores(tmp_path / "run").rows.height == 40


def test_a_broken_plugin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "there_is_no_such_package", "lightning_vista.plugins")
    monkeypatch.setattr(cli, "entry_points", lambda group: [broken])
    with pytest.raises(ValueError, match=r"plugin broken = 'there_is_no_such_package' .* cannot be loaded"):
        cli.load_plugins()
