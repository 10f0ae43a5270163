"""Every YAML under `configs/` runs, on tiny data and stub weights."""

import warnings
from pathlib import Path

import pytest
from tiny_checkpoints import save_clip

from lightning_vista.cli import main
from lightning_vista.vista.tables import read_scores

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml"))


def overrides(config: str, folder: Path) -> list[str]:
    """What makes a config small enough for a test; a config that is not named here needs nothing."""
    if config == "configs/vista/clip.yaml":
        return ["--model.model", save_clip(folder / "tiny-clip")]
    return []


@pytest.mark.parametrize("config", CONFIGS)
def test_the_config_runs(config: str, shards: Path, tmp_path: Path) -> None:
    arguments = ["test", "--config", str(ROOT / config), "--data.shards", str(shards), "--data.num_workers", "0"]
    arguments += ["--model.run_dir", str(tmp_path / "run"), "--trainer.accelerator", "cpu"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*descriptions were truncated")  # the stub reads 24 characters
        main([*arguments, *overrides(config, tmp_path)])
    rows = read_scores(tmp_path / "run").rows
    assert rows.height == 40
    assert rows["score"].null_count() == 0
    assert (tmp_path / "run" / "config.yaml").exists()
