"""Batches for scorers: videos, each with the candidate descriptions of its problem sets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lightning_vista.video.encoding import encode_jpegs
from lightning_vista.vista.index import Sample
from lightning_vista.vista.problem_sets import ProblemSet


@dataclass(frozen=True)
class Candidates:
    """The descriptions of one problem set, to be scored against a video.

    Attributes:
        problem_set: Id of the problem set.
        labels: Label ids, in the order of the problem set.
        descriptions: Descriptions, one per label.
        hint: Words about the videos for a chat scorer, if any.
        example: A worked example for a chat scorer, if any.
    """

    problem_set: str
    labels: tuple[str, ...]
    descriptions: tuple[str, ...]
    hint: str | None = None
    example: str | None = None

    @classmethod
    def of(cls, problem_set: ProblemSet) -> "Candidates":
        """Return the candidates of a problem set."""
        descriptions = tuple(problem_set.descriptions.values())
        return cls(problem_set.id, problem_set.labels, descriptions, problem_set.hint, problem_set.example)


@dataclass(frozen=True)
class Question:
    """The candidates of a video in all its problem sets, and the true ones among them.

    Attributes:
        video: Path of the video.
        candidates: Candidates of each problem set that the video is in.
        targets: Truth of each candidate, for each problem set; None where a scorer must not know it.
    """

    video: str
    candidates: tuple[Candidates, ...]
    targets: tuple[tuple[bool, ...], ...] | None


@dataclass(frozen=True)
class Unreadable:
    """A video that could not be decoded during an evaluation, with the reason."""

    sample: Sample
    reason: str


class VideoBatch:
    """Videos with the candidate descriptions of all their problem sets.

    Not a dataclass: Lightning takes those apart to change the type of floating-point tensors, and there are none.

    Args:
        frames: RGB frames `(batch, frames, 3, height, width)`, uint8.
        frame_indices: Positions of the frames in each video.
        questions: Path, candidates and targets of each video.
        unreadable: Videos of this batch that could not be decoded, with the reason; they have no frames.
        times: Times at which the frames of each video are shown, in seconds after its first frame; NaN if unknown.
        jpegs: Frames of each video as JPEG files, where `FrameSpec.jpeg_quality` asks for them; `frames` are then
            empty, `(batch, 0, 3, 0, 0)`.
    """

    def __init__(
        self,
        frames: Tensor,
        frame_indices: Sequence[Sequence[int]],
        questions: Sequence[Question],
        unreadable: Sequence[tuple[Question, str]] = (),
        times: Sequence[Sequence[float]] | None = None,
        jpegs: Sequence[Sequence[bytes]] | None = None,
    ) -> None:
        self.frames = frames
        self.jpegs = None if jpegs is None else tuple(map(tuple, jpegs))
        self.frame_indices = tuple(map(tuple, frame_indices))
        self.questions = tuple(questions)
        self.unreadable = tuple(unreadable)
        unknown = ((math.nan,) * len(indices) for indices in self.frame_indices)
        self.times = tuple(map(tuple, unknown if times is None else times))

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def videos(self) -> tuple[str, ...]:
        """Paths of the videos."""
        return tuple(question.video for question in self.questions)

    @property
    def candidates(self) -> tuple[tuple[Candidates, ...], ...]:
        """Candidates of each video, problem set by problem set."""
        return tuple(question.candidates for question in self.questions)

    def to(self, *args: Any, **kwargs: Any) -> "VideoBatch":  # whatever Tensor.to takes
        """Return the batch with its frames moved, as `torch.Tensor.to` does; Lightning calls this."""
        return self._with_frames(self.frames.to(*args, **kwargs))

    def pin_memory(self) -> "VideoBatch":
        """Return the batch with its frames in pinned memory; torch's DataLoader calls this."""
        return self._with_frames(self.frames.pin_memory())

    def without_targets(self) -> "VideoBatch":
        """Return the batch without its targets, as a scorer may see it."""
        questions = [replace(question, targets=None) for question in self.questions]
        unreadable = [(replace(question, targets=None), reason) for question, reason in self.unreadable]
        return VideoBatch(self.frames, self.frame_indices, questions, unreadable, self.times, self.jpegs)

    def at(self, places: Sequence[Sequence[int]]) -> "VideoBatch":
        """Return the batch with other frames: for each video those at some places, with their indices and times.

        Args:
            places: For each video, positions among its frames in this batch, in the order to show; all of one length.
        """
        frames, jpegs = self.frames, self.jpegs
        if jpegs is not None:
            jpegs = tuple(tuple(row[place] for place in chosen) for row, chosen in zip(jpegs, places, strict=True))
        elif places:  # else no video could be decoded
            starts = torch.arange(len(places)).unsqueeze(1) * frames.shape[1]
            rows = (starts + torch.tensor(places)).flatten().to(frames.device)
            # One copy of the frames: a stack of the clips' own frames would be a second one.
            frames = frames.flatten(0, 1).index_select(0, rows).reshape(len(places), -1, *frames.shape[2:])
        indices = [[row[place] for place in chosen] for row, chosen in zip(self.frame_indices, places, strict=True)]
        times = [[row[place] for place in chosen] for row, chosen in zip(self.times, places, strict=True)]
        return VideoBatch(frames, indices, self.questions, self.unreadable, times, jpegs)

    def _with_frames(self, frames: Tensor) -> "VideoBatch":
        return VideoBatch(frames, self.frame_indices, self.questions, self.unreadable, self.times, self.jpegs)


@dataclass(frozen=True)
class DecodedVideo:
    """A sample with its frames `(frames, 3, height, width)`, uint8, and their positions and times in the video."""

    sample: Sample
    frames: Tensor
    frame_indices: tuple[int, ...]
    times: tuple[float, ...]


def collate_videos(
    items: Sequence[DecodedVideo | Unreadable], candidates: Mapping[str, Candidates], jpeg_quality: int | None = None
) -> VideoBatch:
    """Join decoded videos into a batch.

    Args:
        items: Decoded videos, and those that could not be decoded.
        candidates: Candidates of every problem set, by id.
        jpeg_quality: JPEG quality of the frames to deliver as files; None delivers pixels.

    Returns:
        The batch, in the order of the items.

    Raises:
        ValueError: If the videos differ in size, unless frames are files.
    """
    decoded = [item for item in items if isinstance(item, DecodedVideo)]
    jpegs = None if jpeg_quality is None else [encode_jpegs(item.frames, jpeg_quality) for item in decoded]
    if jpegs is not None:
        decoded = [replace(item, frames=torch.empty(0, 3, 0, 0, dtype=torch.uint8)) for item in decoded]
    sizes = {tuple(item.frames.shape[2:]): item.sample.video for item in decoded}
    if len(sizes) > 1:
        named = "; ".join(f"{height}x{width}: {video}" for (height, width), video in sizes.items())
        raise ValueError(f"Videos of one batch differ in size ({named}). Set FrameSpec.size, or batch_size=1.")
    unreadable = [item for item in items if isinstance(item, Unreadable)]
    return VideoBatch(
        frames=torch.stack([item.frames for item in decoded]) if decoded else torch.empty(0, 0, 3, 0, 0).byte(),
        frame_indices=tuple(item.frame_indices for item in decoded),
        questions=tuple(_question(item.sample, candidates) for item in decoded),
        unreadable=tuple((_question(item.sample, candidates), item.reason) for item in unreadable),
        times=tuple(item.times for item in decoded),
        jpegs=jpegs,
    )


def clips_batch(
    frames: Tensor, descriptions: Sequence[str], times: Sequence[Sequence[float]] | None = None
) -> VideoBatch:
    """Build a batch that asks about the same descriptions of several clips, outside the benchmark.

    Args:
        frames: RGB frames `(batch, frames, 3, height, width)`, uint8.
        descriptions: Candidate descriptions, at least one and all different.
        times: See `VideoBatch`.

    Returns:
        The batch, with one problem set named "clip".

    Raises:
        ValueError: If `descriptions` is empty or has one twice, or the frames have another shape or type.

    Example:
        >>> batch = clips_batch(torch.zeros(2, 8, 3, 16, 16, dtype=torch.uint8), ["We see a ball", "We see a cup"])
        >>> batch.videos, batch.candidates[0][0].labels
        (('clip 0', 'clip 1'), ('0', '1'))
    """
    if isinstance(descriptions, str) or not descriptions or len(set(descriptions)) < len(descriptions):
        raise ValueError(f"`descriptions`: expected a list of different descriptions, got {descriptions!r}.")
    if frames.ndim != 5 or frames.shape[2] != 3 or frames.dtype != torch.uint8:
        # Floats from 0 to 1 would pass for black.
        raise ValueError(
            "`frames`: expected (batch, frames, 3, height, width) of uint8, 0 to 255, got "
            f"{tuple(frames.shape)} of {frames.dtype}."
        )
    candidates = Candidates("clip", tuple(map(str, range(len(descriptions)))), tuple(descriptions))
    questions = tuple(Question(f"clip {number}", (candidates,), None) for number in range(len(frames)))
    return VideoBatch(frames, [range(frames.shape[1])] * len(frames), questions, times=times)


def _question(sample: Sample, candidates: Mapping[str, Candidates]) -> Question:
    """Return the candidates and targets of a video."""
    asked = tuple(candidates[membership.problem_set] for membership in sample.memberships)
    targets = tuple(
        tuple(label in membership.labels for label in choices.labels)
        for membership, choices in zip(sample.memberships, asked, strict=True)
    )
    return Question(sample.video, asked, targets)
