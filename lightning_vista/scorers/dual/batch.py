"""What a dual encoder is trained on: the videos and descriptions of several problem sets."""

from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class PairBatch:
    """Videos and descriptions of several problem sets.

    Attributes:
        frames: uint8 RGB `(videos, frames, 3, height, width)`, or features of frames `(videos, frames, features)`.
        video_groups: The problem set of each video `(videos,)`.
        answers: The place in `texts` of each video's true description `(videos,)`.
        steps: Which clause of that each frame shows `(videos, frames)`; -1 for none.
        texts: The descriptions of all problem sets.
        text_groups: The problem set of each description `(texts,)`.
        levels: The number of clauses of each description `(texts,)`.
    """

    frames: Tensor
    video_groups: Tensor
    answers: Tensor
    steps: Tensor
    texts: tuple[str, ...]
    text_groups: Tensor
    levels: Tensor

    def to(self, *args: Any, **kwargs: Any) -> "PairBatch":  # whatever Tensor.to takes
        """The batch with its tensors moved, as `torch.Tensor.to`; Lightning calls this."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(*args, **kwargs) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)
