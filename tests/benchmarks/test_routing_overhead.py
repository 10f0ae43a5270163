import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "routing_overhead.py"


@pytest.mark.slow
def test_the_routing_benchmark_runs(tmp_path: Path) -> None:
    """Only that it runs: with tiny sizes the figures mean nothing."""
    out = tmp_path / "results.json"
    sizes = {"--rounds": 1, "--batch": 1, "--tokens": 16, "--width": 16, "--vocabulary": 100}
    options = [word for option, value in sizes.items() for word in (option, str(value))]
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *options, "--json", str(out)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "routed / unrouted" in result.stdout
    document = json.loads(out.read_text(encoding="utf-8"))
    assert set(document) == {"machine", "settings", "measurements"}
    assert len(document["measurements"]) == 8
    assert all(set(line) == {"name", "value", "target", "met", "details"} for line in document["measurements"])
