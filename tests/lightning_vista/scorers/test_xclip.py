from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_checkpoints import save_clip, transformers
from tiny_encoders import save_xclip
from torch import Tensor

from lightning_vista.scorers import XCLIPScorer

TEXTS = ["We see a ball", "Go to the red door", "ab" * 20]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_xclip(tmp_path_factory.mktemp("xclip") / "tiny-xclip")


def videos() -> Tensor:
    return torch.randint(0, 256, (3, 4, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def oracle(checkpoint: str, frames: Tensor, texts: list[str]) -> Tensor:
    """The cosines of transformers' own forward pass, `(videos, texts)`."""
    model: Any = transformers.XCLIPModel.from_pretrained(checkpoint).eval()
    mean, std = (torch.tensor(row).reshape(3, 1, 1) for row in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    rows = []
    with torch.no_grad():
        for text in texts:  # alone, so that no padding is involved
            tokens = tokenizer([text], truncation=True, max_length=24, return_tensors="pt")
            output = model(**tokens, pixel_values=(frames / 255 - mean) / std)
            rows.append(output.logits_per_video[:, 0] / model.logit_scale.exp())
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("cached", [False, True])
def test_scores_are_those_of_transformers(checkpoint: str, cached: bool, tmp_path: Path) -> None:
    expected = oracle(checkpoint, videos(), TEXTS)
    for _ in range(2):
        scorer = XCLIPScorer(checkpoint, cache_dir=str(tmp_path) if cached else None)
        with pytest.warns(UserWarning, match="1 of 3 descriptions were truncated"):
            scores = scorer.score_clips(videos(), TEXTS)
        found = torch.stack([row.values for row in scores]).float()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert expected.std(dim=0).min() > 1e-4


def test_descriptions_are_adapted_to_the_video(checkpoint: str) -> None:
    scorer = XCLIPScorer(checkpoint)
    texts, (one, other) = scorer.embed_texts(TEXTS[:2]), scorer.embed_videos(videos()[:2])
    mixed = torch.cat([one[:16], other[16:]])
    assert (scorer.products(texts, one) - scorer.products(texts, mixed)).abs().max() > 1e-4


def test_the_frames_are_those_of_the_checkpoint(checkpoint: str) -> None:
    spec = XCLIPScorer(checkpoint).frame_spec
    assert (spec.num_frames, spec.height_width) == (4, (32, 32))


def test_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected model_type 'xclip', got .* of 'clip'"):
        XCLIPScorer(save_clip(tmp_path / "clip"))
    with pytest.raises(FileNotFoundError, match="Expected the id of an X-CLIP"):
        XCLIPScorer(str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="`dtype`: expected one of"):
        XCLIPScorer("nowhere", dtype="int8")  # type: ignore[arg-type]
