import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoders import WORDS, s3d_shapes, save_s3d, tiny_s3d
from torch import Tensor
from torch.nn.functional import conv3d, linear, pad, unfold

from lightning_vista.scorers import S3DScorer
from lightning_vista.scorers.s3d_model import S3D


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return save_s3d(tmp_path_factory.mktemp("s3d"))


def videos(num_frames: int = 8, size: int = 32) -> Tensor:
    """Videos of large patches, since a network with random weights averages noise away."""
    coarse = torch.rand(2, num_frames // 4, 3, 2, 2, generator=torch.Generator().manual_seed(num_frames))
    patches = coarse.repeat_interleave(4, 1).repeat_interleave(size // 2, 3).repeat_interleave(size // 2, 4)
    return (patches * 255).byte()


class Oracle:
    """S3D as its papers and its published code describe it, written over the state dict in double precision."""

    def __init__(self) -> None:
        self.state = {name: tensor.double() for name, tensor in tiny_s3d().items()}

    def normed(self, x: Tensor, name: str) -> Tensor:
        weight, bias, mean, variance = (
            self.state[f"{name}.{part}"].reshape(-1, 1, 1, 1)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (weight * (x - mean) / (variance + 1e-5).sqrt() + bias).clamp(min=0)

    def convolved(self, x: Tensor, name: str) -> Tensor:
        number = 1
        while f"{name}.conv{number}.weight" in self.state:
            kernel = self.state[f"{name}.conv{number}.weight"]
            x = self.normed(conv3d(x, kernel, padding="same"), f"{name}.bn{number}")
            number += 1
        return x

    def first(self, x: Tensor) -> Tensor:
        """The first convolution on the pixels themselves: twice the kernel with a stride of 2."""
        weight = self.state["conv1.conv1.weight"]
        kernel = torch.zeros(len(weight), 3, 4, 8, 8, dtype=torch.float64)
        for block in range(8):
            t, h, w = block // 4, block // 2 % 2, block % 2
            kernel[:, :, t::2, h::2, w::2] = weight[:, 3 * block : 3 * block + 3]
        # One block of 2 on the left of rows and columns, two on the right; none and one in time.
        return self.normed(conv3d(pad(x, (2, 4, 2, 4, 0, 2)), kernel, stride=2), "conv1.bn1")

    def gated(self, x: Tensor, name: str) -> Tensor:
        mean = x.flatten(2).mean(dim=2)
        gate = linear(mean, self.state[f"{name}.fc.weight"], self.state[f"{name}.fc.bias"])
        return x / (1 + torch.exp(-gate))[..., None, None, None]

    def pooled(self, x: Tensor, kernel: int, time: int, stride: int = 2) -> Tensor:
        """Maxima of squares, then of times; with TensorFlow's SAME padding, whose larger half is on the right."""
        batch, channels, frames, height, width = x.shape
        out_height, out_width = -(-height // stride), -(-width // stride)
        rest = max((out_height - 1) * stride + kernel - height, 0)
        flat = pad(x.transpose(1, 2).flatten(0, 1), (rest // 2, rest - rest // 2) * 2)
        windows = unfold(flat, kernel, stride=stride).unflatten(1, (channels, kernel**2))
        squares = windows.amax(dim=2).reshape(batch, frames, channels, out_height, out_width).transpose(1, 2)
        steps = 1 if time == 1 else stride
        out_frames = -(-frames // steps)
        late = max((out_frames - 1) * steps + time - frames, 0)
        padded = pad(squares, (0, 0, 0, 0, late // 2, late - late // 2))
        return torch.stack([padded[:, :, steps * t : steps * t + time].amax(dim=2) for t in range(out_frames)], dim=2)

    def block(self, x: Tensor, name: str) -> Tensor:
        b0 = self.convolved(x, f"{name}.conv_b0")
        b1 = self.convolved(self.convolved(x, f"{name}.conv_b1_a"), f"{name}.conv_b1_b")
        b2 = self.convolved(self.convolved(x, f"{name}.conv_b2_a"), f"{name}.conv_b2_b")
        around = torch.stack(
            [
                pad(x, (1, 1, 1, 1, 1, 1), value=-torch.inf)[
                    :, :, t : t + x.shape[2], h : h + x.shape[3], w : w + x.shape[4]
                ]
                for t in range(3)
                for h in range(3)
                for w in range(3)
            ]
        ).amax(dim=0)
        b3 = self.convolved(around, f"{name}.conv_b3_b")
        return torch.cat([self.gated(b, f"{name}.gating_b{n}") for n, b in enumerate((b0, b1, b2, b3))], dim=1)

    def video(self, frames: Tensor) -> Tensor:
        x = self.first(frames.transpose(1, 2).double() / 255)
        x = self.convolved(self.convolved(self.pooled(x, 3, 1), "conv_2b"), "conv_2c")
        x = self.pooled(self.gated(x, "gating"), 3, 1)
        for layer in ("3b", "3c"):
            x = self.block(x, f"mixed_{layer}")
        x = self.pooled(x, 3, 3)
        for layer in ("4b", "4c", "4d", "4e", "4f"):
            x = self.block(x, f"mixed_{layer}")
        x = self.pooled(x, 2, 2)
        for layer in ("5b", "5c"):
            x = self.block(x, f"mixed_{layer}")
        return linear(x.flatten(2).mean(dim=2), self.state["fc.weight"], self.state["fc.bias"])

    def text(self, words: list[str]) -> Tensor:
        state = {name.removeprefix("text_module."): value for name, value in self.state.items()}
        ids = [WORDS.index(word) + 1 for word in words][:16]
        rows = [
            (state["fc1.weight"] @ state["word_embd.weight"][id] + state["fc1.bias"]).clamp(min=0)
            for id in ids + [0] * (16 - len(ids))
        ]
        return state["fc2.weight"] @ torch.stack(rows).amax(dim=0) + state["fc2.bias"]


@pytest.mark.parametrize(("num_frames", "size"), [(8, 32), (16, 96), (32, 64)])
def test_videos_are_embedded_as_described(files: tuple[str, str], num_frames: int, size: int) -> None:
    scorer = S3DScorer(*files, num_frames=num_frames, size=size)
    expected = Oracle().video(videos(num_frames, size))
    found = scorer.embed_videos(videos(num_frames, size))
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    assert (expected[0] - expected[1]).norm() > 1e-3 * expected[0].norm()
    assert (found - scorer.embed_videos(videos(num_frames, size).flip(1))).norm() > 1e-3 * found.norm()


def test_descriptions_are_embedded_as_described(files: tuple[str, str]) -> None:
    scorer, oracle = S3DScorer(*files), Oracle()
    texts = ["We see a BALL, and then it's a cup.", "the " * 17 + "box", "Xylophones", "We see xylophones"]
    words = [[word for word in re.sub(r"[.,]", "", text.lower()).split() if word in WORDS] for text in texts]
    expected = torch.stack([oracle.text(row) for row in words])
    torch.testing.assert_close(scorer.embed_texts(texts).double(), expected, rtol=1e-4, atol=1e-5)
    assert scorer.truncated == {texts[1]: 2}
    assert scorer.unknown == {texts[2]: ["xylophones"], texts[3]: ["xylophones"]}


def test_scores_are_dot_products_and_unknown_words_are_counted(files: tuple[str, str]) -> None:
    scorer, oracle = S3DScorer(*files, num_frames=8, size=32), Oracle()
    with pytest.warns(UserWarning, match="s3d_tiny does not know the words flute: 1 of 2 descriptions have some"):
        scores = scorer.score_clips(videos(), ["we see a ball", "we see a flute"])
    texts = torch.stack([oracle.text(["we", "see", "a", "ball"]), oracle.text(["we", "see", "a"])])
    expected = oracle.video(videos()) @ texts.T
    found = torch.stack([row.values for row in scores]).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_infinite_products_are_unscored(files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision overflows in embeddings that have no unit length."""
    scorer = S3DScorer(*files, num_frames=8, size=32)
    whole = scorer.embed_videos
    monkeypatch.setattr(scorer, "embed_videos", lambda frames: whole(frames) * torch.tensor([[1.0], [torch.inf]]))
    scored, overflown = scorer.score_clips(videos(), ["we see a ball"])
    assert scored.values.isfinite().all()
    assert (scored.reason, overflown.reason) == (None, "not_finite")
    assert overflown.values.isnan().all()


def test_the_published_shapes_load() -> None:
    shapes = s3d_shapes()
    model = S3D.from_state({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    assert shapes["fc.weight"] == (512, 1024)
    with torch.device("meta"):
        assert model.embed_video(torch.empty(2, 3, 32, 224, 224)).shape == (2, 512)
        assert model.text_module(torch.zeros(3, 16, dtype=torch.long)).shape == (3, 512)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**tiny_s3d(), "more": torch.zeros(1)}, 'Unexpected key.*"more"'),
        ({key: value for key, value in tiny_s3d().items() if key != "fc.bias"}, 'Missing key.*"fc.bias"'),
        ({"fc.weight": torch.zeros(3, 3)}, "is missing"),
        ([1], "has no attribute"),
        ({"weights": Oracle}, "Weights only load failed"),
    ],
)
def test_another_file_is_an_error(files: tuple[str, str], content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=rf"(?s)Cannot load .*weights.pth: .*{message}.*Expected the published S3D"):
        S3DScorer(str(tmp_path / "weights.pth"), files[1])


@pytest.mark.parametrize("words", [np.zeros(3), np.array([["a"]]), np.array(["a"] * 99), np.array([{}], dtype=object)])
def test_another_dictionary_is_an_error(files: tuple[str, str], words: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "dict.npy", words, allow_pickle=True)
    with pytest.raises(ValueError, match=r"dict.npy.*\s?Expected the published s3d_dict.npy, an array of at most"):
        S3DScorer(files[0], str(tmp_path / "dict.npy"))


def test_wrong_arguments_are_refused(files: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="`num_frames`: expected a multiple of 8"):
        S3DScorer(*files, num_frames=7)
    with pytest.raises(ValueError, match="`size`: expected a multiple of 32"):
        S3DScorer(*files, size=0)
    for pair in ((files[0] + "x", files[1]), (files[0], files[1] + "x")):
        with pytest.raises(FileNotFoundError, match="Expected the published"):
            S3DScorer(*pair)
