import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_checkpoints import OPEN_CLIP_TEXT, OPEN_CLIP_VISION, SIZE, TEXT_LENGTH, save_open_clip, save_pe_core
from torch import Tensor
from torch.nn.functional import normalize

from lightning_vista.scorers import OpenCLIPScorer
from lightning_vista.video import FrameSpec
from lightning_vista.video.resizing import resize_frames

open_clip: Any = importlib.import_module("open_clip")  # it is untyped
TIMM = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": SIZE}
TEXTS = ["Go left.", "go right", "First we go to the red door!" + " then we go left and pick up the key!" * 3, "a"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("open_clip")
    siglip: dict[str, Any] = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    return {"own": save_open_clip(root / "own-tower"), "timm": save_open_clip(root / "timm-tower", TIMM, **siglip)}


@pytest.fixture(params=["own", "timm"])
def model(request: pytest.FixtureRequest, models: dict[str, str]) -> str:
    return models[request.param]


def videos(height: int = 60, width: int = 80) -> Tensor:
    """Two videos of three frames, uint8, smooth enough that interpolation is not all noise."""
    coarse = torch.rand(6, 3, 6, 7, generator=torch.Generator().manual_seed(0)) * 255
    frames = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return frames.byte().reshape(2, 3, 3, height, width)


def embed(scorer: OpenCLIPScorer, frames: Tensor) -> Tensor:
    return scorer.embed_videos(torch.stack([resize_frames(video, scorer.frame_spec) for video in frames]))


@pytest.mark.parametrize("size", [(60, 80), (80, 60), (32, 32)])
def test_videos_are_embedded_as_by_open_clip(model: str, size: tuple[int, int]) -> None:
    """One frame at a time, with open_clip's own transform; it resizes with Pillow and so rounds a little otherwise."""
    reference, transform = open_clip.create_model_from_pretrained(model)
    reference.eval()
    rows = []
    for video in videos(*size):
        images = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in video]
        with torch.no_grad():
            rows.append(torch.cat([reference.encode_image(transform(i)[None], normalize=True) for i in images]).mean(0))
    scorer = OpenCLIPScorer(model, num_frames=3, preprocessing="processor")
    atol = 1e-5 if size == (32, 32) else 5e-3
    torch.testing.assert_close(embed(scorer, videos(*size)), torch.stack(rows), rtol=0, atol=atol)
    assert (rows[0] - rows[1]).norm() > 0.05


def test_the_authors_frames_are_squeezed(model: str) -> None:
    scorer = OpenCLIPScorer(model, num_frames=3)
    assert scorer.frame_spec == FrameSpec(num_frames=3, size=(SIZE, SIZE), interpolation="bicubic", crop=False)
    settings = scorer.model.visual.preprocess_cfg
    mean, std = (torch.tensor(settings[key])[:, None, None] for key in ("mean", "std"))
    squeezed = resize_frames(videos()[0], scorer.frame_spec)
    with torch.no_grad():
        expected = scorer.model.encode_image((squeezed / 255 - mean) / std, normalize=True).mean(0)
    torch.testing.assert_close(embed(scorer, videos())[0], expected, rtol=0, atol=1e-5)


def test_descriptions_are_embedded_as_by_open_clip(model: str) -> None:
    reference = open_clip.create_model(model).eval()
    tokenizer = open_clip.get_tokenizer(model)
    with torch.no_grad():
        expected = normalize(reference.encode_text(tokenizer(TEXTS)), dim=-1)
    scorer = OpenCLIPScorer(model)
    torch.testing.assert_close(scorer.embed_texts(TEXTS), expected, rtol=0, atol=1e-5)
    assert scorer.truncated == {TEXTS[2]: len(tokenizer.encode(TEXTS[2])) + 2 - TEXT_LENGTH}
    assert torch.pdist(expected).min() > 0.01


def test_a_model_by_name_takes_its_weights_from_a_file(models: dict[str, str], tmp_path: Path) -> None:
    settings = {"embed_dim": 12, "vision_cfg": OPEN_CLIP_VISION, "text_cfg": OPEN_CLIP_TEXT}
    (tmp_path / "tiny-vit.json").write_text(json.dumps(settings))
    open_clip.add_model_config(tmp_path / "tiny-vit.json")
    weights = Path(models["own"].removeprefix("local-dir:")) / "open_clip_pytorch_model.bin"
    by_name, folder = OpenCLIPScorer("tiny-vit", str(weights)), OpenCLIPScorer(models["own"])
    assert (by_name.name, folder.name) == ("tiny-vit-8f", "own-tower-8f")
    torch.testing.assert_close(embed(by_name, videos()), embed(folder, videos()), rtol=0, atol=0)
    with pytest.raises(ValueError, match="(?s)'tiny-vit' with the weights None.*Expected a model and a tag"):
        OpenCLIPScorer("tiny-vit")


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("no-such-model", None, "'no-such-model' not found"),
        ("ViT-B-32", "no-such-tag", "not a known tag or valid file"),
        ("local-dir:nowhere", None, "nowhere"),
    ],
)
def test_what_is_not_there_is_named(model: str, pretrained: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}.*Expected a model and a tag of open_clip"):
        OpenCLIPScorer(model, pretrained)


def test_weights_beside_a_folders_own_are_an_error(models: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="has its own weights, got 'laion2b'"):
        OpenCLIPScorer(models["own"], "laion2b")


def test_a_transform_that_pads_is_an_error(tmp_path: Path) -> None:
    model = save_open_clip(tmp_path / "padded", resize_mode="longest")
    with pytest.raises(ValueError, match="`resize_mode`: expected one of .*, got 'longest'"):
        OpenCLIPScorer(model, preprocessing="processor")
    OpenCLIPScorer(model)


def test_half_the_precision_is_nearly_the_same(model: str) -> None:
    half, full = OpenCLIPScorer(model, dtype="bfloat16"), OpenCLIPScorer(model)
    assert embed(half, videos()).dtype == half.embed_texts(TEXTS).dtype == torch.float32
    torch.testing.assert_close(embed(half, videos()), embed(full, videos()), rtol=0, atol=0.05)


def test_the_weights_are_frozen(model: str) -> None:
    scorer = OpenCLIPScorer(model)
    assert not scorer.model.training
    assert not scorer.embed_texts(TEXTS).requires_grad


def test_arguments_outside_their_ranges_are_errors() -> None:
    with pytest.raises(ValueError, match="`num_frames`: expected 2 to 32, got 1"):
        OpenCLIPScorer("never/read", num_frames=1)


def test_the_perception_encoder_is_embedded_as_by_open_clip(tmp_path: Path) -> None:
    model = save_pe_core(tmp_path / "pe-core")
    scorer = OpenCLIPScorer(model, num_frames=2, preprocessing="processor")
    spec = FrameSpec(num_frames=2, size=(384, 384), interpolation="bilinear", crop=False)
    assert scorer.frame_spec == spec
    reference, transform = open_clip.create_model_from_pretrained(model)
    frames = videos(384, 384)[:1, :2]
    images = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames[0]]
    tokens = open_clip.get_tokenizer(model)(TEXTS)
    with torch.no_grad():
        expected = torch.stack([reference.eval().encode_image(transform(i)[None], normalize=True)[0] for i in images])
        texts = reference.encode_text(tokens, normalize=True)
    torch.testing.assert_close(scorer.embed_videos(frames)[0], expected.mean(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(scorer.embed_texts(TEXTS), texts, rtol=0, atol=1e-5)
    assert (expected[0] - expected[1]).norm() > 1e-3
