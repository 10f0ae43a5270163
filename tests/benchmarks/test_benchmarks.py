import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "vista_throughput.py"
TINY: dict[str, list[float]] = {
    "--rounds": [1],
    "--workers": [1],
    "--frames": [2],
    "--mini-scale": [0.01],
    "--clips": [3],
    "--clip-frames": [10],
    "--clip-size": [32],
    "--samples": [10, 20],
    "--sets": [10],
}


@pytest.mark.slow
def test_the_throughput_benchmark_runs(tmp_path: Path) -> None:
    """Only that it runs: with tiny sizes the figures mean nothing."""
    out = tmp_path / "results.json"
    options = [word for option, values in TINY.items() for word in (option, *map(str, values))]
    command = [sys.executable, str(SCRIPT), *options, "--json", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert "peak memory" in result.stdout
    document = json.loads(out.read_text(encoding="utf-8"))
    assert set(document) == {"machine", "settings", "measurements"}
    assert len(document["measurements"]) == 6
    for measurement in document["measurements"]:
        assert set(measurement) == {"name", "value", "target", "met", "details"}
        assert measurement["value"] > 0
    loop = document["measurements"][0]["details"]
    assert {"ratio", "cpu_ratio", "seconds", "baseline_seconds", "whole_seconds", "videos_per_second"} <= set(loop)


@pytest.mark.slow
def test_the_chat_benchmark_runs(tmp_path: Path) -> None:
    """Only that it runs, as above."""
    script, out = SCRIPT.with_name("chat_throughput.py"), tmp_path / "results.json"
    tiny = {"--rounds": 1, "--requests": 8, "--serial": 2, "--frames": 1, "--size": 32, "--latency": 0.01}
    options = [word for option, value in tiny.items() for word in (option, str(value))]
    command = [sys.executable, str(script), *options, "--json", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert "ratio" in result.stdout
    assert {"machine", "settings", "ratio", "serial", "parallel"} <= set(json.loads(out.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_the_likelihood_benchmark_runs() -> None:
    """Only that it runs, as above."""
    script = SCRIPT.with_name("likelihood_sharing.py")
    tiny = {"--rounds": 1, "--frames": 2, "--size": 64, "--width": 32, "--layers": 1, "--candidates": 3}
    options = [word for option, value in tiny.items() for word in (option, str(value))]
    command = [sys.executable, str(script), *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert "3 candidates / one: ratio" in result.stdout


@pytest.mark.slow
def test_the_frame_memo_benchmark_runs() -> None:
    """Only that it runs, as above."""
    command = [sys.executable, str(SCRIPT.with_name("frame_memo.py")), "--scale", "0.01", "--rounds", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert "intact and four controls: " in result.stdout
