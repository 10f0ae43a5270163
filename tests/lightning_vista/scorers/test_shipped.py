"""The weights that ship with the package have not changed what they say."""

from pathlib import Path
from typing import Any, get_args

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


#: Name in `EXPECTED` -> the scorer's arguments.
SCORERS = {
    **{head: {"head": head, "weights": "shipped"} for head in get_args(Head)},
    "order": {"weights": "shipped-order"},
    "order_cut": {"weights": "shipped-order", "without": ["order"]},
}


def scores_of_six_videos(arguments: dict[str, Any]) -> np.ndarray:
    """The scores of all descriptions for the first video of six problem sets, as mp4."""
    scorer = DualEncoderScorer(**arguments).eval()
    scores = []
    with torch.inference_mode():
        for slot in SLOTS:
            draft = sample_draft(slot)
            frames = decode_video(encode_mp4(draft.episodes[0][1].frames()), scorer.frame_spec).frames
            video = scorer.embed_videos(frames[None])
            scores.append(scorer.embed_texts(list(draft.descriptions.values())) @ video[0])
    return torch.cat(scores).numpy()


@pytest.mark.parametrize("name", SCORERS)
def test_scores_of_six_videos_are_what_they_were(name: str) -> None:
    expected = np.load(EXPECTED)[name]
    scores = scores_of_six_videos(SCORERS[name])
    assert scores.shape == expected.shape
    assert np.abs(scores - expected).max() < 0.05  # processors round bfloat16 differently


def test_the_weights_are_small_enough_for_the_package() -> None:
    files = {path.name: path.stat().st_size for path in SHIPPED.glob("*.safetensors")}
    own = {"frames.safetensors", "temporal-order.safetensors"}
    assert set(files) == {*own, *(f"{head}.safetensors" for head in get_args(Head))}
    assert sum(files.values()) <= 8e6


def test_frames_of_another_size_are_asked_for_as_the_weights_want_them() -> None:
    assert DualEncoderScorer("mean", weights="shipped").frame_spec == FrameSpec(16, size=96)


if __name__ == "__main__":  # writes what is expected, after the weights were trained anew
    found: dict[str, Any] = {name: scores_of_six_videos(arguments) for name, arguments in SCORERS.items()}
    np.savez(EXPECTED, **found)
