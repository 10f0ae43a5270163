"""Weights of open_clip meet the activation that they were trained with, or the scorer says which one they need."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_checkpoints import OPEN_CLIP_TEXT, OPEN_CLIP_VISION, SIZE, TEXT_LENGTH, randomize
from torch import Tensor

from lightning_vista.scorers import OpenCLIPScorer
from lightning_vista.scorers.quick_gelu import _of_file, checked_weights

open_clip: Any = importlib.import_module("open_clip")  # it is untyped
PLAIN, QUICK = "tiny-twin", "tiny-twin-quickgelu"


@pytest.fixture(scope="module", autouse=True)
def _models(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two models that differ in the activation, as open_clip lists them."""
    folder = tmp_path_factory.mktemp("models")
    settings = {"embed_dim": 12, "vision_cfg": OPEN_CLIP_VISION, "text_cfg": OPEN_CLIP_TEXT}
    for name, changes in ((PLAIN, {}), (QUICK, {"quick_gelu": True})):
        (folder / f"{name}.json").write_text(json.dumps(settings | changes))
        open_clip.add_model_config(folder / f"{name}.json")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = open_clip.create_model(PLAIN)
    randomize(model)
    weights: dict[str, Tensor] = model.state_dict()
    return weights


def embed(model: str, path: Path, quick_gelu: bool | None = None) -> Tensor:
    frames = torch.randint(0, 256, (1, 2, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return OpenCLIPScorer(model, str(path), num_frames=2, quick_gelu=quick_gelu).embed_videos(frames)


def test_the_two_activations_differ_a_little(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "weights.pt")
    plain, quick = embed(PLAIN, tmp_path / "weights.pt", False), embed(QUICK, tmp_path / "weights.pt", True)
    assert 1e-4 < (plain - quick).abs().max() < 0.2


@pytest.mark.parametrize("model", [PLAIN, QUICK])
def test_a_file_that_says_nothing_needs_a_choice(state: dict[str, Tensor], tmp_path: Path, model: str) -> None:
    for name in ("weights.pt", "weights.safetensors"):
        path = tmp_path / name
        save_file(state, path) if path.suffix == ".safetensors" else torch.save({"state_dict": state}, path)
        with pytest.raises(ValueError, match=f"`quick_gelu`: expected true or false.*'{PLAIN}' and '{QUICK}'"):
            embed(model, path)
        with pytest.raises(
            ValueError, match=f"`model`: expected '{PLAIN if model == QUICK else QUICK}'.*got '{model}'"
        ):
            embed(model, path, quick_gelu=model == PLAIN)
        embed(model, path, quick_gelu=model == QUICK)


@pytest.mark.parametrize("wrap", [False, True])
def test_openais_weights_need_quick_gelu_and_lose_their_numbers(
    state: dict[str, Tensor], tmp_path: Path, wrap: bool
) -> None:
    numbers = {"input_resolution": SIZE, "context_length": TEXT_LENGTH, "vocab_size": 49408}
    openai = state | {key: torch.tensor(value) for key, value in numbers.items()}
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in openai.items()}} if wrap else openai, tmp_path / "openai.pt"
    )
    torch.save(state, tmp_path / "plain.pt")
    for choice in (None, False, True):
        with pytest.raises(ValueError, match=f"expected '{QUICK}', since the weights .* with QuickGELU, got '{PLAIN}'"):
            embed(PLAIN, tmp_path / "openai.pt", choice)
    expected = embed(QUICK, tmp_path / "plain.pt", quick_gelu=True)
    assert torch.equal(embed(QUICK, tmp_path / "openai.pt"), expected)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("told_by", ["neighbour", "metadata", "name", "cache"])
def test_what_says_it_is_believed(
    state: dict[str, Tensor], tmp_path: Path, told_by: str, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    registry = {"url": "https://a/b/known.safetensors", "hf_hub": "timm/known.tag/", "quick_gelu": quick}
    monkeypatch.setattr(open_clip, "list_pretrained", lambda: [("other", "tag")])
    lookup = open_clip.get_pretrained_cfg
    monkeypatch.setattr(
        open_clip, "get_pretrained_cfg", lambda model, tag: registry if model == "other" else lookup(model, tag)
    )
    if told_by == "neighbour":
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"quick_gelu": quick}}))
    elif told_by == "name":
        path = tmp_path / "known.safetensors"
    elif told_by == "cache":
        path = tmp_path / "models--timm--known.tag" / "snapshots" / "1" / "weights.safetensors"
        path.parent.mkdir(parents=True)
    save_file(state, path, metadata={"quick_gelu": str(quick)} if told_by == "metadata" else None)
    right, wrong = (QUICK, PLAIN) if quick else (PLAIN, QUICK)
    embed(right, path)
    with pytest.raises(ValueError, match=f"`model`: expected '{right}'.*got '{wrong}'"):
        embed(wrong, path)


def test_a_tag_of_the_other_activation_is_refused_before_it_is_downloaded() -> None:
    with pytest.raises(ValueError, match="expected 'ViT-B-32-quickgelu', since the weights 'openai' .*got 'ViT-B-32'"):
        OpenCLIPScorer("ViT-B-32", "openai")


def test_every_tag_of_open_clip_has_a_model_that_is_accepted() -> None:
    refused = []
    for model, tag in open_clip.list_pretrained():
        try:
            with checked_weights(open_clip, model, tag, None):
                pass
        except ValueError:
            refused.append((model, tag))
    assert refused
    accepted = set(open_clip.list_pretrained()) - set(refused)
    assert {(f"{model}-quickgelu", tag) for model, tag in refused} <= accepted


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{"])
def test_settings_beside_weights_that_cannot_be_read_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(ValueError, match=r"open_clip_config\.json: expected the settings of a model"):
        _of_file(open_clip, tmp_path / "weights.safetensors")
