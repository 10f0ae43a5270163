"""What docs/rewards.md says works."""

import re
import runpy
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).parents[1] / "docs/rewards.md").read_text(encoding="utf-8")


def test_the_example_with_minigrid_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("minigrid")
    (code,) = re.findall(r"```python\n(# minigrid_reward\.py\n.*?)```", DOCUMENT, flags=re.DOTALL)
    (tmp_path / "minigrid_reward.py").write_text(code, encoding="utf-8")
    runpy.run_path(str(tmp_path / "minigrid_reward.py"))
    assert "videos were judged" in capsys.readouterr().out
