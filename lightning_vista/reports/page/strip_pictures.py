"""Film strips for the page: small pictures in base 64, from run folders and from example videos."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lightning_vista.evaluation.film_strips import STRIP_FRAMES, STRIPS, join_frames, read_strip
from lightning_vista.video import FrameSpec, decode_video
from lightning_vista.vista.index import sample_key

#: Height and WebP quality of the strips in lists, of which there may be hundreds, and of single ones.
_SMALL, _SMALL_QUALITY = 64, 4
_LARGE, _LARGE_QUALITY = 96, 50
#: Budget of the page for the small strips, in characters of base 64.
STRIP_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class Picture:
    """A picture for the page.

    Attributes:
        source: Data URI.
        width: Its width in pixels.
        height: Its height in pixels.
        video: Video that it shows.
        frames: Number of frames side by side.
    """

    source: str
    width: int
    height: int
    video: str
    frames: int


class Strips:
    """The strips of run folders.

    Args:
        runs: Run folders, the preferred ones first; those of earlier versions have no strips.

    Attributes:
        left_out: Number of strips that did not fit into the page.
    """

    def __init__(self, runs: Iterable[Path]) -> None:
        self._files: dict[str, Path] = {}
        for run in runs:
            for path in sorted((run / STRIPS).glob("*.webp")):
                self._files.setdefault(path.stem.split("-")[0], path)
        self._spent = 0
        self.left_out = 0

    def __bool__(self) -> bool:
        return bool(self._files)

    def video_of(self, videos: Sequence[str]) -> str | None:
        """Return the first of some videos that has a strip."""
        return next((video for video in videos if sample_key(video) in self._files), None)

    def small(self, video: str) -> Picture | None:
        """Return the small strip of a video that has one; None once the page has no room for it."""
        picture = _encode(*self._open(video), video, _SMALL, _SMALL_QUALITY)
        if self._spent + len(picture.source) > STRIP_CHARACTERS:
            self.left_out += 1
            return None
        self._spent += len(picture.source)
        return picture

    def large(self, video: str) -> Picture:
        """Return the strip of a video that has one, as large as the run folder holds it, up to 96 pixels."""
        return _encode(*self._open(video), video, _LARGE, _LARGE_QUALITY)

    def _open(self, video: str) -> tuple[Image.Image, int]:
        """Return the picture of a strip and its number of frames, which its name holds."""
        path = self._files[sample_key(video)]
        with Image.open(io.BytesIO(read_strip(path))) as picture:
            return picture.convert("RGB"), int(path.stem.split("-")[1])


def example_strip(content: bytes, video: str, is_large: bool) -> Picture:
    """Return the strip of an example video.

    Args:
        content: Its mp4 file.
        video: Its path in the dataset.
        is_large: Whether the strip stands alone, or in a list.
    """
    clip = decode_video(content, FrameSpec(num_frames=STRIP_FRAMES, size=None)).frames
    frames = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in clip]
    height, quality = (_LARGE, _LARGE_QUALITY) if is_large else (_SMALL, _SMALL_QUALITY)
    return _encode(join_frames(frames, height), len(frames), video, height, quality)


def _encode(picture: Image.Image, frames: int, video: str, height: int, quality: int) -> Picture:
    """Return a picture scaled down to a height, as WebP; frame by frame, so that edges stay sharp."""
    width = picture.width // frames
    if picture.height > height:
        parts = [picture.crop((place * width, 0, (place + 1) * width, picture.height)) for place in range(frames)]
        picture = join_frames(parts, height)
    file = io.BytesIO()
    picture.save(file, format="WEBP", quality=quality, method=6)
    text = base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(f"data:image/webp;base64,{text}", *picture.size, video, frames)
