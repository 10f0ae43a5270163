"""The loops of docs/routing.md run, and route."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = (Path(__file__).parents[1] / "docs/routing.md").read_text(encoding="utf-8")


def run(name: str, folder: Path) -> dict[str, Any]:
    """Run a script of the page, and return its variables."""
    (code,) = re.findall(rf"```python\n(# {name}\.py\n.*?)```", PAGE, flags=re.DOTALL)
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    return runpy.run_path(str(folder / f"{name}.py"))


def test_a_plain_loop_and_fabric_train_alike(tmp_path: Path) -> None:
    plain, fabric = (run(name, tmp_path)["model"].state_dict() for name in ("routed_loop", "routed_fabric"))
    for name, weight in plain.items():
        assert torch.equal(weight, fabric[name])


def test_the_trainer_of_transformers_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = run("routed_trainer", tmp_path)
    assert found["trainer"].state.global_step == 8
    assert all(tap.fired for tap in found["trainer"].router.taps)
