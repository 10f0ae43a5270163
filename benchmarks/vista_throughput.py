"""Speed and memory of the evaluation, each figure beside a baseline of the same run.

    python benchmarks/vista_throughput.py --json results.json
    python benchmarks/vista_throughput.py --official vista-official.tar.xz --only report

Each pair takes turns, `--rounds` times, and the fastest of each counts. Other work on the machine slows a baseline with
fewer processes more, which flatters the ratio of times. So the ratio of CPU seconds is reported beside it.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import torch
from bare import wanted_frames_in_parallel, whole_video
from data import write_clips, write_copies, write_score_tables
from loop import Cost, evaluate
from rich.console import Console
from rich.table import Table

from lightning_vista.mini import build_mini
from lightning_vista.reports import write_report
from lightning_vista.video import FrameSpec
from lightning_vista.vista.index import ShardIndex
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.streams import EvaluationStream


@dataclass
class Measurement:
    """One line of the table.

    Attributes:
        name: Name of the measurement.
        value: Figure with a target: a ratio of times, a ratio of memory, or seconds.
        target: Target in words.
        met: Whether the value meets the target.
        details: Parts of the figure: seconds, CPU seconds, bytes.
    """

    name: str
    value: float
    target: str
    met: bool
    details: dict[str, Any]


def loop_against_bare(
    name: str, dataset: Path, spec: FrameSpec, batch_size: int, options: argparse.Namespace
) -> Measurement:
    """Compare `Trainer.test` with a pool of processes that decode the same frames and keep them."""
    shards = build(dataset)
    paths = sorted((dataset / "videos").rglob("*.mp4"))
    wholes = []

    def ours() -> Cost:
        with tempfile.TemporaryDirectory() as folder:
            loop, whole = evaluate(shards, spec, options.workers, Path(folder), batch_size)
        wholes.append(whole.seconds)
        return loop

    def bare() -> Cost:
        return Cost.of(lambda: wanted_frames_in_parallel(paths, spec, options.workers))

    details = compare(ours, bare, options.rounds) | {"whole_seconds": min(wholes), "batch_size": batch_size}
    details["videos_per_second"] = len(paths) / details["seconds"]
    name = f"{name}: test loop / bare PyAV, {len(paths)} videos, {spec.num_frames} frames"
    return at_least(name, details["ratio"], 0.8, details)


def reading_against_whole_videos(dataset: Path, spec: FrameSpec, options: argparse.Namespace) -> Iterator[Measurement]:
    """Compare our reading, of whole videos and of stored frames, with decoding all frames; one process, one thread."""
    paths = sorted((dataset / "videos").rglob("*.mp4"))

    def baseline() -> Cost:
        return Cost.of(lambda: [whole_video(path, spec) for path in paths])

    for name, frames, target in (("sampled on the fly", None, 1.3), ("stored frames", spec, 10.0)):
        storage = Storage(build(dataset, frames))
        stream = EvaluationStream(storage, ShardIndex.read(storage), spec)
        details = compare(partial(Cost.of, partial(deque, stream, maxlen=0)), baseline, options.rounds)
        yield at_least(f"clips: {name} / whole videos, {spec.num_frames} frames", details["ratio"], target, details)


def memory(work: Path, counts: tuple[int, int], num_workers: int) -> Measurement:
    """Measure the peak memory of the main process and its workers, for few samples and for many."""
    peaks = []
    for count in counts:
        folder = work / f"copies-{count}"
        write_copies(folder, count)
        script = Path(__file__).with_name("peak_memory.py")
        command = [sys.executable, str(script), str(build(folder)), str(num_workers)]
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
        peaks.append(json.loads(output.splitlines()[-1]))
    few, many = (peak["main"] + sum(peak["workers"]) for peak in peaks)
    details = {f"{count}_samples": peak for count, peak in zip(counts, peaks, strict=True)}
    name = f"peak memory, {counts[1]:,} samples / {counts[0]:,}"
    return Measurement(name, many / few, "<= 1.1", many / few <= 1.1, details)


def report(work: Path, num_sets: int, official: Path | None) -> Measurement:
    """Time the report of five score tables."""
    tasks = None
    if official is not None:
        with tarfile.open(official) as archive:
            archive.extractall(work, filter="data")
        tasks = next(work.glob("*/tasks"))
    tables, content = write_score_tables(work / "tables", num_sets, tasks)
    with contextlib.redirect_stdout(io.StringIO()):
        seconds = Cost.of(lambda: write_report(tables, work / "report")).seconds
    size = (work / "report" / "report.html").stat().st_size
    details = {"content": content, "page_bytes": size}
    return Measurement("report, seconds", seconds, "<= 10", seconds <= 10, details)


def compare(ours: Callable[[], Cost], baseline: Callable[[], Cost], rounds: int) -> dict[str, Any]:
    """Time both in turns; returns the best of each, and the ratios of baseline to ours."""
    costs: tuple[list[Cost], list[Cost]] = ([], [])
    for _ in range(rounds):
        for work, found in zip((ours, baseline), costs, strict=True):
            found.append(work())
    (seconds, cpu), (baseline_seconds, baseline_cpu) = (tuple(map(min, zip(*found, strict=True))) for found in costs)
    return {
        "ratio": baseline_seconds / seconds,
        "cpu_ratio": baseline_cpu / cpu,
        "seconds": seconds,
        "baseline_seconds": baseline_seconds,
        "all": {"ours": costs[0], "baseline": costs[1]},
        "load": os.getloadavg()[0],
    }


def at_least(name: str, value: float, target: float, details: dict[str, Any]) -> Measurement:
    """Return a measurement with a minimum as its target."""
    return Measurement(name, value, f">= {target}", value >= target, details)


def build(dataset: Path, frames: FrameSpec | None = None) -> Path:
    """Build the shards of a dataset, beside it."""
    out = dataset / ("shards" if frames is None else f"shards-{frames.num_frames}-frames")
    build_shards(dataset / "tasks", dataset / "videos", out, frames=frames)
    return out


def measure(work: Path, options: argparse.Namespace) -> Iterator[Measurement]:
    """Yield the selected measurements."""
    if "mini" in options.only:
        build_mini(work / "mini", scale=options.mini_scale, splits=("test",))
        for num_frames in options.frames:
            spec = FrameSpec(num_frames, size=96)
            # As in `lightning-vista demo`: large batches of small frames.
            yield loop_against_bare("mini dataset", work / "mini" / "test", spec, 32, options)
    if {"clips", "reading"} & set(options.only):
        write_clips(work / "clips", options.clips, options.clip_frames, options.clip_size, fps=30)
    if "clips" in options.only:
        for num_frames in options.frames:
            # There are few videos, so batches are small and every worker gets equally many.
            yield loop_against_bare("clips", work / "clips", FrameSpec(num_frames), 4, options)
    if "reading" in options.only:
        yield from reading_against_whole_videos(work / "clips", FrameSpec(8), options)
    if "memory" in options.only:
        yield memory(work, tuple(options.samples), options.workers)
    if "report" in options.only:
        yield report(work, options.sets, options.official)


def main() -> None:
    """Measure, print a table, write JSON."""
    options = parse()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        measurements = list(measure(Path(folder), options))
    table = Table(title=f"ViSTa throughput, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for column in ("measured", "value", "target", "met", "CPU ratio", "seconds", "baseline"):
        table.add_column(column)
    for item in measurements:
        extra = (item.details.get(key) for key in ("cpu_ratio", "seconds", "baseline_seconds"))
        cells = ["" if value is None else f"{value:.2f}" for value in extra]
        table.add_row(item.name, f"{item.value:.2f}", item.target, "yes" if item.met else "NO", *cells)
    Console(width=140).print(table)
    if options.json:
        machine = {"cores": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()}
        machine |= {"torch": torch.__version__, "av": av.__version__}
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
        document = {"machine": machine, "settings": settings, "measurements": [asdict(item) for item in measurements]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Parse the options; all of them have defaults."""
    parser = argparse.ArgumentParser(description="Measure the evaluation loop, its memory, and the report.")
    parts = ["mini", "clips", "reading", "memory", "report"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="parts to measure")
    parser.add_argument("--json", type=Path, help="file for all measurements")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; the fastest counts")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="number of processes (default: one per core)"
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 16], help="numbers of frames of each video")
    parser.add_argument("--mini-scale", type=float, default=1.0, help="share of the embedded dataset")
    parser.add_argument("--clips", type=int, default=40, help="number of long clips")
    parser.add_argument("--clip-frames", type=int, default=300, help="length of a clip in frames")
    parser.add_argument("--clip-size", type=int, default=300, help="height and width of a clip in pixels")
    parser.add_argument(
        "--samples", type=int, nargs=2, default=[1_000, 10_000], help="samples for the two memory peaks"
    )
    parser.add_argument("--sets", type=int, default=492, help="number of problem sets in the report")
    parser.add_argument("--official", type=Path, help="archive of the official problem sets, for the report")
    return parser.parse_args()


if __name__ == "__main__":
    main()
