"""Encoding videos and images."""

import io

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def encode_mp4(frames: NDArray[np.uint8], fps: int = 8, crf: int = 20, preset: str = "veryfast") -> bytes:
    """Encode frames as H.264 in an mp4 container.

    One thread only: x264 splits its work by thread, so the bytes would otherwise depend on the machine. And without its
    macroblock trees, which read memory that nobody wrote when frames are small.

    Args:
        frames: RGB frames `(frames, height, width, 3)`, uint8, height and width even, at least one frame.
        fps: Frames per second.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        preset: x264's speed preset.

    Returns:
        The bytes of the mp4 file.

    Raises:
        ValueError: If the shape or dtype is not as above.

    Example:
        >>> len(encode_mp4(np.zeros((3, 16, 16, 3), dtype=np.uint8))) > 0
        True
    """
    if frames.ndim != 4 or frames.shape[0] < 1 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"Expected uint8 frames (frames, height, width, 3), got {frames.dtype} {frames.shape}.")
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(f"H.264 with 4:2:0 colour needs even frame sizes, got {height}x{width}: pad by a pixel.")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"crf": str(crf), "preset": preset, "threads": "1", "mbtree": "0"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def encode_jpeg(frame: Tensor, quality: int = 95) -> bytes:
    """One frame, uint8 `(3, height, width)`, as a JPEG image with full colour resolution."""
    file = io.BytesIO()
    Image.fromarray(frame.permute(1, 2, 0).numpy()).save(file, format="JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def decode_jpeg(data: bytes) -> Tensor:
    """The frame of a JPEG image, uint8 `(3, height, width)`."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
