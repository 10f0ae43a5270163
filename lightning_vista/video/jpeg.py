"""Frames as JPEG images, for shards that hold sampled frames instead of videos."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def encode_jpeg(frame: Tensor, quality: int = 95) -> bytes:
    """One frame, uint8 `(3, height, width)`, as a JPEG image with full colour resolution."""
    file = io.BytesIO()
    Image.fromarray(frame.permute(1, 2, 0).numpy()).save(file, format="JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def decode_jpeg(data: bytes) -> Tensor:
    """The frame of a JPEG image, uint8 `(3, height, width)`."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
