"""Videos and problem sets of a few kilobytes, for every test."""

import numpy as np
from numpy.typing import NDArray

from lightning_vista.vista import LabelledVideo, ProblemSet


def moving_square(seed: int, frames: int = 12, height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    """A square that moves over a coloured ground, `(frames, height, width, 3)`; every frame is different."""
    rng = np.random.default_rng(seed)
    video = np.empty((frames, height, width, 3), dtype=np.uint8)
    video[:] = rng.integers(0, 120, size=3, dtype=np.uint8)
    for number, frame in enumerate(video):
        left = (number * (width - 8)) // max(frames - 1, 1)
        frame[4:12, left : left + 8] = rng.integers(180, 255, size=3, dtype=np.uint8)
    return video


def tiny_problem_sets() -> list[ProblemSet]:
    """Two environments, three kinds, a video in two sets, a multi-label set, a path with spaces and dots."""
    shared = LabelledVideo("clips/shared v1.0.mp4", ("ball",))
    return [
        ProblemSet(
            "toy/foundation/objects/shapes",
            {"ball": "We see a ball", "cup": "We see a cup", "key": "We see a key"},
            (shared, *(LabelledVideo(f"clips/{i}.mp4", (("ball", "cup", "key")[i % 3],)) for i in range(8))),
            hint="Describe each frame.",
        ),
        ProblemSet(
            "toy/level_2/permutation/order",
            {"ab": "First, we go to a, and then we go to b", "ba": "First, we go to b, and then we go to a"},
            (LabelledVideo(shared.path, ("ab",)), LabelledVideo("clips/9.mp4", ("ba",))),
        ),
        ProblemSet(
            "other/foundation/multilabel",
            {"dig": "We dig", "jump": "We jump", "eat": "We eat"},
            (
                LabelledVideo("x/0.mp4", ("dig", "jump")),
                LabelledVideo("x/1.mp4", ("eat",)),
                LabelledVideo("x/2.mp4", ("dig", "eat")),
            ),
            extra={"metadata": {"concepts": ["dig"]}},
        ),
    ]
