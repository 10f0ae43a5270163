"""The frame encoder of dual encoders: its network, its pretraining, and files of weights."""

import json
import math
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lightning_vista.metrics import macro_f1
from lightning_vista.optional import require
from lightning_vista.video import FrameSpec

#: The weights that ship with the package.
SHIPPED = Path(__file__).parents[1] / "weights"


def save_weights(module: nn.Module, settings: dict[str, Any], path: str | Path) -> None:
    """Write a module's weights in half precision, with what rebuilds it.

    Args:
        module: The module.
        settings: Values that JSON can hold.
        path: The file to write; its folder is made.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in module.state_dict().items()
    }
    save_file(state, path, metadata={"settings": json.dumps(settings)})


def load_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read weights that `save_weights` wrote.

    Args:
        path: The file.

    Returns:
        The settings, and the weights in single precision.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no settings.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There are no weights at {path}: give a file that training wrote.")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # not a mapping
    if "settings" not in metadata:
        raise ValueError(f"{path} holds weights without settings: give a file that training wrote.")
    floats = {name: value.float() if value.dtype == torch.float16 else value for name, value in state.items()}
    return json.loads(metadata["settings"]), floats


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


class FramePretraining(L.LightningModule):
    """Trains a `FrameEncoder` to tell which facts are true in an image; batches are (images, facts).

    Args:
        num_facts: The number of facts.
        out: Where the encoder's weights are written when training ends; nowhere if None.
        tower: See `FrameEncoder`.
        size: See `FrameEncoder`.
        dim: See `FrameEncoder`.
        learning_rate: The highest rate of AdamW; it rises for a tenth of the steps and then falls as a cosine.
        positive_weight: How much a true fact counts, where a false one counts 1: few are true.
        noise: Standard deviation of the noise on pixels, in grey levels, in place of compression.

    Example:
        >>> FramePretraining(num_facts=10).frame_spec.num_frames
        1
    """

    positive_weight: Tensor

    def __init__(
        self,
        num_facts: int,
        out: str | None = None,
        tower: str = SMALL_CNN,
        size: int = 96,
        dim: int = 192,
        learning_rate: float = 3e-3,
        positive_weight: float = 5.0,
        noise: float = 4.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["out"])
        self.frame_spec = FrameSpec(num_frames=1, size=size)
        self.settings = {"tower": tower, "size": size, "dim": dim}
        self.encoder = FrameEncoder(tower, size, dim)
        self.facts = nn.Linear(dim, num_facts)
        self.out = out
        self.learning_rate, self.noise = learning_rate, noise
        self.register_buffer("positive_weight", torch.tensor(positive_weight))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The binary cross-entropy of all facts.

        Args:
            batch: Images, uint8 `(images, 3, size, size)`, and facts, bool `(images, facts)`.
            batch_idx: Not used.
        """
        images, facts = batch
        pixels = images.float()
        pixels = pixels + self.noise * torch.randn_like(pixels)
        loss = self._loss(self.facts(self.encoder(pixels)), facts)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the loss and the macro F1 over facts that occur; arguments as in `training_step`."""
        images, facts = batch
        logits = self.facts(self.encoder(images))
        self.log("val/loss", self._loss(logits, facts), prog_bar=True)
        self.log("val/macro_f1", macro_f1(logits > self.positive_weight.log(), facts).float(), prog_bar=True)

    def configure_optimizers(self) -> Any:  # one of Lightning's many forms
        """AdamW with one cycle of the learning rate."""
        return one_cycle(self, self.learning_rate)

    def on_train_end(self) -> None:
        """Write the encoder's weights."""
        if self.out is not None and self.trainer.is_global_zero:
            save_weights(self.encoder, self.settings, self.out)

    def _loss(self, logits: Tensor, facts: Tensor) -> Tensor:
        weight = torch.where(facts, self.positive_weight, 1.0)
        return binary_cross_entropy_with_logits(logits.float(), facts.float(), weight)


def one_cycle(module: L.LightningModule, learning_rate: float) -> Any:  # one of Lightning's many forms
    """AdamW whose learning rate rises for a tenth of all steps and then falls as a cosine."""
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], learning_rate, weight_decay=0.01)
    steps = max(int(module.trainer.estimated_stepping_batches), 2)

    def share(step: int) -> float:
        rise, progress = (step + 1) / (0.1 * steps), min(step / steps, 1.0)
        return min(rise, 0.5 + 0.5 * math.cos(math.pi * progress))

    # Not OneCycleLR: it keeps the number of steps in the checkpoint, so that a run could not be made longer.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
