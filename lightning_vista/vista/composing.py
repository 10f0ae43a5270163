"""Problem sets of sequences, composed of a user's own clips of single steps."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate, pad

from lightning_vista.files.own_files import EMPTY_SEAL, read_cached, write_cached, write_csv
from lightning_vista.options import check_counts
from lightning_vista.processes.progress import progress_bar
from lightning_vista.video import encode_mp4
from lightning_vista.video.decoding import decode_frames
from lightning_vista.vista.layout import refuse_problem_sets, write_problem_sets
from lightning_vista.vista.leaks import Leak, find_leaks, leak_rows
from lightning_vista.vista.problem_sets import KIND_OF_TYPE, LabelledVideo, ProblemSet
from lightning_vista.vista.sequence_plans import PlannedSet, PlannedVideo, SequenceKind, held_out_pairs, plan_sets
from lightning_vista.vista.sequences import describe_sequence
from lightning_vista.vista.source_rows import name_fault
from lightning_vista.vista.step_clips import StepClip, by_step, divide_clips, read_step_clips

#: Split whose every third problem set is a held-out one.
_TEST = "test"
_FOLDERS = {"general": "remix"}
#: Header of the mp4 box, which players skip, that holds what `write_cached` puts behind the content.
_FREE_BOX = (8 + 1 + len(EMPTY_SEAL)).to_bytes(4, "big") + b"free"


def compose_problem_sets(
    table: str | Path,
    out: str | Path,
    *,
    levels: Sequence[int] = tuple(range(1, 9)),
    kinds: Sequence[SequenceKind] = ("general", "permutation"),
    splits: Sequence[str] = (_TEST,),
    num_sets: int = 6,
    candidates: int = 6,
    size: int = 224,
    fps: int = 8,
    environment: str = "composed",
    videos: str | Path | None = None,
    seed: int = 0,
) -> dict[str, list[Leak]]:
    """Compose problem sets of sequences by cutting and joining clips that each show one step.

    Every video of a set is equally long: shorter ones hold the last frame of random steps. All are encoded alike. The
    same table and options give the same bytes. Videos that an interrupted call has written are kept, unless their
    checksum says that they have changed.

    Args:
        table: CSV or JSONL with the columns `clip` and `step`, and optionally `start`, `end` (seconds) and `split`.
        out: Folder to write: `<split>/tasks`, `<split>/videos`, `<split>/metadata.csv` and `<split>/leaks.csv`.
        levels: Numbers of steps; 1 stands for one set of all steps with all clips.
        kinds: Kinds above level 1: `general` (other steps) and `permutation` (one swap of neighbouring steps).
        splits: Names of the splits. Clips are divided among them. With others beside `test`, some pairs of steps occur
            only in every third problem set of `test`, which is marked `metadata: {held_out: true}`.
        num_sets: Number of problem sets of each level and kind in each split.
        candidates: Number of descriptions of a general set, at most.
        size: Height and width of the videos in pixels, even. Frames keep their shape, with black margins.
        fps: Frames per second.
        environment: First part of the problem sets' ids.
        videos: Folder of the clips; that of the table by default.
        seed: Random seed.

    Returns:
        The leaks of the problem sets of each split.

    Raises:
        FileExistsError: If `out` already holds problem sets.
        SourceError: If rows of the table are broken, or a step has too few clips for the splits; lists all faults.
        ValueError: If an option is out of range, or there are too few steps for a level.
        VideoError: If a clip cannot be decoded.
    """
    check_counts(num_sets=num_sets, fps=fps)
    for option, value in (("size", size), ("candidates", candidates)):
        if value < 2:
            raise ValueError(f"`{option}`: expected at least 2, got {value}.")
    for option, name in [("environment", environment), *(("splits", split) for split in splits)]:
        if fault := name_fault(name):
            raise ValueError(f"`{option}`: {fault}")
    for split in splits:
        refuse_problem_sets(Path(out) / split)
    clips = read_step_clips(Path(table), None if videos is None else Path(videos))
    steps = sorted({clip.step for clip in clips})
    pairs = held_out_pairs(steps, max(levels), seed) if len(splits) > 1 else set()
    plans = {
        split: plan_sets(
            by_step(members),
            levels,
            kinds,
            num_sets=num_sets,
            candidates=candidates,
            held_out=pairs,
            test=split == _TEST,
            seed=f"{split} {seed}",
        )
        for split, members in divide_clips(clips, splits, seed).items()
    }
    writer = _Writer(environment, size - size % 2, fps)
    return {split: writer.write(split_plans, Path(out) / split) for split, split_plans in plans.items()}


def clip_frames(clip: StepClip, size: int, fps: int) -> NDArray[np.uint8]:
    """Decode a clip at a rate and size of its own.

    Args:
        clip: The clip.
        size: Height and width in pixels; the frame is centred on black.
        fps: Frames per second.

    Returns:
        RGB frames `(frames, size, size, 3)`, uint8; at least one.

    Raises:
        VideoError: If the file is not a video.
        ValueError: If the clip begins after the end of the file.
    """

    def choose(times: Sequence[float]) -> list[int]:
        frame = (times[-1] - times[0]) / max(len(times) - 1, 1)
        end = min(times[-1] + frame, clip.end if clip.end is not None else float("inf"))
        if clip.start >= end:
            raise ValueError(
                f"{clip.file}, {clip.place}: `start`: expected less than {end:g} seconds, got {clip.start:g}."
            )
        moments = clip.start + np.arange(max(round((end - clip.start) * fps), 1)) / fps
        # The frame that is shown at each moment: the last one that has begun.
        shown = np.searchsorted(times, moments + 1e-6, side="right") - 1
        return [min(max(int(index), 0), len(times) - 1) for index in shown]

    images = decode_frames(clip.file.read_bytes(), choose).images
    frames = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    scale = size / max(frames.shape[2:])
    height, width = (max(1, round(edge * scale)) for edge in frames.shape[2:])
    frames = interpolate(frames, size=(height, width), mode="bilinear", antialias=True)
    top, left = (size - height) // 2, (size - width) // 2
    frames = pad(frames, (left, size - width - left, top, size - height - top))
    return frames.permute(0, 2, 3, 1).contiguous().numpy()


class _Writer:
    """Writes the videos and problem sets of splits."""

    def __init__(self, environment: str, size: int, fps: int) -> None:
        self.environment, self.size, self.fps = environment, size, fps
        self.frames = lru_cache(maxsize=256)(lambda clip: clip_frames(clip, size, fps))  # about 10 MB each

    def write(self, plans: Sequence[PlannedSet], folder: Path) -> list[Leak]:
        problem_sets, leaks = [], []
        with progress_bar("Composing videos", sum(len(plan.videos) for plan in plans)) as advance:
            for plan in plans:
                level = "foundation" if plan.level == 1 else f"level_{plan.level}"
                id = f"{self.environment}/{level}/{_FOLDERS.get(plan.kind, plan.kind)}/{plan.name}"
                names = []
                for video, holds in zip(plan.videos, self._holds(plan), strict=True):
                    names.append(self._video(video, holds, folder / "videos" / self.environment))
                    advance(1)
                problem_sets.append(_problem_set(id, plan, names))
                leaks.append(find_leaks(id, plan))
        write_csv(folder / "leaks.csv", leak_rows(leaks))
        write_problem_sets(problem_sets, folder)  # last: their presence marks a finished split
        return leaks

    def _holds(self, plan: PlannedSet) -> Iterator[list[int]]:
        """Yield, for each video, how many more frames each step is held, so that all videos are equally long."""
        lengths = [sum(len(self.frames(clip)) for clip in video.clips) for video in plan.videos]
        for number, (video, length) in enumerate(zip(plan.videos, lengths, strict=True)):
            generator = random.Random(f"{plan.level} {plan.name} {number}")
            holds = [0] * len(video.clips)
            for _ in range(max(lengths) - length):
                holds[generator.randrange(len(holds))] += 1
            yield holds

    def _video(self, video: PlannedVideo, holds: Sequence[int], folder: Path) -> str:
        """Write a video unless it is there intact, and return its name, which says nothing about its steps."""
        key = [self.size, self.fps, *holds, *((clip.file.name, clip.start, clip.end) for clip in video.clips)]
        digest = hashlib.sha256(repr(key).encode())
        for clip in video.clips:
            digest.update(clip.file.read_bytes())
        path = folder / f"{digest.hexdigest()[:16]}.mp4"
        if read_cached(path) is None:
            parts = [self.frames(clip) for clip in video.clips]
            held = [np.concatenate([part, part[-1:].repeat(hold, 0)]) for part, hold in zip(parts, holds, strict=True)]
            write_cached(path, encode_mp4(np.concatenate(held), Fraction(self.fps)) + _FREE_BOX)
        return path.name


def _problem_set(id: str, plan: PlannedSet, names: Sequence[str]) -> ProblemSet:
    """Build the problem set of a plan whose videos have these names."""
    texts = [describe_sequence(task) for task in plan.tasks]
    # Labels say nothing, since chat scorers see them.
    label_of = {task: f"option_{number}" for number, task in enumerate(plan.tasks, start=1)}
    metadata: dict[str, object] = {"held_out": True} if plan.held_out else {}
    if KIND_OF_TYPE.get(id.split("/")[-2]) != plan.kind:
        metadata["kind"] = plan.kind
    videos = tuple(
        LabelledVideo(name, (label_of[video.steps],)) for name, video in zip(names, plan.videos, strict=True)
    )
    extra = {"metadata": metadata} if metadata else {}
    return ProblemSet(id, dict(zip(label_of.values(), texts, strict=True)), videos, extra=extra)
