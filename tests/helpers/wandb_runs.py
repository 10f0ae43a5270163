"""Reads the run files of wandb's offline runs back, with wandb's own reader."""

import json
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any


def offline_runs(save_dir: Path) -> list[Path]:
    """The folders of the runs, the first one first."""
    return sorted((save_dir / "wandb").glob("offline-run-*"), key=lambda folder: folder.stat().st_mtime)


def summary(run: Path) -> dict[str, Any]:
    """The last value of everything that the run logged."""
    return dict(json.loads(_inspect(run, "--summary"))["summary"])


def records(run: Path, type: str) -> list[dict[str, Any]]:
    """The contents of the run file's records of one type."""
    lines = map(json.loads, _inspect(run).splitlines())
    return [line[type] for line in lines if line["type"] == type]


def table(run: Path, entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a table that a summary names."""
    content = json.loads((run / "files" / entry["path"]).read_text(encoding="utf-8"))
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


@cache
def wait_until_written(run_file: Path, seconds: float = 300) -> None:
    """Wait until wandb's own process, which outlives `finish`, has written a run file to its end."""
    end = time.monotonic() + seconds
    while '"type":"exit"' not in _read(run_file.parent):
        if time.monotonic() > end:
            raise TimeoutError(f"{run_file} does not end with the record of the run's end after {seconds} s")
        time.sleep(0.2)


def _inspect(run: Path, *options: str) -> str:
    (run_file,) = run.glob("run-*.wandb")
    wait_until_written(run_file)
    return _read(run, *options)


def _read(run: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(run)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def media_of(run: Path, name: str) -> list[bytes | None]:
    """The files in the column `media` of a table, from the artifact that wandb makes of each table with media."""
    manifests = [record["manifest"]["contents"] for record in records(run, "artifact")]
    found = [{file["path"]: Path(file["local_path"]) for file in contents} for contents in manifests]
    (files,) = (files for files in found if f"{name}.table.json" in files)
    content = json.loads(files[f"{name}.table.json"].read_text(encoding="utf-8"))
    cells = [row[content["columns"].index("media")] for row in content["data"]]
    return [None if cell is None else files[cell["path"]].read_bytes() for cell in cells]
