"""Small checkpoints with random weights of S3D and X-CLIP, in their published formats."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_checkpoints import SIZE, TEXT_LENGTH, TOWER, clip_tokenizer, save, transformers
from torch import Tensor

#: Widths of the branches of S3D's Inception blocks, as published.
S3D_WIDTHS = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
SENTENCE = "we see a ball cup key go to the red door and then pick up it's open box"
WORDS = SENTENCE.split()


def s3d_shapes(divisor: int = 1, words: int = 66250) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the tensors of the published S3D, or of one that is thinner."""
    shapes: dict[str, tuple[int, ...]] = {}

    def thin(width: int) -> int:
        return max(width // divisor, 1)

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    def convolution(name: str, channels: int, width: int, *kernels: tuple[int, int, int]) -> None:
        for number, kernel in enumerate(kernels, 1):
            shapes[f"{name}.conv{number}.weight"] = (width, channels, *kernel)
            norm(f"{name}.bn{number}", width)
            channels = width

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    apart = ((1, 3, 3), (3, 1, 1))
    convolution("conv1", 24, thin(64), (2, 4, 4))
    convolution("conv_2b", thin(64), thin(64), (1, 1, 1))
    convolution("conv_2c", thin(64), thin(192), *apart)
    linear("gating.fc", thin(192), thin(192))
    channels = thin(192)
    for layer, published in S3D_WIDTHS.items():
        b0, b1_a, b1_b, b2_a, b2_b, b3 = map(thin, published)
        block = f"mixed_{layer}"
        for name, width in (("b0", b0), ("b1_a", b1_a), ("b2_a", b2_a), ("b3_b", b3)):
            convolution(f"{block}.conv_{name}", channels, width, (1, 1, 1))
        convolution(f"{block}.conv_b1_b", b1_a, b1_b, *apart)
        convolution(f"{block}.conv_b2_b", b2_a, b2_b, *apart)
        for number, width in enumerate((b0, b1_b, b2_b, b3)):
            linear(f"{block}.gating_b{number}.fc", width, width)
        channels = b0 + b1_b + b2_b + b3
    linear("fc", channels, thin(512))
    shapes["text_module.word_embd.weight"] = (words, thin(300))
    linear("text_module.fc1", thin(300), thin(2048))
    linear("text_module.fc2", thin(2048), thin(512))
    return shapes


def tiny_s3d() -> dict[str, Tensor]:
    """The tensors of an S3D that is 16 times thinner."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in s3d_shapes(16, len(WORDS) + 1).items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1)
            continue
        drawn = torch.randn(shape, generator=generator)
        inputs = drawn[0].numel() if drawn.ndim > 1 else 200
        state[name] = drawn.abs() + 0.2 if name.endswith("running_var") else drawn * (2 / inputs) ** 0.5
        if name.endswith("weight") and drawn.ndim == 1:  # of a norm
            state[name] = drawn * 0.2 + 1
    return state


def save_s3d(folder: Path) -> tuple[str, str]:
    """A checkpoint with its dictionary, as published."""
    weights, words = folder / "s3d_tiny.pth", folder / "s3d_dict.npy"
    torch.save(tiny_s3d(), weights)
    np.save(words, np.array(WORDS))
    return str(weights), str(words)


def save_xclip(folder: Path) -> str:
    """An X-CLIP of 4 frames."""
    tokenizer = clip_tokenizer()
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    text: dict[str, Any] = TOWER | ends | {"vocab_size": len(tokenizer), "max_position_embeddings": TEXT_LENGTH}
    vision: dict[str, Any] = TOWER | {"image_size": SIZE, "patch_size": 16, "num_frames": 4, "drop_path_rate": 0.0}
    vision |= {"mit_hidden_size": 16, "mit_intermediate_size": 24, "mit_num_attention_heads": 2}
    config = transformers.XCLIPConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=16,
        prompt_num_attention_heads=2,
        prompt_layers=2,
        prompt_alpha=0.5,
    )
    return save(folder, config, tokenizer, transformers.VideoMAEImageProcessor())
