"""Features of the frames of the last videos, so that the same frames in another order are not encoded again."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class FrameMemo:
    """The features of all frames of the last call, found by the hashes of their pixels.

    A control of frame order (`evaluation.controls`) shows frames that the scorer has just seen. An encoder of separate
    frames, which costs far more than what follows it, runs only where a frame is new. Then it runs on all frames of
    the call, as it would without the memo, so that the memo does not change scores.

    It is used only inside `using()`, since elsewhere, as in validation during training, weights may have changed.

    Example:
        >>> memo, frames = FrameMemo(), torch.tensor([1, 2], dtype=torch.uint8).reshape(2, 1, 1, 1)
        >>> with torch.no_grad(), memo.using():
        ...     first = memo.encode(frames, lambda new: new.flatten(1).float())
        ...     again = memo.encode(frames.flip(0), lambda new: new.flatten(1) / 0)
        >>> first.tolist(), again.tolist()
        ([[1.0], [2.0]], [[2.0], [1.0]])
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Tensor] = {}
        self._in_use = False

    @contextmanager
    def using(self) -> Iterator[None]:
        """Use the memo, which the caller clears where weights or arithmetic have changed."""
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False

    def clear(self) -> None:
        """Forget all features, which belong to weights or arithmetic that have changed."""
        self._known.clear()

    def encode(self, frames: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """Encode frames, unless the memo is in use and all of them were in the last call that had to encode.

        Args:
            frames: RGB frames `(frames, 3, height, width)`, uint8, all of one size for one memo.
            encode: Function from frames to their features `(frames, ...)`.

        Returns:
            Features `(frames, ...)`, on the device that `encode` chose.
        """
        if not self._in_use or torch.is_grad_enabled():  # with gradients, features would hold on to their graph
            return encode(frames)
        keys = [hashlib.sha256(frame.numpy().data).digest() for frame in frames.cpu().contiguous()]
        if any(key not in self._known for key in keys):
            features = encode(frames)
            self._known = dict(zip(keys, features, strict=True))
            return features
        return torch.stack([self._known[key] for key in keys])
