"""Growth: time and memory of the commands as the number of videos grows, and the cost of routing as the model grows.

    python benchmarks/growth.py                       # 1,000 and 10,000 tiny videos
    python benchmarks/growth.py --counts 1000 10000 50000 --routing --json growth.json
    python benchmarks/growth.py --counts --routing       # the cost of routing alone; 14 GB of memory

Every command runs in a process of its own, with one thread. Its time is that of the CPU, without the imports, which a
run on 10 videos tells; its memory is the peak of its resident set. Linear time: the CPU time for each video is that of
the smallest count, within 15 %. Flat memory: the peak, without the rows and labels that any result has to hold, is that
of the smallest count, within 15 %.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from data import write_copies

#: Number of videos of the run that tells the time of the imports.
_FEW = 10
COMMANDS = ("build", "verify", "test", "report")


@dataclass(frozen=True)
class Point:
    """A command on a number of videos.

    Attributes:
        command: The command.
        count: Number of videos.
        cpu: CPU seconds of the process, without those of the imports.
        peak: Largest resident set in bytes.
    """

    command: str
    count: int
    cpu: float
    peak: int


def arguments(command: str, folder: Path) -> list[str]:
    """Return the arguments of a command on the dataset in a folder."""
    shards, run = str(folder / "shards"), str(folder / "run")
    data = ["--data=ViSTaDataModule", f"--data.shards={shards}", "--data.num_workers=0", "--data.batch_size=32"]
    trainer = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    return {
        "build": ["shards", "build", str(folder / "tasks"), str(folder / "videos"), shards, "--workers", "1"],
        "verify": ["shards", "verify", shards, "--workers", "1"],
        "test": ["test", "--model=RandomScorer", *data, *trainer, f"--evaluation.run_dir={run}"],
        "report": ["report", run, "--out", str(folder / "report"), "--rescaling", "none"],
    }[command]


def run(command: str, folder: Path) -> tuple[float, int]:
    """Run a command in a process of its own; return its CPU seconds and its peak in bytes."""
    code = (
        "import re, resource, sys\nfrom pathlib import Path\nfrom lightning_vista.cli import main\nmain(sys.argv[1:])\n"
        "usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        # Not `ru_maxrss`, which starts at the resident set of the process that started this one.
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1]\n"
        "print('USAGE', usage.ru_utime + usage.ru_stime, int(peak) * 1024)"
    )
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments(command, folder)],
        capture_output=True, text=True, check=False, env={**os.environ, **threads}, cwd=folder,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stderr[-2000:]}")
    _, cpu, peak = done.stdout.splitlines()[-1].split()
    return float(cpu), int(peak)


def measure(counts: Sequence[int], rounds: int, commands: Sequence[str]) -> Iterator[Point]:
    """Yield the points of all commands: medians over rounds of CPU time, and the least of the peaks."""
    usages: dict[tuple[str, int], list[tuple[float, int]]] = {}
    for count in (_FEW, *counts):
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as name:
                write_copies(Path(name), count)
                for command in COMMANDS:
                    if command in commands or command in ("build", "test"):  # what the others read
                        usages.setdefault((command, count), []).append(run(command, Path(name)))
        for command in (command for command in commands if count != _FEW):
            base = median(cpu for cpu, _ in usages[command, _FEW])
            cpu = median(cpu for cpu, _ in usages[command, count]) - base
            yield Point(command, count, cpu, min(peak for _, peak in usages[command, count]))


def growth_table(points: Sequence[Point]) -> str:
    """Return the points as a Markdown table, each beside that of the smallest count."""
    lines = ["| command | videos | CPU seconds | for each video, against the first | peak, MB | against the first |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    first = {point.command: point for point in reversed(points)}
    for point in sorted(points, key=lambda point: (COMMANDS.index(point.command), point.count)):
        base = first[point.command]
        each = (point.cpu / point.count) / (base.cpu / base.count)
        cells = [point.command, f"{point.count:,}", f"{point.cpu:.1f}", f"{each:.2f}"]
        lines.append(f"| {' | '.join([*cells, f'{point.peak / 1e6:.0f}', f'{point.peak / base.peak:.2f}'])} |")
    return "\n".join(lines)


def routing_table(rounds: int) -> str:
    """Return the cost of routing for models of 1 to 700 million parameters, in few steps of two short sequences."""
    import torch
    from gpu_routing import Sizes, make_step, ratio, timed

    torch.set_num_threads(1)
    device = torch.device("cpu")
    lines = ["| parameters | step, seconds | routed / unrouted | `ParameterRoute` / unrouted |", "|--:|--:|--:|--:|"]
    for width, layers, vocabulary in ((128, 4, 2000), (384, 6, 4000), (768, 12, 10_000), (1536, 24, 16_000)):
        sizes = Sizes(width, layers, width // 64, vocabulary, batch=2, tokens=64)
        count = sum(parameter.numel() for parameter in sizes.model(torch.device("meta")).parameters())
        kinds = ("plain", "routed", "parameters")
        seconds: dict[str, list[float]] = {}
        for group in [kinds] if count < 3e8 else [(kind,) for kind in kinds]:  # three large models need 33 GB
            seconds |= timed({kind: make_step(kind, sizes, device, None) for kind in group}, rounds, device)
        ratios = [f"{ratio(seconds, kind, 'plain'):.3f}" for kind in ("routed", "parameters")]
        lines.append(f"| {count / 1e6:,.1f} M | {median(seconds['plain']):.2f} | {ratios[0]} | {ratios[1]} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    """Measure, print the tables, write JSON."""
    parser = argparse.ArgumentParser(description="Measure growth.")
    parser.add_argument("--counts", type=int, nargs="*", default=[1000, 10_000], help="numbers of videos; may be none")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS), help="commands (all)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds (default: %(default)s)")
    parser.add_argument("--routing", action="store_true", help="measure routing too, from 1 M to 700 M parameters")
    parser.add_argument("--json", type=Path, help="file for all measurements")
    options = parser.parse_args()
    started = time.strftime("%Y-%m-%d %H:%M")
    points = []
    if options.counts:
        for point in measure(options.counts, options.rounds, options.commands):
            print(point, flush=True)
            points.append(point)
        print(growth_table(points))
    if options.routing:
        print(routing_table(max(3, options.rounds)))
    if options.json:
        machine = {"cores": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version(), "at": started}
        machine["peak_of_children"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        document = {"machine": machine, "points": [asdict(point) for point in points]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
