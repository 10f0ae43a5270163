"""Commands that a study may run in other processes in place of Lightning's."""

import os
from collections.abc import Sequence
from pathlib import Path

import yaml


def printed_table(folder: Path) -> list[str]:
    """Return the lines of the table in a study's `results.md`: names of columns, a rule, and the rows."""
    lines = (folder / "results.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("| ")]


def measure(arguments: Sequence[str]) -> dict[str, float]:
    """What a run logs that trains nothing: some value of its config; some runs fail, others kill their process."""
    config = yaml.safe_load(Path(arguments[arguments.index("--config") + 1]).read_text())
    model = config["model"]
    with Path(model["diary"]).open("a") as diary:
        diary.write(f"{arguments[0]} {model['value']} {config['seed_everything']}\n")
    print("value", model["value"])
    if model["value"] == "raise":
        raise ValueError("raised on purpose")
    if model["value"] == "miss":
        raise FileNotFoundError("missed on purpose")
    if model["value"] == "exit":
        raise SystemExit("refused on purpose")
    if model["value"] == "die":
        os._exit(1)
    return {f"{arguments[0]}/value": model["value"] + config["seed_everything"], f"{arguments[0]}/nan": float("nan")}
