"""Encoders of videos, and encoders and decoders of single frames."""

import io
from fractions import Fraction

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lightning_vista.video.video_limits import USUAL_LIMITS, VideoError, VideoLimits


def encode_mp4(frames: NDArray[np.uint8], fps: int | Fraction = 8, crf: int = 20, preset: str = "veryfast") -> bytes:
    """Encode frames as H.264 in an mp4 container.

    The same frames give the same bytes on any machine.

    Args:
        frames: RGB frames `(frames, height, width, 3)`, uint8, with even height and width; at least one frame.
        fps: Frames per second.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        preset: Name of x264's speed preset.

    Returns:
        The bytes of the mp4 file.

    Raises:
        ValueError: If the shape or dtype is not as above.

    Example:
        >>> len(encode_mp4(np.zeros((3, 16, 16, 3), dtype=np.uint8))) > 0
        True
    """
    if frames.ndim != 4 or frames.shape[0] < 1 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            f"`frames`: expected uint8 (frames, height, width, 3), got {frames.dtype} {tuple(frames.shape)}."
        )
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(
            f"`frames`: expected an even height and width, which H.264 with 4:2:0 colour needs, got {height}x{width}. "
            "Pad by a pixel."
        )
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        # x264 splits its work by thread, so with several threads the bytes would depend on the machine. Its macroblock
        # trees read uninitialised memory when frames are small, so with them the bytes would differ between runs.
        options = {"crf": str(crf), "preset": preset, "threads": "1", "mbtree": "0"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def encode_jpeg(frame: Tensor, quality: int = 95) -> bytes:
    """Encode one frame as a JPEG image with full colour resolution.

    Args:
        frame: RGB frame `(3, height, width)`, uint8, on the CPU.
        quality: Pillow's JPEG quality, 1 to 95.

    Returns:
        The bytes of the JPEG file.

    Example:
        >>> decode_jpeg(encode_jpeg(torch.zeros(3, 8, 16, dtype=torch.uint8))).shape
        torch.Size([3, 8, 16])
    """
    return encode_jpegs(frame[None], quality)[0]


def encode_jpegs(frames: Tensor, quality: int = 95) -> list[bytes]:
    """Encode frames as JPEG images with full colour resolution.

    Args:
        frames: RGB frames `(frames, 3, height, width)`, uint8, on the CPU.
        quality: Pillow's JPEG quality, 1 to 95.

    Returns:
        The bytes of each JPEG file.

    Example:
        >>> len(encode_jpegs(torch.zeros(2, 3, 8, 16, dtype=torch.uint8)))
        2
    """
    files = []
    for frame in frames.permute(0, 2, 3, 1).contiguous().numpy():
        file = io.BytesIO()
        Image.fromarray(frame).save(file, format="JPEG", quality=quality, subsampling=0)
        files.append(file.getvalue())
    return files


def decode_jpeg(data: bytes, limits: VideoLimits = USUAL_LIMITS) -> Tensor:
    """Decode a JPEG image.

    Args:
        data: The bytes of a JPEG file.
        limits: The most that the frame may be.

    Returns:
        RGB frame `(3, height, width)`, uint8.

    Raises:
        OSError: If the bytes are not a JPEG image.
        VideoError: If the frame is beyond the limits.
    """
    # Only the JPEG reader: shards come from anywhere, and Pillow has readers of many formats to be attacked by.
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            limits.check_pixels(*image.size)
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except Image.DecompressionBombError as error:  # Pillow's own limit, which comes first
        raise VideoError(f"expected frames of at most {limits.max_pixels:,} pixels, got more: {error}") from error
