"""The share of an embedding scorer's evaluation that its model takes, and the savings from shared videos.

    python benchmarks/embedding_share.py --json results.json

The scorer has the size of CLIP ViT-B/32 and random weights. Three evaluations of the same videos take turns, `--rounds`
times: in one problem set, in `--sets` problem sets, and in these again with cached embeddings. The fastest of each
counts. Seconds are those of the whole `Trainer.test`, which also reads the index and writes the run folder.
"""

import argparse
import json
import logging
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import lightning as L
import open_clip
import torch
from data import write_clips
from loop import Cost
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.scorers import OpenCLIPScorer
from lightning_vista.vista import LabelledVideo, ProblemSet, write_problem_sets
from lightning_vista.vista.shards import build_shards


@dataclass
class Evaluation:
    """One evaluation: wall-clock seconds, seconds inside the model, and the videos and texts that it encoded."""

    name: str
    seconds: float
    model_seconds: float
    videos: int
    texts: int


class TimedScorer(OpenCLIPScorer):
    """A scorer that records the time that its model takes, and the numbers of videos and texts."""

    seconds, videos, texts = 0.0, 0, 0

    def embed_videos(self, frames: Tensor) -> Tensor:
        """Embed videos as the base class does, and record the time."""
        self.videos += len(frames)
        return self._timed(lambda: super(TimedScorer, self).embed_videos(frames))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as the base class does, and record the time."""
        self.texts += len(texts)
        return self._timed(lambda: super(TimedScorer, self).embed_texts(texts))

    def _timed(self, work: Callable[[], Tensor]) -> Tensor:
        start = time.perf_counter()
        result = work().cpu()  # waits for a GPU
        self.seconds += time.perf_counter() - start
        return result.to(self.device)


def evaluate(name: str, scorer: TimedScorer, shards: Path, options: argparse.Namespace) -> Evaluation:
    """Evaluate once, in a new run folder."""
    scorer.seconds, scorer.videos, scorer.texts = 0.0, 0, 0
    data = ViSTaDataModule(str(shards), scorer.frame_spec, num_workers=options.workers)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about few workers, and about deprecations inside Lightning
        trainer = L.Trainer(
            accelerator=options.accelerator,
            devices=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=folder,
        )
        cost = Cost.of(lambda: trainer.test(scorer, data, verbose=False))
    return Evaluation(name, cost.seconds, scorer.seconds, scorer.videos, scorer.texts)


def build(dataset: Path, count: int, num_sets: int) -> Path:
    """Build shards of the dataset's clips, all of them in each of several problem sets with distinct descriptions."""
    videos = tuple(
        LabelledVideo(f"clips/{number}.mp4", ("ab", "ba")[number % 2 : number % 2 + 1]) for number in range(count)
    )
    folder = dataset / f"{num_sets}-sets"
    write_problem_sets((_problem_set(number, videos) for number in range(num_sets)), folder)
    build_shards(folder / "tasks", dataset / "videos", folder / "shards")
    return folder / "shards"


def _problem_set(number: int, videos: tuple[LabelledVideo, ...]) -> ProblemSet:
    first, second = f"we go to place {number}", f"we go to place {number + 1}"
    descriptions = {"ab": f"First, {first}, and then {second}", "ba": f"First, {second}, and then {first}"}
    return ProblemSet(f"bench/level_2/permutation/clips {number}", descriptions, videos)


def measure(work: Path, options: argparse.Namespace) -> list[Evaluation]:
    """Run the three evaluations in turns; returns the fastest of each."""
    torch.manual_seed(0)
    torch.save(open_clip.create_model(options.model).state_dict(), work / "weights.pt")
    scorer = TimedScorer(options.model, str(work / "weights.pt"), num_frames=options.frames)
    write_clips(work / "data", options.clips, options.clip_frames, options.clip_size, fps=30)
    one, many = (build(work / "data", options.clips, num_sets) for num_sets in (1, options.sets))
    rounds = []
    for number in range(options.rounds):
        scorer.cache_dir = None
        found = [evaluate("one problem set", scorer, one, options)]
        scorer.cache_dir = str(work / f"cache-{number}")
        found.append(evaluate(f"{options.sets} problem sets", scorer, many, options))
        found.append(evaluate(f"{options.sets} problem sets again, cached", scorer, many, options))
        rounds.append(found)
    return [min(same, key=lambda evaluation: evaluation.seconds) for same in zip(*rounds, strict=True)]


def main() -> None:
    """Measure, print a table, write JSON."""
    options = parse()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns about random weights
    with tempfile.TemporaryDirectory() as folder:
        evaluations = measure(Path(folder), options)
    one, many, again = evaluations
    ratios = {
        "share of the time inside the model, one problem set (>= 0.85)": one.model_seconds / one.seconds,
        f"share of the time inside the model, {options.sets} problem sets": many.model_seconds / many.seconds,
        f"videos encoded, {options.sets} problem sets / one (1)": many.videos / one.videos,
        f"seconds, {options.sets} problem sets / one": many.seconds / one.seconds,
        "videos encoded again with the cache (0)": float(again.videos),
        "seconds, again with the cache / without": again.seconds / many.seconds,
    }
    table = Table("evaluation", "seconds", "in the model", "videos", "texts")
    for item in evaluations:
        row = (f"{item.seconds:.2f}", f"{item.model_seconds:.2f}", str(item.videos), str(item.texts))
        table.add_row(item.name, *row)
    console = Console(width=120)
    console.print(table)
    for name, value in ratios.items():
        console.print(f"{name}: {value:.3f}", highlight=False)
    if options.json:
        machine = {"cores": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()}
        machine |= {"torch": torch.__version__}
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
        document = {"machine": machine, "settings": settings, "ratios": ratios}
        document["evaluations"] = [asdict(item) for item in evaluations]
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Parse the options; all of them have defaults."""
    parser = argparse.ArgumentParser(
        description="Measure the time that an embedding scorer's evaluation spends outside its model."
    )
    parser.add_argument("--json", type=Path, help="file for all measurements")
    parser.add_argument("--model", default="ViT-B-32", help="name of a model of open_clip (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the fastest counts")
    parser.add_argument("--accelerator", default="cpu", help="Lightning's accelerator (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="number of decoding processes (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=8, help="number of frames of each video")
    parser.add_argument("--sets", type=int, default=30, help="number of problem sets that share the videos")
    parser.add_argument("--clips", type=int, default=40, help="number of videos")
    parser.add_argument("--clip-frames", type=int, default=100, help="length of a video in frames")
    parser.add_argument("--clip-size", type=int, default=300, help="height and width of a video in pixels")
    return parser.parse_args()


if __name__ == "__main__":
    main()
