"""Controls of frame order: the same videos, with their frames in another order or only some of them."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from lightning_vista.options import check_word

if TYPE_CHECKING:  # the callbacks import this file, and people who only train need not have PyAV
    from lightning_vista.vista.batch import VideoBatch

Control = Literal["reversed", "shuffled", "static", "first_last"]
CONTROLS: tuple[Control, ...] = get_args(Control)
#: The order of the frames in the video, which is not a control.
FORWARD = "forward"


def control_positions(control: Control, num_frames: int, video: str = "") -> list[int]:
    """Return the positions of the frames that a control shows, among the frames that a scorer is given.

    `reversed` shows the frames backwards. `shuffled` shows them in an order that is drawn uniformly from all orders,
    the original one included. `static` repeats the middle frame. `first_last` shows the first frame for the first
    half of the time, and the last one from then on.

    Args:
        control: `reversed`, `shuffled`, `static` or `first_last`.
        num_frames: Number of frames, at least 1.
        video: Path of the video, which seeds `shuffled`: the same order on any machine and for any batch.

    Returns:
        `num_frames` positions, each within [0, num_frames).

    Raises:
        ValueError: If the control is unknown, or `num_frames` is below 1.

    Example:
        >>> control_positions("reversed", 4), control_positions("static", 4), control_positions("first_last", 5)
        ([3, 2, 1, 0], [1, 1, 1, 1], [0, 0, 0, 4, 4])
        >>> control_positions("shuffled", 4, "home/0.mp4"), control_positions("shuffled", 4, "home/1.mp4")
        ([3, 1, 0, 2], [3, 2, 1, 0])
    """
    check_word("control", control, CONTROLS)
    if num_frames < 1:
        raise ValueError(f"`num_frames`: expected at least 1, got {num_frames}.")
    places = list(range(num_frames))
    if control == "reversed":
        return places[::-1]
    if control == "shuffled":
        # Sorted by hashes, since random generators may change between releases of Python and torch.
        return sorted(places, key=lambda place: hashlib.sha256(f"{place}\n{video}".encode()).digest())
    if control == "static":
        return [(num_frames - 1) // 2] * num_frames
    first = (num_frames + 1) // 2
    return [0] * first + [num_frames - 1] * (num_frames - first)


def reorder_frames(batch: "VideoBatch", control: Control) -> "VideoBatch":
    """Return a batch whose frames are ordered by a control.

    Indices and times follow the frames: they say where each shown frame lies in the true video. So under a control
    they need not ascend, and may repeat. A scorer that sorts frames by their times would undo the control.

    Args:
        batch: Videos with their frames in true order; it stays unchanged.
        control: See `control_positions`.

    Returns:
        A new batch with the same questions and unreadable videos.

    Raises:
        ValueError: If the control is unknown.

    Example:
        >>> import torch
        >>> from lightning_vista.vista.batch import clips_batch
        >>> frames = torch.tensor([10, 20, 30], dtype=torch.uint8).reshape(1, 3, 1, 1, 1).expand(1, 3, 3, 2, 2)
        >>> batch = reorder_frames(clips_batch(frames, ["We see a ball"]), "reversed")
        >>> batch.frames[0, :, 0, 0, 0].tolist(), batch.frame_indices
        ([30, 20, 10], ((2, 1, 0),))
    """
    check_word("control", control, CONTROLS)
    numbers = map(len, batch.frame_indices)
    return batch.at([control_positions(control, *of_video) for of_video in zip(numbers, batch.videos, strict=True)])


def check_controls(controls: Sequence[str]) -> None:
    """Refuse unknown and repeated controls.

    Args:
        controls: Names of controls.

    Raises:
        ValueError: If a name is unknown or repeated.

    Example:
        >>> check_controls(["reversed", "static", "reversed"])
        Traceback (most recent call last):
        ValueError: `controls`: expected each control once, got reversed, static, reversed. Remove the repetition.
    """
    for control in controls:
        check_word("controls", control, CONTROLS)
    if len(set(controls)) < len(controls):
        raise ValueError(f"`controls`: expected each control once, got {', '.join(controls)}. Remove the repetition.")
