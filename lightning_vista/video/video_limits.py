"""Limits on videos, which may come from anywhere: a file of some kilobytes can hold pictures of many gigabytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

#: Containers that are read. None of them makes FFmpeg open another file, as playlists do.
FORMATS = (
    "mov",
    "matroska",
    "avi",
    "flv",
    "mpegts",
    "mpeg",
    "asf",
    "ivf",
    "mxf",
    "ogg",
    "nut",
    "m4v",
    "mpegvideo",
    "h264",
    "hevc",
    "obu",
    "gif",
)


class VideoError(ValueError):
    """A video that cannot be decoded; the message says why."""


@dataclass(frozen=True)
class VideoLimits:
    """The most that a video may be; a larger one is refused before it takes memory.

    Attributes:
        max_pixels: Largest width times height of a frame. The usual limit is above 8K (33 million).
        max_frames: Largest number of frames. The usual limit is about 9 hours at 30 frames a second.
        max_video_mb: Largest file in megabytes (10^6 bytes). A video is read into memory as a whole.

    Raises:
        ValueError: If a limit is not positive.

    Example:
        >>> VideoLimits(max_video_mb=1).check_bytes(2_000_000)
        Traceback (most recent call last):
        lightning_vista.video.video_limits.VideoError: expected at most 1 MB, got 2 MB (see `max_video_mb`)
    """

    max_pixels: int = 40_000_000
    max_frames: int = 1_000_000
    max_video_mb: float = 2000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"`{field.name}`: expected a positive number, got {value}.")

    def check_bytes(self, size: int) -> None:
        """Refuse a file that is too large.

        Args:
            size: Size of the file in bytes.

        Raises:
            VideoError: If it is larger than `max_video_mb`.
        """
        if size > self.max_video_mb * 1e6:
            raise VideoError(f"expected at most {self.max_video_mb:g} MB, got {size / 1e6:g} MB (see `max_video_mb`)")

    def check_pixels(self, width: int, height: int) -> None:
        """Refuse a frame that is too large.

        Args:
            width: Width in pixels.
            height: Height in pixels.

        Raises:
            VideoError: If it has more than `max_pixels`, or its size is not known.
        """
        if width * height > self.max_pixels:
            got = f"{width}x{height} pixels"
        elif not width or not height:
            got = "frames of unknown size, or larger ones"  # FFmpeg forgets the size of frames that it refuses
        else:
            return
        raise VideoError(f"expected frames of at most {self.max_pixels:,} pixels, got {got} (see `max_pixels`)")

    def check_count(self, count: int) -> None:
        """Refuse a video of too many frames.

        Args:
            count: Number of frames so far.

        Raises:
            VideoError: If it is above `max_frames`.
        """
        if count > self.max_frames:
            raise VideoError(f"expected at most {self.max_frames:,} frames, got more (see `max_frames`)")


#: The limits where none are given.
USUAL_LIMITS = VideoLimits()


@contextmanager
def named_video(video: str | Path | bytes, limits: VideoLimits = USUAL_LIMITS) -> Iterator[bytes]:
    """Give the content of a video, and name its file in errors about it.

    Args:
        video: Path of the file, or its content.
        limits: The most that the video may be.

    Yields:
        The content.

    Raises:
        VideoError: If the file is too large, or in place of one that is raised inside; names the file.
    """
    if isinstance(video, bytes):
        yield video
        return
    try:
        limits.check_bytes(Path(video).stat().st_size)
        yield Path(video).read_bytes()
    except VideoError as error:
        raise VideoError(f"{video}: {error}") from error
