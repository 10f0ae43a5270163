"""Film strips: a few frames of one video of each problem set, as the scorer saw them, side by side in one picture."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_vista.files.documents import read_inside
from lightning_vista.files.own_files import EMPTY_SEAL, DamagedFileError, is_sealed, write_sealed
from lightning_vista.video.sampling import sample_indices
from lightning_vista.vista.index import ShardIndex, sample_key

if TYPE_CHECKING:
    from PIL.Image import Image

    from lightning_vista.vista.batch import VideoBatch

STRIPS = "strips"
#: At most this many frames, each at most this high and three times as wide.
STRIP_FRAMES, STRIP_HEIGHT = 6, 128


def strip_videos(index: ShardIndex) -> dict[str, str]:
    """Return the video whose strip stands for a problem set: its first one in the shards.

    Args:
        index: The shards, with what is selected of them.

    Returns:
        Problem set id -> video; the same for every scorer of the same shards.
    """
    found: dict[str, str] = {}
    for sample in index.samples:
        for membership in sample.memberships:
            found.setdefault(membership.problem_set, sample.video)
    return found


def write_strips(batch: "VideoBatch", wanted: set[str], run_folder: Path) -> None:
    """Write `strips/<key of the video>-<number of frames>.webp` for the wanted videos of a batch.

    Args:
        batch: Videos with their frames, or with their JPEG files.
        wanted: Paths of the videos that need a strip.
        run_folder: Folder of the run.
    """
    for place, video in enumerate(batch.videos):
        frames = _frames(batch, place) if video in wanted else []
        path = run_folder / STRIPS / f"{sample_key(video)}-{len(frames)}.webp"
        if frames and not path.exists():
            file = io.BytesIO()
            join_frames(frames).save(file, format="WEBP", quality=70)
            # Readers of pictures ignore what follows them, so the seal can stand behind.
            write_sealed(path, file.getvalue() + EMPTY_SEAL.encode(), sync=False)


def read_strip(path: Path) -> bytes:
    """Read and check a film strip.

    Args:
        path: File in the folder `strips/` of a run.

    Returns:
        Content of the picture, WebP.

    Raises:
        DamagedFileError: If the file is damaged; names it and the remedy.
    """
    remedy = "Remove it; the report then leaves the strip out."
    content = read_inside(path, path.parents[1])
    if not is_sealed(content, path, remedy):
        raise DamagedFileError(f"{path} is damaged: it has no checksum. {remedy}")
    return content[: -len(EMPTY_SEAL)]


def join_frames(frames: "list[Image]", height: int = STRIP_HEIGHT) -> "Image":
    """Put frames side by side, each scaled down to a height, without gaps, which would cost a fifth of the bytes.

    Args:
        frames: Frames of one video, at least one.
        height: Largest height, in pixels.

    Returns:
        The picture.

    Example:
        >>> from PIL import Image
        >>> join_frames([Image.new("RGB", (96, 96))] * 6, height=64).size
        (384, 64)
    """
    from PIL import Image

    scale = min(1.0, height / frames[0].height)
    width, high = max(1, round(frames[0].width * scale)), max(1, round(frames[0].height * scale))
    strip = Image.new("RGB", (len(frames) * width, high))
    for place, frame in enumerate(frames):
        strip.paste(frame.convert("RGB").resize((width, high), Image.Resampling.LANCZOS), (place * width, 0))
    return strip


def _frames(batch: "VideoBatch", place: int) -> "list[Image]":
    """Return at most `STRIP_FRAMES` frames of a video, evenly spaced, first and last included."""
    from PIL import Image

    files = None if batch.jpegs is None else batch.jpegs[place]
    total = len(files) if files is not None else batch.frames.shape[1]
    chosen = sample_indices(total, min(total, STRIP_FRAMES), "uniform")
    if files is not None:
        return [Image.open(io.BytesIO(files[number])) for number in chosen]
    clip = batch.frames[place].permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(clip[number]) for number in chosen]
