"""Encodes single frames: any image tower, then pooling over places."""

import torch
from torch import Tensor, nn

from lightning_vista.optional import require

#: The name of our own tower, where other names are timm's.
SMALL_CNN = "small-cnn"


class FrameEncoder(nn.Module):
    """Features of frames: the strongest response over all places, and what some learned queries attend to.

    Args:
        tower: `small-cnn`, or any image model of timm, such as `vit_tiny_patch16_224`; from scratch.
        size: Height and width of the frames in pixels.
        dim: The number of features.
        num_queries: How many places can be attended to.

    Example:
        >>> FrameEncoder(size=96)(torch.zeros(5, 3, 96, 96, dtype=torch.uint8)).shape
        torch.Size([5, 192])
    """

    def __init__(self, tower: str = SMALL_CNN, size: int = 96, dim: int = 192, num_queries: int = 2) -> None:
        super().__init__()
        self.tower = small_cnn() if tower == SMALL_CNN else _timm_tower(tower, size)
        channels = _places(self.tower.eval()(torch.zeros(1, 3, size, size))).shape[2]
        self.tower.train()
        self.attention = nn.Linear(channels, num_queries)
        self.project = nn.Linear(channels * (1 + num_queries), dim)
        self.norm = nn.LayerNorm(dim)
        self.dim = dim

    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames.

        Args:
            frames: RGB `(frames, 3, size, size)`, uint8, or floats in [0, 255].

        Returns:
            Float32 features `(frames, dim)`.
        """
        dtype = self.project.weight.dtype
        pixels = (frames.to(dtype) / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        places = _places(self.tower(pixels))
        weights = self.attention(places).softmax(dim=1)
        attended = torch.einsum("fpq,fpc->fqc", weights, places).flatten(1)
        features: Tensor = self.norm(self.project(torch.cat([places.amax(dim=1), attended], dim=1)))
        return features.float()


def small_cnn() -> nn.Module:
    """A tower of 0.2 million weights for frames of about 96 pixels whose things are about 12 pixels large."""
    shapes = [
        (3, 32, 4, 4, 0, 1),
        (32, 64, 5, 3, 1, 1),
        (64, 96, 3, 1, 1, 1),
        (96, 128, 3, 1, 2, 2),
        (128, 160, 1, 1, 0, 1),
    ]
    layers: list[nn.Module] = []
    for inputs, outputs, kernel, stride, padding, dilation in shapes:
        layers.append(nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False))
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def _timm_tower(name: str, size: int) -> nn.Module:
    """An image model of timm without its head."""
    timm = require("timm", extra="vlm")
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.split('_')[0]}*")[:5]
        raise ValueError(f"tower: expected {SMALL_CNN!r} or a model of timm, got {name!r}; timm has, e.g., {close}.")
    arguments = {"img_size": size} if "vit" in name or "swin" in name else {}
    return _TimmTower(timm.create_model(name, pretrained=False, num_classes=0, **arguments))


class _TimmTower(nn.Module):
    """The features of a timm model before it pools them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.model.forward_features(pixels)  # type: ignore[operator] # timm has no types
        return features


def _places(features: Tensor) -> Tensor:
    """Feature maps `(frames, channels, rows, columns)` or tokens, as `(frames, places, channels)`."""
    return features if features.ndim == 3 else features.flatten(2).transpose(1, 2)
