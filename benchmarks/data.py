"""Generated data for the benchmarks."""

import os
import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch.nn.functional import interpolate

from lightning_vista.video import encode_mp4
from lightning_vista.vista import LabelledVideo, ProblemSet, read_problem_sets, write_problem_sets
from lightning_vista.vista.tables import SCORE_COLUMNS, write_scores

LABELS = {"ab": "First, we go to a, and then we go to b", "ba": "First, we go to b, and then we go to a"}


def moving_clip(seed: int, frames: int, size: int) -> np.ndarray:
    """Return a clip `(frames, size, size, 3)`, uint8: a soft texture that pans under five moving squares."""
    rng = np.random.default_rng(seed)
    noise = torch.from_numpy(rng.uniform(0, 200, (1, 3, 24, 24)))
    ground = interpolate(noise, size=(2 * size, 2 * size), mode="bicubic")[0].permute(1, 2, 0)
    texture = (ground + torch.from_numpy(rng.normal(0, 4, ground.shape))).clamp(0, 255).byte().numpy()
    video = np.empty((frames, size, size, 3), dtype=np.uint8)
    starts, speeds = rng.integers(0, size, (5, 2)), rng.integers(-4, 5, (5, 2))
    colours, edge = rng.integers(0, 256, (5, 3), dtype=np.uint8), max(size // 8, 2)
    for number, frame in enumerate(video):
        pan = number % size
        frame[:] = texture[pan : pan + size, pan // 2 : pan // 2 + size]
        for start, speed, colour in zip(starts, speeds, colours, strict=True):
            top, left = (start + number * speed) % (size - edge + 1)
            frame[top : top + edge, left : left + edge] = colour
    return video


def write_clips(folder: Path, count: int, frames: int, size: int, fps: int) -> list[Path]:
    """Write a dataset of `count` clips in the official layout; returns the paths of its videos."""
    problem_set = _permutation_set(count)
    write_problem_sets([problem_set], folder)
    paths = [folder / "videos" / problem_set.video_key(video) for video in problem_set.videos]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(mp_context=get_context("fork")) as pool:
        list(pool.map(partial(_write_clip, frames=frames, size=size, fps=fps), range(count), paths))
    return paths


def write_copies(folder: Path, count: int) -> None:
    """Write a dataset of `count` videos that are all the same tiny file."""
    problem_set = _permutation_set(count)
    write_problem_sets([problem_set], folder)
    first, *others = (folder / "videos" / problem_set.video_key(video) for video in problem_set.videos)
    first.parent.mkdir(parents=True, exist_ok=True)
    _write_clip(0, first, frames=4, size=16, fps=8)
    for path in others:
        os.link(first, path)


def write_score_tables(folder: Path, count: int, tasks: Path | None, num_models: int = 5) -> tuple[list[Path], str]:
    """Write score tables of random scores.

    Args:
        folder: Folder for the tables.
        count: Number of problem sets.
        tasks: Folder of the official problem sets; None for synthetic ones of like sizes (9 or 10 videos, 4 labels).
        num_models: Number of tables.

    Returns:
        Paths of the tables, and their content in words.
    """
    problem_sets = list(read_problem_sets(tasks))[:count] if tasks else [_synthetic_set(i) for i in range(count)]
    pairs = [(problem_set, video) for problem_set in problem_sets for video in problem_set.videos]
    paths = []
    for model in range(num_models):
        rng = random.Random(model)
        rows = [
            (f"scorer-{model}", item.id, item.video_key(video), label, rng.random(), label in video.labels, None)
            for item, video in pairs
            for label in item.labels
        ]
        paths.append(folder / f"{model}" / "scores.parquet")
        write_scores(pl.DataFrame(rows, schema=SCORE_COLUMNS, orient="row"), paths[-1])
    videos = len({problem_set.video_key(video) for problem_set, video in pairs})
    source = "official" if tasks else "synthetic"
    return paths, (
        f"{num_models} models, {len(problem_sets)} {source} problem sets, {videos:,} videos in {len(pairs):,} places, "
        f"{len(rows):,} rows per model"
    )


def _write_clip(seed: int, path: Path, frames: int, size: int, fps: int) -> None:
    torch.set_num_threads(1)
    path.write_bytes(encode_mp4(moving_clip(seed, frames, size), fps=fps))


def _permutation_set(count: int) -> ProblemSet:
    labels = list(LABELS)
    videos = tuple(LabelledVideo(f"clips/{i}.mp4", (labels[i % 2],)) for i in range(count))
    return ProblemSet("bench/level_2/permutation/clips", LABELS, videos)


def _synthetic_set(number: int) -> ProblemSet:
    kind = ("objects", "sliced_v_whole", "clean", "remix", "permutation")[number % 5]
    level = "foundation" if number % 5 < 3 else f"level_{2 + number % 7}"
    labels = {f"label {i}": f"We see thing {i}" for i in range(4)}
    videos = (LabelledVideo(f"{number}/{i}.mp4", (f"label {i % 4}",)) for i in range(9 + number % 6 // 5))
    return ProblemSet(f"bench/{level}/{kind}/set {number}", labels, tuple(videos))
