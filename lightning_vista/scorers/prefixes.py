"""Progress in a video: values of its prefixes, as in TOPReward, and their order in time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lightning_vista.evaluation.progress_file import Progress
from lightning_vista.video import FrameSpec, sample_indices
from lightning_vista.video.decoding import decode_frames
from lightning_vista.video.resizing import resize_frames
from lightning_vista.video.video_limits import named_video
from lightning_vista.vista.sequences import beginnings

if TYPE_CHECKING:
    from lightning_vista.scorers.base import VLMScorer

#: Lowest number of points of a curve, that of a correlation.
FEWEST_POINTS = 3


def score_prefixes(
    scorer: "VLMScorer", video: str | Path | bytes, description: str, points: int = 8, per_step: bool = False
) -> Progress:
    """Score ever longer prefixes of a video (TOPReward, section 3).

    The first prefix is one frame, the last the whole video. All of them are scored in one batch.

    Args:
        scorer: Scorer, on its own device.
        video: Path or content of a video file.
        description: Description of the task.
        points: Number of prefixes, at least 3 and at most the number of frames.
        per_step: Whether to score also the first step, the first two steps, and so on; see `beginnings`.

    Returns:
        The values.

    Raises:
        ValueError: If there are too few points or frames, or the scorer's sampling refuses short videos.
        VideoError: If the video cannot be decoded.
    """
    spec = scorer.frame_spec
    if spec.sampling != "uniform":
        raise ValueError(
            "`frame_spec`: expected uniform sampling to score prefixes, which are short at first, got "
            f"{spec.sampling!r}. Set the scorer's sampling to 'uniform'."
        )
    shown, ends, times = decode_prefixes(video, spec, points)
    asked = beginnings(description) if per_step else (description,)
    scores = scorer.score_clips(
        torch.stack(shown), asked, [[times[i] for i in _chosen(end, spec, times)] for end in ends]
    )
    values = [tuple(column) for column in zip(*(of_prefix.values.tolist() for of_prefix in scores), strict=True)]
    steps = tuple(zip(asked, values, strict=True)) if per_step else ()
    return Progress(description, tuple(ends), tuple(times[end - 1] for end in ends), values[-1], steps)


def decode_prefixes(
    video: str | Path | bytes, spec: FrameSpec, points: int
) -> tuple[list[Tensor], list[int], list[float]]:
    """Decode the frames of prefixes of a video, each frame once.

    Args:
        video: Path or content of a video file.
        spec: Frames to sample from each prefix.
        points: Number of prefixes.

    Returns:
        Frames of each prefix `(frames, 3, height, width)`, uint8; number of frames that each prefix spans; times of all
        frames of the video in seconds.

    Raises:
        ValueError: If there are fewer than 3 points, or fewer frames than points.
        VideoError: If the video cannot be decoded.
    """
    ends: list[int] = []

    def choose(times: Sequence[float]) -> list[int]:
        ends[:] = prefix_ends(len(times), points)  # decoding may start over
        return sorted({index for end in ends for index in _chosen(end, spec, times)})

    with named_video(video) as content:
        images, indices, times = decode_frames(content, choose)
    frames = resize_frames(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), spec)
    places = {index: place for place, index in enumerate(indices)}
    shown = [frames[[places[index] for index in _chosen(end, spec, times)]] for end in ends]
    return shown, list(ends), times


def prefix_ends(num_frames: int, points: int) -> list[int]:
    """Return the lengths of prefixes of a video, evenly spaced from one frame to all.

    Args:
        num_frames: Number of frames of the video.
        points: Number of prefixes.

    Returns:
        Ascending numbers of frames.

    Raises:
        ValueError: If there are fewer than 3 points, or fewer frames than points.

    Example:
        >>> prefix_ends(9, 3)
        [1, 5, 9]
    """
    if points < FEWEST_POINTS:
        raise ValueError(f"`points`: expected at least {FEWEST_POINTS}, got {points}. Fewer have no meaningful order.")
    if num_frames < points:
        raise ValueError(
            f"`video`: expected at least as many frames as points ({points}), got {num_frames}. Ask for fewer points."
        )
    return [round(end) for end in np.linspace(1, num_frames, points).tolist()]


def _chosen(end: int, spec: FrameSpec, times: Sequence[float]) -> list[int]:
    """Return the indices of the frames that stand for a prefix."""
    return sample_indices(end, spec.num_frames, spec.sampling, times[:end])
