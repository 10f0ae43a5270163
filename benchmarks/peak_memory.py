"""Peak memory of an evaluation: that of the main process and of its workers, printed in bytes as JSON.

Run it in a separate process for each measurement: `python benchmarks/peak_memory.py SHARDS WORKERS`.
"""

import json
import multiprocessing
import re
import sys
import tempfile
from pathlib import Path

import lightning as L
from loop import evaluate

from lightning_vista.video import FrameSpec


class _Watch(L.Callback):
    """A callback that reads the peaks of the workers while they live."""

    def __init__(self) -> None:
        self.workers: dict[int | None, int] = {}

    def on_test_batch_end(self, *_: object) -> None:
        """Read the peaks after each batch."""
        for worker in multiprocessing.active_children():
            self.workers[worker.pid] = max(peak(worker.pid), self.workers.get(worker.pid, 0))  # 0 once it has ended


def peak(process: int | str | None) -> int:
    """Return the largest resident set of a process so far, in bytes; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def main(shards: str, num_workers: int) -> None:
    """Evaluate once and print the peaks."""
    watch = _Watch()
    with tempfile.TemporaryDirectory() as folder:
        evaluate(Path(shards), FrameSpec(2, size=16), num_workers, Path(folder), batch_size=32, callbacks=[watch])
    print(json.dumps({"main": peak("self"), "workers": sorted(watch.workers.values())}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
