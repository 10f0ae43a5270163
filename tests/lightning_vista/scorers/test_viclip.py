import math
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import save_viclip, tiny_viclip, viclip_shapes
from torch import Tensor, nn
from torch.nn.functional import layer_norm, normalize

from lightning_vista.scorers import ViCLIPScorer
from lightning_vista.scorers.viclip_model import ViCLIP

IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
TEXTS = ["Go left.", "we go to the red door, and then we pick up the key", "step " * 40]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_viclip(tmp_path_factory.mktemp("viclip"))


def videos(num_frames: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(num_frames)
    return torch.randint(0, 256, (2, num_frames, 3, 32, 32), generator=generator, dtype=torch.uint8)


class Oracle:
    """ViCLIP as described, one token at a time, with torch's own attention."""

    def __init__(self) -> None:
        self.state = tiny_viclip()

    def norm(self, x: Tensor, name: str) -> Tensor:
        return layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def transformer(self, tower: str, x: Tensor, mask: Tensor | None) -> Tensor:
        """Two blocks over `(tokens, width)`."""
        width = x.shape[-1]
        for number in range(2):
            block = f"{tower}.transformer.resblocks.{number}"
            attention = nn.MultiheadAttention(width, width // 64)
            own = {name: self.state[f"{block}.attn.{name}"] for name in attention.state_dict()}
            attention.load_state_dict(own)
            normed = self.norm(x, f"{block}.ln_1")
            x = x + attention(normed, normed, normed, attn_mask=mask)[0]
            hidden = self.norm(x, f"{block}.ln_2") @ self.state[f"{block}.mlp.c_fc.weight"].T
            hidden = hidden + self.state[f"{block}.mlp.c_fc.bias"]
            hidden = hidden / (1 + torch.exp(-1.702 * hidden))
            x = x + hidden @ self.state[f"{block}.mlp.c_proj.weight"].T + self.state[f"{block}.mlp.c_proj.bias"]
        return x

    def video(self, frames: Tensor) -> Tensor:
        """The unit-length embedding of one video."""
        state = {name.removeprefix("vision_encoder."): value for name, value in self.state.items()}
        kernel, time = state["conv1.weight"][:, :, 0], state["temporal_positional_embedding"][0]
        if len(frames) == 1:
            time = time.mean(0, keepdim=True)
        pixels = (frames / 255 - IMAGENET[0, :, None, None]) / IMAGENET[1, :, None, None]
        tokens = [state["class_embedding"] + state["positional_embedding"][0]]
        for patch in range(4):
            top, left = 16 * (patch // 2), 16 * (patch % 2)
            for frame, moment in zip(pixels, time, strict=True):
                square = frame[:, top : top + 16, left : left + 16]
                tokens.append((kernel * square).sum((1, 2, 3)) + state["positional_embedding"][patch + 1] + moment)
        x = self.norm(torch.stack(tokens), "vision_encoder.ln_pre")
        whole = self.norm(self.transformer("vision_encoder", x, None), "vision_encoder.ln_post")
        return normalize(whole[0] @ state["proj"], dim=-1)

    def text(self, tokens: list[int]) -> Tensor:
        """The unit-length embedding of one text, from its tokens without padding."""
        state = {name.removeprefix("text_encoder."): value for name, value in self.state.items()}
        x = state["token_embedding.weight"][tokens] + state["positional_embedding"][: len(tokens)]
        mask = torch.full((len(tokens), len(tokens)), -math.inf).triu(1)
        whole = self.norm(self.transformer("text_encoder", x, mask), "text_encoder.ln_final")
        return normalize(whole[-1] @ state["text_projection"], dim=-1)


@pytest.mark.parametrize("num_frames", [8, 1])
def test_videos_are_embedded_as_described(checkpoint: str, num_frames: int) -> None:
    scorer, oracle = ViCLIPScorer(checkpoint, num_frames=num_frames), Oracle()
    expected = torch.stack([oracle.video(video) for video in videos(num_frames)])
    torch.testing.assert_close(scorer.embed_videos(videos(num_frames)), expected, rtol=0, atol=1e-5)
    assert (expected[0] - expected[1]).norm() > 0.01


def test_the_order_of_frames_counts(checkpoint: str) -> None:
    scorer = ViCLIPScorer(checkpoint)
    assert (scorer.embed_videos(videos()) - scorer.embed_videos(videos().flip(1))).norm(dim=-1).min() > 0.001


def test_descriptions_are_embedded_as_described(checkpoint: str) -> None:
    scorer, oracle = ViCLIPScorer(checkpoint), Oracle()
    rows = []
    for text in TEXTS:
        tokens = [49406, *scorer.tokenizer.encode(text), 49407]
        rows.append(oracle.text(tokens if len(tokens) <= 32 else [*tokens[:31], 49407]))
    torch.testing.assert_close(scorer.embed_texts(TEXTS), torch.stack(rows), rtol=0, atol=1e-5)
    assert scorer.truncated == {TEXTS[2]: 10}


@pytest.mark.parametrize(
    ("vision", "text", "dim", "image_size", "parameters"),
    [
        # CLIP ViT-L/14 has 427,616,513: here are 45 fewer positions in a text, and 8 moments.
        ({"width": 1024, "layers": 24, "patch_size": 14, "patches": 256}, (768, 12), 768, 224, 427_590_145),
        # CLIP ViT-B/16 has 149,620,737.
        ({"width": 768, "layers": 12, "patch_size": 16, "patches": 196}, (512, 12), 512, 224, 149_603_841),
    ],
)
def test_the_published_sizes_load(
    vision: dict[str, int], text: tuple[int, int], dim: int, image_size: int, parameters: int
) -> None:
    shapes = viclip_shapes(vision, {"width": text[0], "layers": text[1]}, dim)
    model = ViCLIP.from_state({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model.sizes.image_size == image_size
    pixels, tokens = torch.empty(2, 8, 3, 224, 224, device="meta"), torch.zeros(3, 32, dtype=torch.long, device="meta")
    assert model.vision_encoder(pixels).shape == (2, dim)
    assert model.text_encoder(tokens).shape == (3, dim)


def test_the_frames_are_those_of_the_model(checkpoint: str) -> None:
    scorer = ViCLIPScorer(checkpoint)
    assert scorer.name == "ViCLIP-tiny"
    assert (scorer.frame_spec.num_frames, scorer.frame_spec.height_width) == (8, (32, 32))
    with pytest.raises(ValueError, match="`num_frames`: expected 8, as in the checkpoint's training, or 1, got 16"):
        ViCLIPScorer(checkpoint, num_frames=16)


def test_half_the_precision_is_nearly_the_same(checkpoint: str) -> None:
    half, full = ViCLIPScorer(checkpoint, dtype="bfloat16"), ViCLIPScorer(checkpoint)
    assert half.embed_videos(videos()).dtype == half.embed_texts(TEXTS).dtype == torch.float32
    torch.testing.assert_close(half.embed_videos(videos()), full.embed_videos(videos()), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {**tiny_viclip(), "more": torch.zeros(1)}}, 'Unexpected key.*"more"'),
        ({"model": {**tiny_viclip(), "text_encoder.ln_final.bias": torch.zeros(3)}}, "size mismatch for text_encoder"),
        ({"model": {"temp": torch.zeros(())}}, "'vision_encoder.proj' is missing"),
        ({"weights": tiny_viclip()}, "'model'"),
        ([1], "list indices"),
        ({"model": tiny_viclip(), "config": Oracle}, "Weights only load failed"),
    ],
)
def test_another_file_is_an_error(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=rf"(?s)Cannot load .*weights.pth: .*{message}.*Expected a published ViCLIP"):
        ViCLIPScorer(str(tmp_path / "weights.pth"))


def test_missing_files_and_files_of_something_else_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No weights at .*Expected a published ViCLIP"):
        ViCLIPScorer(str(tmp_path / "nothing.pth"))
    for content in (b"", b"not a checkpoint"):
        (tmp_path / "text.pth").write_bytes(content)
        with pytest.raises(ValueError, match="Cannot load .*text.pth"):
            ViCLIPScorer(str(tmp_path / "text.pth"))
