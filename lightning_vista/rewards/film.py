"""Film of an episode that a scorer sees, and the schedule of judging it."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Schedule:
    """Schedule of judging an episode: at its end, and optionally at a fixed interval before.

    Attributes:
        every: Interval in steps; None for the end of the episode only.
        window: Number of the last frames to judge; None for all since the reset.

    Raises:
        ValueError: If a number is below 1.
    """

    every: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        for name in ("every", "window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}`: expected at least 1, got {value}. Omit it for the whole episode.")


class Film:
    """Frames of an environment since its last reset.

    Args:
        schedule: Schedule of judging the film.

    Example:
        >>> film = Film(Schedule(every=2, window=3))
        >>> film.begin(np.zeros((4, 4, 3), np.uint8))
        >>> [film.add(np.full((4, 4, 3), step, np.uint8), ended=step == 5) for step in range(1, 6)]
        [False, True, False, True, True]
        >>> [int(frame[0, 0, 0]) for frame in film.frames]
        [3, 4, 5]
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.frames: deque[Image] = deque(maxlen=schedule.window)
        self.steps = 0

    def begin(self, frame: Image) -> None:
        """Begin the film of an episode with its first frame."""
        self.frames.clear()
        self.frames.append(_kept(frame))
        self.steps = 0

    def add(self, frame: Image, ended: bool) -> bool:
        """Add the frame after a step, and return whether to judge the film now."""
        self.frames.append(_kept(frame))
        self.steps += 1
        return ended or (self.schedule.every is not None and self.steps % self.schedule.every == 0)


def _kept(frame: Image) -> Image:
    """Return a frame that stays as it is: some environments draw all frames into one array."""
    return frame.copy() if frame.flags.writeable else frame
