"""Resizes frames as a scorer wants them."""

from torch import Tensor
from torch.nn.functional import interpolate

from lightning_vista.video.sampling import FrameSpec


def resize_frames(frames: Tensor, spec: FrameSpec) -> Tensor:
    """Bring frames to `spec.size`, squeezed or centre-cropped as `spec.crop` says.

    Args:
        frames: uint8 `(frames, 3, height, width)`.
        spec: The size, interpolation and crop.

    Returns:
        uint8 `(frames, 3, *spec.height_width)`; the frames themselves where `spec.size` is None or theirs already.

    Example:
        >>> import torch
        >>> resize_frames(torch.zeros(2, 3, 30, 40, dtype=torch.uint8), FrameSpec(size=16, crop=True)).shape
        torch.Size([2, 3, 16, 16])
    """
    if spec.height_width is None:
        return frames
    height, width = spec.height_width
    if not spec.crop:
        return _resize(frames, height, width, spec.interpolation)
    scale = max(height / frames.shape[2], width / frames.shape[3])
    # The longer edge is cut to whole pixels, as torchvision's and the processors' resize does.
    inner = (max(height, int(frames.shape[2] * scale)), max(width, int(frames.shape[3] * scale)))
    frames = _resize(frames, *inner, spec.interpolation)
    top, left = round((inner[0] - height) / 2), round((inner[1] - width) / 2)
    return frames[:, :, top : top + height, left : left + width]


def _resize(frames: Tensor, height: int, width: int, interpolation: str) -> Tensor:
    if tuple(frames.shape[2:]) == (height, width):
        return frames
    return interpolate(frames, size=(height, width), mode=interpolation, antialias=interpolation != "nearest")
