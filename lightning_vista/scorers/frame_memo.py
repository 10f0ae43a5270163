"""Features of frames just seen, so that equal frames are encoded once, within a batch and under controls of order."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class FrameMemo:
    """The features of all frames of the last call, found by the hashes of their pixels.

    Short videos repeat frames, and a control of frame order (`evaluation.controls`) shows frames that the scorer has
    just seen. An encoder of separate frames, which costs far more than what follows it, sees each different frame once,
    and none that was in the last call. So it sees other numbers of frames at once than without the memo, which may
    change features by rounding, as another batch size may.

    It is used only inside `using()`, since elsewhere, as in validation during training, weights may have changed.

    Example:
        >>> memo, frames = FrameMemo(), torch.tensor([1, 2, 1], dtype=torch.uint8).reshape(3, 1, 1, 1)
        >>> with torch.no_grad(), memo.using():
        ...     first = memo.encode(frames, lambda new: new.flatten(1) * len(new))
        ...     again = memo.encode(frames[1:], lambda new: new.flatten(1) / 0)
        >>> first.tolist(), again.tolist()
        ([[2], [4], [2]], [[4], [2]])
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
        """Encode frames; while the memo is in use, each different frame once, unless it was in the last call.

        A call without new frames leaves the memo as it is, so that all controls of a batch find its frames.

        Args:
            frames: RGB frames `(frames, 3, height, width)`, uint8, all of one size for one memo.
            encode: Function from some of the frames, each by itself, to their features `(frames, ...)`.

        Returns:
            Features `(frames, ...)`, on the device that `encode` chose.
        """
        if not self._in_use or torch.is_grad_enabled():  # with gradients, features would hold on to their graph
            return encode(frames)
        # Decoders write the channels of a pixel side by side, so that this order needs no copy.
        pixels = frames.permute(0, 2, 3, 1).cpu().contiguous()
        keys = [hashlib.sha256(frame.numpy().data).digest() for frame in pixels]
        rows = {key: row for row, key in enumerate(keys) if key not in self._known}
        if not rows:
            return torch.stack([self._known[key] for key in keys])
        new = frames[list(rows.values())] if len(rows) < len(keys) else frames
        known = self._known | dict(zip(rows, encode(new), strict=True))
        features = torch.stack([known[key] for key in keys])
        self._known = dict(zip(keys, features, strict=True))  # views of this call's features only
        return features
