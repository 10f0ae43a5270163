"""Evaluation on an accelerator: videos a second of scorers as large as CLIP-L and ViCLIP-L, with random weights."""

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from gpu_routing import synchronize
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class TowerSizes:
    """The sizes of a vision tower.

    Attributes:
        width: Width.
        layers: Number of blocks.
        heads: Number of heads.
        patch: Edge of a patch in pixels.
        size: Edge of a frame in pixels.
        dim: Width of an embedding.
    """

    width: int = 1024
    layers: int = 24
    heads: int = 16
    patch: int = 14
    size: int = 224
    dim: int = 768


class _Clips(Dataset[Tensor]):
    """Batches of random clips, as a datamodule's workers hand them over: uint8, decoded and resized."""

    def __init__(self, batches: int, batch: int, frames: int, size: int) -> None:
        self.batches = batches
        generator = torch.Generator().manual_seed(0)
        self.clips = torch.randint(0, 256, (batch, frames, 3, size, size), dtype=torch.uint8, generator=generator)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, number: int) -> Tensor:
        return self.clips.roll(number, dims=1)


def throughput(
    name: str, sizes: TowerSizes, device: torch.device, batch: int, frames: int, seconds: float, workers: int
) -> list[str]:
    """Score clips for some seconds: fetch, move, normalise, embed, multiply with 100 descriptions.

    Args:
        name: `CLIP` (each frame on its own) or `ViCLIP` (all frames together).
        sizes: Sizes of the vision tower.
        device: Device.
        batch: Number of videos in a batch.
        frames: Number of frames of a video.
        seconds: Time to measure.
        workers: Number of processes that hand over clips.

    Returns:
        Name, millions of parameters of the vision tower, videos a second, frames a second, share of the time in the
        model, and the peak of memory in GB.
    """
    with device:
        embed, parameters = {"CLIP": _clip, "ViCLIP": _viclip}[name](sizes, frames)
    texts = torch.nn.functional.normalize(torch.randn(100, sizes.dim, device=device), dim=-1)
    clips = _Clips(1_000_000, batch, frames, sizes.size)
    loader = DataLoader(clips, batch_size=None, num_workers=workers, pin_memory=device.type == "cuda")
    mean, std = (torch.full((3, 1, 1), value, device=device) for value in (122.0, 69.0))
    count, inside, start = 0, 0.0, 0.0
    for number, chunk in enumerate(loader):
        if number == 2:  # after a warm-up
            synchronize(device)
            start, count, inside = time.perf_counter(), 0, 0.0
        pixels = (chunk.to(device, non_blocking=True).float() - mean) / std
        synchronize(device)
        began = time.perf_counter()
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            videos = embed(pixels)
        synchronize(device)
        inside += time.perf_counter() - began
        (torch.nn.functional.normalize(videos.float(), dim=-1) @ texts.T).cpu()
        count += len(chunk)
        if number >= 3 and time.perf_counter() - start > seconds:
            break
    spent = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")
    rates = [f"{count / spent:,.1f}", f"{count * frames / spent:,.0f}", f"{inside / spent:.2f}"]
    return [name, f"{parameters / 1e6:,.0f}", *rates, f"{peak:.1f}"]


def _clip(sizes: TowerSizes, frames: int) -> tuple[Callable[[Tensor], Tensor], int]:
    """Return a function from pixels `(batch, frames, 3, height, width)` to embeddings, the mean over frames."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=sizes.width, intermediate_size=4 * sizes.width, num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads, patch_size=sizes.patch, image_size=sizes.size, projection_dim=sizes.dim,
    )  # fmt: skip
    model = CLIPVisionModelWithProjection(config).eval()

    def embed(pixels: Tensor) -> Tensor:
        embeddings: Tensor = model(pixel_values=pixels.flatten(0, 1)).image_embeds
        return embeddings.unflatten(0, pixels.shape[:2]).mean(dim=1)

    return embed, sum(parameter.numel() for parameter in model.parameters())


def _viclip(sizes: TowerSizes, frames: int) -> tuple[Callable[[Tensor], Tensor], int]:
    module = _viclip_module()
    patches = (sizes.size // sizes.patch) ** 2
    torch.manual_seed(0)
    model = module.VisionEncoder(
        module.ViCLIPSizes(
            vision_width=sizes.width,
            vision_layers=sizes.layers,
            patch_size=sizes.patch,
            num_patches=patches,
            num_frames=frames,
            text_width=sizes.dim,
            text_layers=1,
            vocabulary=2,
            text_length=2,
            dim=sizes.dim,
        )
    ).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)

    def embed(pixels: Tensor) -> Tensor:
        embeddings: Tensor = model(pixels)
        return embeddings

    return embed, sum(parameter.numel() for parameter in model.parameters())


def _viclip_module() -> ModuleType:
    """Load the file of the model alone: the package of scorers needs packages that read videos."""
    name = "viclip_model_alone"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, _ROOT / "lightning_vista" / "scorers" / "viclip_model.py")
        if spec is None or spec.loader is None:
            raise FileNotFoundError(f"{_ROOT}: expected the repository with lightning_vista/scorers/viclip_model.py.")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def scorers(sizes: TowerSizes, device: torch.device, batch: int, seconds: float, workers: int) -> Iterator[list[str]]:
    """Yield the throughput of both scorers with 8 frames a video."""
    settings: dict[str, Any] = {"batch": batch, "frames": 8, "seconds": seconds, "workers": workers}
    for name in ("CLIP", "ViCLIP"):
        yield throughput(name, sizes, device, **settings)
