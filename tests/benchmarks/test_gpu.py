import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=1500)


@pytest.mark.slow
def test_the_benchmark_for_gpus_runs_on_a_cpu(tmp_path: Path) -> None:
    """Every part, with tiny sizes; only the exactness means something."""
    done = run("--smoke", "--out", str(tmp_path / "gpu.md"))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "gpu.md").read_text()
    assert page.count("\n## ") == 5
    assert "figures only show that the benchmark runs" in page
    assert "failed" not in page
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith(("| float32", "| bfloat16"))]
    assert len(rows) == 4
    for row in rows:
        routing, again, plain, leak = (float(cell.strip(" |")) for cell in row[2:])
        assert routing <= max(2 * again, 1e-6 if "float32" in row[0] else 1e-2)
        assert plain > 0.1
        assert leak == 0


@pytest.mark.slow
def test_a_smoke_does_not_pretend_to_be_a_gpu(tmp_path: Path) -> None:
    import torch

    done = run("--smoke")
    assert done.returncode == 1
    assert "expected another file for a smoke" in done.stderr
    if not torch.cuda.is_available():
        done = run("--out", str(tmp_path / "gpu.md"))
        assert done.returncode == 1
        assert "expected a GPU, got none" in done.stderr
