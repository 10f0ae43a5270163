import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "embedding_share.py"
TINY = "--model ViT-S-32-alt --rounds 1 --workers 0 --sets 3 --clips 3 --clip-frames 4 --clip-size 32 --frames 2"


@pytest.mark.slow
def test_problem_sets_that_share_videos_encode_each_once(tmp_path: Path) -> None:
    """With tiny sizes only the counts mean something."""
    out = tmp_path / "results.json"
    command = [sys.executable, str(SCRIPT), *TINY.split(), "--json", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert "share of the time inside the model" in result.stdout
    document = json.loads(out.read_text(encoding="utf-8"))
    counts = [(item["videos"], item["texts"]) for item in document["evaluations"]]
    assert counts == [(3, 2), (3, 6), (0, 6)]
    assert all(0 < item["model_seconds"] < item["seconds"] for item in document["evaluations"])
