"""The times of sampled frames, in the form that models which read videos take."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FrameClock:
    """A frame rate and positions that together give the true time of each sampled frame: `index / fps`.

    Attributes:
        fps: Frames per second of the clock that counts the positions.
        indices: Positions of the frames on that clock, from 0.

    Example:
        >>> FrameClock.of([0, 4, 8], [0.0, 0.5, 1.0])
        FrameClock(fps=8.0, indices=(0, 4, 8))
    """

    fps: float
    indices: tuple[int, ...]

    @classmethod
    def of(cls, indices: Sequence[int], times: Sequence[float]) -> "FrameClock | None":
        """Return the clock of sampled frames.

        The video's own rate and positions are kept if they give every time to within a quarter of a frame. Otherwise,
        as with variable frame rates and repeated frames, the clock counts milliseconds.

        Args:
            indices: Positions of the frames in the video.
            times: Times of the frames in seconds after the video's first frame; NaN if unknown.

        Returns:
            The clock; None if a time is unknown, since a guessed one would mislead the model.

        Example:
            >>> FrameClock.of([0, 1, 2], [0.0, 0.1, 2.0])
            FrameClock(fps=1000.0, indices=(0, 100, 2000))
        """
        if not times or not all(map(math.isfinite, times)):
            return None
        index, time = max(zip(indices, times, strict=True))
        if index > 0 and time > 0:
            fps = index / time
            if all(abs(index - time * fps) <= 0.25 for index, time in zip(indices, times, strict=True)):
                return cls(fps, tuple(indices))
        return cls(1000.0, tuple(round(1000 * time) for time in times))

    @property
    def times(self) -> tuple[float, ...]:
        """Times of the frames in seconds."""
        return tuple(index / self.fps for index in self.indices)

    @property
    def mean_rate(self) -> float:
        """Sampled frames per second; 1 if all frames have the same time."""
        length = max(self.times) - min(self.times)
        return (len(self.indices) - 1) / length if length > 0 else 1.0

    def metadata(self) -> dict[str, Any]:
        """Return the `video_metadata` of transformers' video processors, new at every call because they change it."""
        total = max(self.indices) + 1
        indices = list(self.indices)
        return {"total_num_frames": total, "fps": self.fps, "duration": total / self.fps, "frames_indices": indices}
