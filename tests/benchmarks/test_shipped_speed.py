import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "shipped_speed.py"


@pytest.mark.slow
def test_every_shipped_scorer_is_timed() -> None:
    """Only that it runs: with tiny data the figures mean nothing."""
    command = [sys.executable, str(SCRIPT), "--scale", "0.01"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert re.findall(r"dual-(\w+): loaded in", result.stdout) == ["mean", "temporal", "slot"]
