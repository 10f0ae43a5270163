"""Reads the run files of wandb's offline runs back, with wandb's own reader."""

import json
import subprocess
import sys
import time
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


def wait_until_written(run_file: Path, seconds: float = 30) -> None:
    """Wait until wandb's own process, which goes on after `finish` has returned, has written a run file."""
    end, size = time.monotonic() + seconds, -1
    while size != run_file.stat().st_size or size < 100:  # the header alone is smaller
        if time.monotonic() > end:
            raise TimeoutError(f"{run_file} still grows, or stays empty, after {seconds} s")
        size = run_file.stat().st_size
        time.sleep(0.5)


def _inspect(run: Path, *options: str) -> str:
    (run_file,) = run.glob("run-*.wandb")
    wait_until_written(run_file)
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(run)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
