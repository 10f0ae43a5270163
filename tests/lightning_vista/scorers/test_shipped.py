"""The weights that ship with the package have not changed what they say."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from lightning_vista.mini import Slot, sample_draft
from lightning_vista.scorers import DualEncoderScorer
from lightning_vista.scorers.dual.heads import Head
from lightning_vista.scorers.dual.pretraining import SHIPPED
from lightning_vista.video import FrameSpec, decode_video, encode_mp4

EXPECTED = Path(__file__).with_name("shipped_scores.npz")
SLOTS = [
    Slot("test", "home", "objects", 1, 0),
    Slot("test", "home", "on_v_off", 1, 0),
    Slot("test", "home", "pick_v_put", 1, 0),
    Slot("test", "home", "remix", 3, 0),
    Slot("test", "home", "permutation", 4, 0),
    Slot("test", "home", "permutation_go_only", 6, 0),
]


def scores_of_six_videos(head: Head) -> np.ndarray:
    """The scores of all descriptions for the first video of six problem sets, as mp4."""
    scorer = DualEncoderScorer(head, weights="shipped").eval()
    scores = []
    with torch.inference_mode():
        for slot in SLOTS:
            draft = sample_draft(slot)
            frames = decode_video(encode_mp4(draft.episodes[0][1].frames()), scorer.frame_spec).frames
            video = scorer.embed_videos(frames[None])
            scores.append(scorer.embed_texts(list(draft.descriptions.values())) @ video[0])
    return torch.cat(scores).numpy()


@pytest.mark.parametrize("head", get_args(Head))
def test_scores_of_six_videos_are_what_they_were(head: Head) -> None:
    expected = np.load(EXPECTED)[head]
    scores = scores_of_six_videos(head)
    assert scores.shape == expected.shape
    assert np.abs(scores - expected).max() < 0.05  # processors round bfloat16 differently


def test_the_weights_are_small_enough_for_the_package() -> None:
    files = {path.name: path.stat().st_size for path in SHIPPED.glob("*.safetensors")}
    assert set(files) == {"frames.safetensors", *(f"{head}.safetensors" for head in get_args(Head))}
    assert sum(files.values()) <= 6e6


def test_frames_of_another_size_are_asked_for_as_the_weights_want_them() -> None:
    assert DualEncoderScorer("mean", weights="shipped").frame_spec == FrameSpec(16, size=96)


if __name__ == "__main__":  # writes what is expected, after the weights were trained anew
    mean, temporal, slot = (scores_of_six_videos(head) for head in ("mean", "temporal", "slot"))
    np.savez(EXPECTED, mean=mean, temporal=temporal, slot=slot)
