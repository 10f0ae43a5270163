"""Features of equal frames, against an encoder that counts what it sees."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import get_args

import pytest
import torch
from torch import Tensor

from lightning_vista.scorers import DualEncoderScorer, EmbeddingScorer
from lightning_vista.scorers.dual.heads import Head
from lightning_vista.scorers.frame_memo import FrameMemo


class Counting:
    """Encodes a frame by its mean, and keeps the first pixel of every frame that it was asked about."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, frames: Tensor) -> Tensor:
        self.calls.append(frames[:, 0, 0, 0].tolist())
        return frames.float().mean(dim=(1, 2, 3))[:, None]


def frames_of(*values: int) -> Tensor:
    """Return plain frames `(frames, 3, 4, 4)`."""
    return torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)


def encoded(memo: FrameMemo, encode: Counting, *values: int) -> None:
    """Encode plain frames and check their features."""
    assert memo.encode(frames_of(*values), encode)[:, 0].tolist() == list(values)


def test_each_different_frame_is_encoded_once() -> None:
    memo, encode = FrameMemo(), Counting()
    with torch.no_grad(), memo.using():
        encoded(memo, encode, 7, 7, 3, 7, 9, 3)
        assert [sorted(call) for call in encode.calls] == [[3, 7, 9]]
        for control in ([3, 9, 7, 3, 7, 7], [7] * 6, [7, 7, 7, 3, 3, 3], [9]):  # the memo outlives them all
            encoded(memo, encode, *control)
        assert len(encode.calls) == 1
        encoded(memo, encode, 5, 3, 5, 5)  # another batch, with one frame of the last
        assert encode.calls[1:] == [[5]]
        encoded(memo, encode, 9, 3, 5)  # 9 was two batches ago
        assert encode.calls[2:] == [[9]]


def test_frames_that_differ_in_one_pixel_are_different() -> None:
    memo, encode = FrameMemo(), Counting()
    frames = frames_of(1, 1, 1).clone()
    frames[1, 2, 3, 3] = 2
    with torch.no_grad(), memo.using():
        features = memo.encode(frames, encode)
    assert len(encode.calls[0]) == 2
    assert features[0] == features[2] != features[1]


@pytest.mark.parametrize("spoil", [FrameMemo.clear, lambda memo: None], ids=["cleared", "not in use"])
def test_nothing_is_remembered_elsewhere(spoil: Callable[[FrameMemo], None]) -> None:
    memo, encode = FrameMemo(), Counting()
    with torch.no_grad():
        with memo.using():
            encoded(memo, encode, 1, 2)
        spoil(memo)
        encoded(memo, encode, 1, 1)
    assert len(encode.calls) == 2
    with memo.using(), torch.enable_grad():  # features with a graph are not kept
        encoded(memo, encode, 4, 4)
    assert encode.calls[-1] == [4, 4]


class Twice(EmbeddingScorer):
    """Encodes separate frames and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.counting = Counting()

    def embed_videos(self, frames: Tensor) -> Tensor:
        return self.encode_frames(frames.flatten(0, 1), self.counting).reshape(*frames.shape[:2]).double()

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.eye(8, dtype=torch.float64)[: len(texts)]


def test_a_scorer_encodes_repeated_frames_of_its_batch_once() -> None:
    scorer = Twice()
    frames = torch.stack([frames_of(*[1] * 4, *[2] * 4), frames_of(*[2] * 6, 3, 3)])
    scores = scorer.score_clips(frames, [str(number) for number in range(8)])
    assert [sorted(call) for call in scorer.counting.calls] == [[1, 2, 3]]
    assert [each.values.tolist() for each in scores] == [[1] * 4 + [2] * 4, [2] * 6 + [3] * 2]


@pytest.mark.parametrize("head", get_args(Head))
def test_scores_of_repeated_frames_are_those_without_the_memo(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = DualEncoderScorer(head, weights="shipped")
    spec = scorer.frame_spec
    assert isinstance(spec.size, int)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (4, 3, spec.size, spec.size), dtype=torch.uint8, generator=generator)
    frames = pictures[torch.arange(2 * spec.num_frames).reshape(2, -1) * 4 // (2 * spec.num_frames)]
    texts = ["We go to the red ball", "We go to the red ball and then go to the blue key"]
    known = torch.stack([each.values for each in scorer.score_clips(frames, texts)])
    monkeypatch.setattr(FrameMemo, "using", lambda self: nullcontext())
    torch.testing.assert_close(known, torch.stack([each.values for each in scorer.score_clips(frames, texts)]))
    assert known.unique().numel() == 4
