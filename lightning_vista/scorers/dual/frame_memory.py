"""Memory of the features of frames, so that equal frames are encoded once."""

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

#: Number of frames to remember; the oldest are dropped first.
_REMEMBERED = 4096


class FrameMemory:
    """Features of the latest frames by the hash of their pixels.

    Videos repeat frames where nothing moves, their prefixes share them, and episodes of one home show few different
    ones. A convolution gives a frame the same features in any batch.

    Example:
        >>> memory = FrameMemory()
        >>> frames = torch.zeros(5, 3, 4, 4, dtype=torch.uint8)
        >>> memory.encode(frames, lambda new: new.float().mean(dim=(1, 2, 3))[:, None]).shape, len(memory)
        (torch.Size([5, 1]), 1)
    """

    def __init__(self) -> None:
        self._features: dict[bytes, Tensor] = {}

    def __len__(self) -> int:
        return len(self._features)

    def clear(self) -> None:
        """Forget all frames, such as when weights have changed."""
        self._features.clear()

    def encode(self, frames: Tensor, encoder: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the features of frames, and encode only those that are new.

        Args:
            frames: RGB frames `(frames, 3, height, width)`, uint8, on the CPU.
            encoder: Function from new frames to their features `(new frames, features)`.

        Returns:
            Features `(frames, features)`.
        """
        pixels = frames.permute(0, 2, 3, 1)  # decoders and renderers store colours last, so this seldom copies
        keys = [hashlib.sha256(frame).digest() for frame in pixels.flatten(1).numpy()]
        places = {key: place for place, key in enumerate(keys) if key not in self._features}
        if places:
            self._features.update(zip(places, encoder(frames[list(places.values())]), strict=True))
        features = torch.stack([self._features[key] for key in keys])
        while len(self._features) > _REMEMBERED:
            del self._features[next(iter(self._features))]
        return features
