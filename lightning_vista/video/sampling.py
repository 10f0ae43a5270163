"""Frame sampling, and the form in which a scorer gets frames (ViSTa, section 4)."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lightning_vista.options import check_word

Sampling = Literal["uniform", "stride"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
#: Decimal digits of the seconds at which frames are shown. Shards of stored frames hold as many.
TIME_DIGITS = 6


@dataclass(frozen=True)
class FrameSpec:
    """The frames that a scorer needs; the datamodule's workers deliver exactly these.

    Attributes:
        num_frames: Number of frames of each video, at least 1.
        sampling: `uniform` or `stride`, see `sample_indices`.
        size: Height and width in pixels, or one number for a square; None keeps the video's own size.
        interpolation: `nearest`, `bilinear` or `bicubic`; the last two use antialiasing.
        crop: Whether to resize the shorter edge and cut out the centre, as CLIP's own processor does. Otherwise the
            whole frame is squeezed into `size`, as the ViSTa authors do.
        jpeg_quality: JPEG quality, 1 to 95, for scorers that send files: the workers encode each frame once and deliver
            the files in place of pixels. None delivers pixels.

    Raises:
        ValueError: If a value is outside the ranges above.

    Example:
        >>> FrameSpec(num_frames=8, size=224).height_width
        (224, 224)
    """

    num_frames: int = 8
    sampling: Sampling = "uniform"
    size: int | tuple[int, int] | None = 224
    interpolation: Interpolation = "bicubic"
    crop: bool = False
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(f"`num_frames`: expected at least 1, got {self.num_frames}.")
        check_word("sampling", self.sampling, get_args(Sampling))
        check_word("interpolation", self.interpolation, get_args(Interpolation))
        if self.height_width is not None and min(self.height_width) < 1:
            raise ValueError(f"`size`: expected a positive number of pixels or None, got {self.size}.")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 95:
            raise ValueError(f"`jpeg_quality`: expected 1 to 95, got {self.jpeg_quality}.")
        if self.crop and self.size is None:
            raise ValueError("`size`: expected the size of the crop, got None. Give a size, or set `crop` to False.")

    @property
    def height_width(self) -> tuple[int, int] | None:
        """Height and width in pixels; None for the video's own size."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


def sample_indices(
    total_frames: int, num_frames: int, sampling: Sampling = "uniform", times: Sequence[float] | None = None
) -> list[int]:
    """Return the indices of the frames to sample (ViSTa, section 4).

    `uniform` takes frames that are evenly spaced in time, including the first and the last, rounded to the nearest
    frame (halves up). A video shorter than `num_frames` repeats frames, and a single frame is the middle one. `stride`
    is the ViSTa authors' rule, which counts frames: frame i * step, held at the last frame, where step is (T-1)/(n-1)
    if whole and T//(n-1)+1 otherwise.

    Args:
        total_frames: Number of frames of the video, T >= 1.
        num_frames: Number of frames to take, n >= 1; for `stride` 2 <= n < T.
        sampling: `uniform` or `stride`.
        times: The moment at which each frame is shown, in seconds, ascending; None for a steady frame rate. They count
            to the microsecond (`TIME_DIGITS`).

    Returns:
        `num_frames` indices in ascending order, each within [0, total_frames).

    Raises:
        ValueError: If a number is outside its range or the sampling is unknown.

    Example:
        >>> sample_indices(10, 4, "uniform")
        [0, 3, 6, 9]
        >>> sample_indices(10, 5, "stride")
        [0, 3, 6, 9, 9]
        >>> sample_indices(5, 3, times=[0.0, 0.1, 0.2, 0.3, 2.0])  # 1.0 is nearest to 0.3
        [0, 3, 4]
    """
    check_word("sampling", sampling, get_args(Sampling))
    if total_frames < 1 or num_frames < 1:
        raise ValueError(
            f"`total_frames`, `num_frames`: expected at least 1 frame each, got {total_frames} and {num_frames}."
        )
    last, gaps = total_frames - 1, num_frames - 1
    if times is not None:
        # A moment may lie midway between two frames, and shards hold rounded times: both choose the same frame.
        times = [round(time, TIME_DIGITS) for time in times]
    if sampling == "uniform" and times is not None and not _is_steady(times):
        middle = [(times[0] + times[-1]) / 2]
        moments = [times[0] + (times[-1] - times[0]) * i / gaps for i in range(num_frames)] if gaps else middle
        return [_nearest(times, moment) for moment in moments]
    if sampling == "uniform":
        if gaps == 0:
            return [last // 2]
        return [(2 * i * last + gaps) // (2 * gaps) for i in range(num_frames)]
    if gaps == 0 or total_frames <= num_frames:
        raise ValueError(
            # This text becomes a reason in score tables (`on_error: unscored`), which stay the same over releases.
            f"sampling 'stride' needs at least 2 frames out of a longer video, got {num_frames} of {total_frames}: "
            "take fewer frames, or use sampling 'uniform', which repeats frames."
        )
    step = last // gaps if last % gaps == 0 else total_frames // gaps + 1
    return [min(i * step, last) for i in range(num_frames)]


def _is_steady(times: Sequence[float]) -> bool:
    """Return whether every frame lies within a quarter of a frame of its place at a steady rate.

    Containers round times (Matroska to milliseconds). Rounding alone must not change which frames are sampled.
    """
    interval = (times[-1] - times[0]) / max(len(times) - 1, 1)
    return all(abs(time - times[0] - number * interval) <= interval / 4 for number, time in enumerate(times))


def _nearest(times: Sequence[float], moment: float) -> int:
    """Return the index of the frame that is shown nearest to a moment; of two equally near, the later one."""
    after = min(bisect_left(times, moment), len(times) - 1)
    return after if after == 0 or times[after] - moment <= moment - times[after - 1] else after - 1
