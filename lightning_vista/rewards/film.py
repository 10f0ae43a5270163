"""The frames of the episode that goes on, and when they are to be judged."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Schedule:
    """When an episode is judged: at its end, and every so many steps before.

    Attributes:
        every: How many steps; None for its end only.
        window: How many of the last frames; None for all since its beginning.

    Raises:
        ValueError: If a number is below 1.
    """

    every: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        for name in ("every", "window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}; leave it out for the whole episode.")


class Film:
    """What an environment has shown since its last reset.

    Args:
        schedule: When it is to be judged.

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
        """Forget the last episode; the first frame of the next one is here."""
        self.frames.clear()
        self.frames.append(_kept(frame))
        self.steps = 0

    def add(self, frame: Image, ended: bool) -> bool:
        """Add the frame after a step; returns whether the film is to be judged now."""
        self.frames.append(_kept(frame))
        self.steps += 1
        return ended or (self.schedule.every is not None and self.steps % self.schedule.every == 0)


def _kept(frame: Image) -> Image:
    """The frame as it is now: some environments draw all frames into one array. What is read-only stays so."""
    return frame.copy() if frame.flags.writeable else frame
