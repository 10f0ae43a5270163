import json
import runpy
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gridworld_throughput.py"


def test_the_gridworld_benchmark_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only that it runs, and that the baseline plays the same game: with tiny sizes the figures mean nothing."""
    out = tmp_path / "results.json"
    options = ["--envs", "64", "--steps", "20", "--rounds", "2", "--json", str(out)]
    monkeypatch.setattr("sys.argv", [str(SCRIPT), *options])
    names = runpy.run_path(str(SCRIPT), run_name="__main__")
    assert "against a loop over resets" in capsys.readouterr().out
    document = json.loads(out.read_text(encoding="utf-8"))
    assert document["ratio"] > 0
    assert document["settings"] == {"envs": 64, "steps": 20, "rounds": 2}
    grids = [names[name](200, oversight_probability=0.5) for name in ("OversightGridworld", "LoopedGridworld")]
    ours, looped = (names["measure"](grid, 50)[1] for grid in grids)
    assert ours == pytest.approx(looped, rel=0.1)
    shares = [grid.overseen.gather(1, grid.places[:, 1:]).float().mean() for grid in grids]
    torch.testing.assert_close(shares[0], shares[1], atol=0.15, rtol=0)
