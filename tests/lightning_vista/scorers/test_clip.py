import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import lightning as L
import numpy as np
import polars as pl
import pytest
import torch
from tiny_checkpoints import SIZE, TEXT_LENGTH, save_clip, save_siglip, siglip2_tokenizer, siglip_tokenizer
from torch import Tensor

from lightning_vista.callbacks import Evaluation
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.scorers import CLIPScorer
from lightning_vista.video import FrameSpec, decode_video, encode_mp4
from lightning_vista.video.resizing import resize_frames
from lightning_vista.vista import LabelledVideo, ProblemSet, write_problem_sets
from lightning_vista.vista.shards import build_shards

transformers: Any = importlib.import_module("transformers")  # much of it is untyped
ChatMode = Literal["authors", "processor"]
TEXTS = ["Go left.", "go right", "First we go to the red door, then we go left and pick up the key", "a b c"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "clip": save_clip(root / "tiny-clip"),
        "siglip": save_siglip(root / "tiny-siglip", siglip_tokenizer()),
        "siglip2": save_siglip(root / "tiny-siglip2", siglip2_tokenizer(), resample=2),
    }


@pytest.fixture(params=["clip", "siglip", "siglip2"])
def checkpoint(request: pytest.FixtureRequest, checkpoints: dict[str, str]) -> str:
    return checkpoints[request.param]


def videos(num_frames: int = 3, height: int = 60, width: int = 80) -> Tensor:
    """Two videos, uint8, smooth enough that interpolation is not all noise."""
    generator = torch.Generator().manual_seed(num_frames)
    coarse = torch.rand(2 * num_frames, 3, 6, 7, generator=generator) * 255
    frames = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return frames.byte().reshape(2, num_frames, 3, height, width)


def expected_videos(checkpoint: str, frames: Tensor, squeeze: bool) -> Tensor:
    """One frame at a time, with transformers' own processor."""
    processor = transformers.AutoImageProcessor.from_pretrained(checkpoint)
    options: dict[str, Any] = {}
    if squeeze:
        square = {"height": SIZE, "width": SIZE}
        options = {"size": square, "do_center_crop": False, "resample": 3}
    model = transformers.AutoModel.from_pretrained(checkpoint).eval()
    rows = []
    for video in frames:
        embeddings = []
        for frame in video:
            inputs = processor(images=frame.permute(1, 2, 0).numpy(), return_tensors="pt", **options)
            with torch.no_grad():
                embedding = model.get_image_features(**inputs).pooler_output[0]
            embeddings.append(embedding / embedding.norm())
        rows.append(sum(embeddings) / len(video))
    return torch.stack(rows)


def expected_texts(checkpoint: str, texts: Sequence[str]) -> Tensor:
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model = transformers.AutoModel.from_pretrained(checkpoint).eval()
    inputs = tokenizer(texts, padding="max_length", truncation=True, max_length=TEXT_LENGTH, return_tensors="pt")
    with torch.no_grad():
        embeddings: Tensor = model.get_text_features(**inputs).pooler_output
    return torch.nn.functional.normalize(embeddings, dim=-1)


def embed(scorer: CLIPScorer, frames: Tensor) -> Tensor:
    """As the datamodule's workers and the scorer do together."""
    resized = torch.stack([resize_frames(video, scorer.frame_spec) for video in frames])
    return scorer.embed_videos(resized)


@pytest.mark.parametrize("size", [(60, 80), (81, 60), (49, 98), (32, 32), (24, 31)])
@pytest.mark.parametrize("mode", get_args(ChatMode))
def test_videos_are_embedded_as_by_transformers(checkpoint: str, mode: ChatMode, size: tuple[int, int]) -> None:
    frames = videos(3, *size)
    scorer = CLIPScorer(checkpoint, num_frames=3, preprocessing=mode)
    expected = expected_videos(checkpoint, frames, squeeze=mode == "authors")
    torch.testing.assert_close(embed(scorer, frames), expected, rtol=0, atol=1e-5)
    assert (expected[0] - expected[1]).norm() > 0.01


def test_descriptions_are_embedded_as_by_transformers(checkpoint: str) -> None:
    scorer = CLIPScorer(checkpoint)
    embedded = scorer.embed_texts(TEXTS)
    torch.testing.assert_close(embedded, expected_texts(checkpoint, TEXTS), rtol=0, atol=1e-5)
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(len(TEXTS)))
    torch.testing.assert_close(scorer.embed_texts(TEXTS[1:2])[0], embedded[1], rtol=0, atol=1e-6)
    assert torch.pdist(embedded).min() > 0.01


def test_the_two_preprocessings_differ_where_frames_are_not_square(checkpoints: dict[str, str]) -> None:
    squeezed, cropped = (CLIPScorer(checkpoints["clip"], preprocessing=mode) for mode in get_args(ChatMode))
    assert squeezed.frame_spec == FrameSpec(num_frames=8, size=SIZE, interpolation="bicubic", crop=False)
    assert cropped.frame_spec == FrameSpec(num_frames=8, size=SIZE, interpolation="bicubic", crop=True)
    assert (embed(squeezed, videos()) - embed(cropped, videos())).norm(dim=-1).min() > 0.01


def test_siglip2s_processor_is_bilinear(checkpoints: dict[str, str]) -> None:
    spec = CLIPScorer(checkpoints["siglip2"], num_frames=2, sampling="stride", preprocessing="processor").frame_spec
    assert spec == FrameSpec(num_frames=2, sampling="stride", size=SIZE, interpolation="bilinear", crop=False)


@pytest.mark.parametrize("settings", [{"do_rescale": False}, {"do_normalize": False}, {"image_mean": [0.1, 0.2, 0.3]}])
def test_a_processors_statistics_are_followed(tmp_path: Path, settings: dict[str, Any]) -> None:
    checkpoint = save_clip(tmp_path, **settings)
    scorer = CLIPScorer(checkpoint, num_frames=3, preprocessing="processor")
    expected = expected_videos(checkpoint, videos(), squeeze=False)
    torch.testing.assert_close(embed(scorer, videos()), expected, rtol=0, atol=1e-5)


def test_the_authors_statistics_are_clips_whatever_the_processor_says(
    checkpoints: dict[str, str], tmp_path: Path
) -> None:
    scorer = CLIPScorer(save_clip(tmp_path, image_mean=[0.1, 0.2, 0.3], image_std=[1, 1, 1]), num_frames=3)
    expected = expected_videos(checkpoints["clip"], videos(), squeeze=True)
    torch.testing.assert_close(embed(scorer, videos()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"resample": 1}, "`resample`: expected .*, got 1"),
        ({"size": {"shortest_edge": SIZE + 4}}, "'shortest_edge': 36"),
        ({"crop_size": {"height": SIZE, "width": SIZE + 1}}, "'width': 33"),
        ({"do_center_crop": False}, "'do_center_crop': False"),
        ({"do_resize": False}, "does not resize"),
    ],
)
def test_a_processor_that_cannot_be_followed_is_an_error(tmp_path: Path, settings: dict[str, Any], named: str) -> None:
    checkpoint = save_clip(tmp_path, **settings)
    with pytest.raises(ValueError, match=f"{named}.*Use preprocessing='authors'"):
        CLIPScorer(checkpoint, preprocessing="processor")
    CLIPScorer(checkpoint)


@pytest.mark.parametrize("frame_batch_size", [1, 4, 100])
def test_frames_may_go_through_in_portions(checkpoint: str, frame_batch_size: int) -> None:
    whole, portions = CLIPScorer(checkpoint), CLIPScorer(checkpoint, frame_batch_size=frame_batch_size)
    torch.testing.assert_close(embed(portions, videos(5)), embed(whole, videos(5)), rtol=0, atol=1e-6)


def test_the_same_comes_out_each_time(checkpoint: str) -> None:
    first, second = CLIPScorer(checkpoint), CLIPScorer(checkpoint)
    torch.testing.assert_close(embed(first, videos()), embed(second, videos()), rtol=0, atol=0)
    torch.testing.assert_close(first.embed_texts(TEXTS), second.embed_texts(TEXTS), rtol=0, atol=0)


def test_half_the_precision_is_nearly_the_same(checkpoint: str) -> None:
    half, full = CLIPScorer(checkpoint, dtype="bfloat16"), CLIPScorer(checkpoint, dtype="auto")
    assert (half.model.dtype, full.model.dtype) == (torch.bfloat16, torch.float32)
    embedded = embed(half, videos())
    assert embedded.dtype == half.embed_texts(TEXTS).dtype == torch.float32
    torch.testing.assert_close(embedded, embed(full, videos()), rtol=0, atol=0.05)


def test_siglip_reads_lower_case_whatever_its_tokenizer_does(tmp_path: Path) -> None:
    scorer = CLIPScorer(save_siglip(tmp_path, siglip_tokenizer(lower_case=False)))
    big, small = scorer.embed_texts(["Go LEFT", "go left"])
    torch.testing.assert_close(big, small)


def test_the_weights_are_frozen(checkpoints: dict[str, str]) -> None:
    scorer = CLIPScorer(checkpoints["clip"], num_frames=4)
    assert scorer.name == "tiny-clip-4f"
    assert not scorer.model.training
    assert not scorer.embed_texts(TEXTS).requires_grad


def write_shards(folder: Path) -> dict[str, bytes]:
    """Shards with two problem sets of the same two videos; returns the videos."""
    data = {}
    for number, video in enumerate(videos(9)):
        path = folder / "videos/home/clips" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        data[f"home/clips/{number}.mp4"] = encode_mp4(np.ascontiguousarray(video.permute(0, 2, 3, 1).numpy()))
        path.write_bytes(data[f"home/clips/{number}.mp4"])
    labelled = (LabelledVideo("clips/0.mp4", ("a",)), LabelledVideo("clips/1.mp4", ("b",)))
    sets = [
        ProblemSet("home/level_2/permutation/go", {"a": TEXTS[0], "b": TEXTS[2]}, labelled),
        ProblemSet("home/level_2/remix/turn", {"a": TEXTS[1], "b": "now " + TEXTS[2], "c": TEXTS[3]}, labelled),
    ]
    write_problem_sets(sets, folder)
    build_shards(folder / "tasks", folder / "videos", folder / "shards", num_workers=1)
    return data


def test_a_run_scores_as_transformers_and_counts_truncated_descriptions(checkpoint: str, tmp_path: Path) -> None:
    data = write_shards(tmp_path)
    scorer = CLIPScorer(checkpoint, num_frames=4, preprocessing="processor")
    datamodule = ViSTaDataModule(str(tmp_path / "shards"), scorer.frame_spec, batch_size=1, num_workers=0)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Evaluation(str(tmp_path / "run"))],
    )
    with pytest.warns(UserWarning, match="2 of 5 descriptions were truncated to the 24 tokens") as warned:
        trainer.test(scorer, datamodule, verbose=False)
    assert sum("truncated" in str(warning.message) for warning in warned) == 1
    assert set(scorer.truncated) == {TEXTS[2], "now " + TEXTS[2]}
    table = pl.read_parquet(tmp_path / "run" / "scores.parquet")
    assert len(table) == 2 * 2 + 2 * 3
    for video, encoded in data.items():
        frames = decode_video(encoded, replace(scorer.frame_spec, size=None, crop=False)).frames
        embedded = expected_videos(checkpoint, frames[None], squeeze=False)[0]
        for problem_set in datamodule.index().problem_sets:
            rows = table.filter(pl.col("video") == video, pl.col("problem_set") == problem_set.id)
            expected = expected_texts(checkpoint, list(problem_set.descriptions.values())) @ embedded
            scores = dict(zip(rows["label"], rows["score"], strict=True))
            found = torch.tensor([scores[label] for label in problem_set.labels])
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_model_that_was_found_is_named(tmp_path: Path) -> None:
    transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"expected model_type 'clip' .* or 'siglip' .*, got .* of model_type 'bert'"):
        CLIPScorer(str(tmp_path))


def test_naflex_is_refused(tmp_path: Path) -> None:
    transformers.Siglip2Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="expected a fixed resolution, got .*NaFlex"):
        CLIPScorer(str(tmp_path))


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    checkpoint = save_clip(tmp_path)
    vision = transformers.AutoModel.from_pretrained(checkpoint).vision_model
    torch.save({f"vision_model.{key}": value for key, value in vision.state_dict().items()}, tmp_path / "weights")
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "weights").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="lacks the weights .*text_model"):
        CLIPScorer(checkpoint)


def test_a_folder_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="a local folder with a checkpoint in transformers' format"):
        CLIPScorer(str(tmp_path))


def test_without_the_hub_a_folder_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"somebody/clip(.|\n)*or a local folder"):
        CLIPScorer("somebody/clip-that-is-not-cached")


@pytest.mark.parametrize("settings", [{"num_frames": 1}, {"num_frames": 33}, {"frame_batch_size": 0}])
def test_arguments_outside_their_ranges_are_errors(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`: expected .*, got"):
        CLIPScorer("never/read", **settings)
