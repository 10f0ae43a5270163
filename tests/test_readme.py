"""What the README says works."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

from lightning_vista.vista.tables import read_scores

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_scorer_of_the_readme_runs_as_it_says(shards: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(# my_scorer\.py\n.*?)```", README, flags=re.DOTALL)
    assert code.count("\n") <= 25
    (tmp_path / "my_scorer.py").write_text(code, encoding="utf-8")
    (command,) = re.findall(r"^lightning-vista (test .*my_scorer.*)$", README, flags=re.MULTILINE)
    # -P: the program `lightning-vista` does not have the current folder on its path as `python -m` has.
    arguments = ["-P", "-m", "lightning_vista", *command.replace("demo/shards", str(shards)).split()]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)
    (table,) = (tmp_path / "runs").glob("*/scores.parquet")
    assert read_scores(table).rows.height == 40


def test_the_routed_model_of_the_readme_trains(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(# route\.py\n.*?)```", README, flags=re.DOTALL)
    (tmp_path / "route.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "route.py"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    (table,) = tmp_path.rglob("routing.csv")
    shares = {tuple(row[:3]): float(row[4]) for row in csv.reader(table.read_text().splitlines()[1:])}
    assert shares["encoder", "low", "low"] == shares["encoder", "high", "high"] == 1
    assert shares["encoder", "low", "high"] == shares["encoder", "high", "low"] == 0


def test_the_rewarded_agent_of_the_docs_trains(tmp_path: Path) -> None:
    page = (ROOT / "docs/rewards.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# judge_reward\.py\n.*?)```", page, flags=re.DOTALL)
    (tmp_path / "judge_reward.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "judge_reward.py"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert "16 videos judged for: First, we go to the" in result.stdout


def test_the_yaml_of_the_readme_is_the_one_that_is_tested() -> None:
    (shown,) = re.findall(r"```yaml\n(# Expand, route, ablate.*?)```", README, flags=re.DOTALL)
    assert shown == (ROOT / "configs/unlearning/own_model.yaml").read_text(encoding="utf-8")


def test_every_path_the_readme_names_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_the_commands_of_the_readme_are_those_of_the_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "lightning_vista", "--help"], capture_output=True, text=True, check=True
    )
    listed = set(re.findall(r"^    ([a-z]+)(?= |$)", result.stdout, flags=re.MULTILINE))
    section = README.split("## Commands")[1].split("\n## ")[0]
    table = set(re.findall(r"^\| `([a-z]+)", section, flags=re.MULTILINE))
    assert table == listed
