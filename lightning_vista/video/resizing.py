"""Frame resizing."""

from torch import Tensor
from torch.nn.functional import interpolate

from lightning_vista.video.sampling import FrameSpec


def resize_frames(frames: Tensor, spec: FrameSpec) -> Tensor:
    """Resize frames to `spec.size`, squeezing or centre-cropping them as `spec.crop` says.

    Args:
        frames: RGB frames `(frames, 3, height, width)`, uint8.
        spec: Size, interpolation and crop of the result.

    Returns:
        Frames `(frames, 3, *spec.height_width)`, uint8; the input itself where `spec.size` is None or already met.

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
    # As in transformers' image processors: the longer edge is rounded down to whole pixels, and an odd remainder of
    # the crop is left at the bottom and the right.
    if height * frames.shape[3] >= width * frames.shape[2]:
        inner = (height, frames.shape[3] * height // frames.shape[2])
    else:
        inner = (frames.shape[2] * width // frames.shape[3], width)
    frames = _resize(frames, *inner, spec.interpolation)
    top, left = (inner[0] - height) // 2, (inner[1] - width) // 2
    return frames[:, :, top : top + height, left : left + width]


def _resize(frames: Tensor, height: int, width: int, interpolation: str) -> Tensor:
    if tuple(frames.shape[2:]) == (height, width):
        return frames
    return interpolate(frames, size=(height, width), mode=interpolation, antialias=interpolation != "nearest")
