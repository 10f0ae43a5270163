"""The frame encoder of dual encoders: network, pretraining and weight files."""

import json
import math
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lightning_vista.files.documents import parse_json
from lightning_vista.files.own_files import EMPTY_SEAL, SEAL_KEY, VERSION_KEY, DamagedFileError, is_sealed, write_sealed
from lightning_vista.metrics import macro_f1
from lightning_vista.optional import require
from lightning_vista.video import FrameSpec

#: Folder of the weights that ship with the package.
SHIPPED = Path(__file__).parents[1] / "weights"
_VERSION = "1"


def save_weights(module: nn.Module, settings: dict[str, Any], path: str | Path) -> None:
    """Write a module's weights in half precision, with the settings that rebuild the module.

    Args:
        module: Module to save.
        settings: Arguments of the module, as JSON values.
        path: File to write; its folder is created.
    """
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in module.state_dict().items()
    }
    metadata = {VERSION_KEY: _VERSION, SEAL_KEY: EMPTY_SEAL, "settings": json.dumps(settings)}
    write_sealed(path, save(state, metadata))


def frame_file(weights: str | None) -> str | None:
    """Return the file of a frame encoder's weights; `shipped` stands for the package's own, None for none."""
    return str(SHIPPED / "frames.safetensors") if weights == "shipped" else weights


def load_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check weights that `save_weights` wrote; those of an earlier release have no checksum.

    Args:
        path: File of weights.

    Returns:
        The settings, and the weights in single precision.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is damaged, or does not hold settings.

    Example:
        >>> settings, state = load_weights(SHIPPED / "frames.safetensors")
        >>> settings["tower"], state["norm.weight"].dtype
        ('small-cnn', torch.float32)
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No weights at {path}. Give a file that training wrote.")
    content, remedy = Path(path).read_bytes(), "Fetch it again, or train it again."
    sealed = is_sealed(content, path, remedy)
    try:
        state = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header.get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        raise DamagedFileError(f"{path} is not a file of weights ({error}). {remedy}") from error
    if VERSION_KEY in metadata and not sealed:
        raise DamagedFileError(f"{path} is damaged: it has no checksum. {remedy}")
    if "settings" not in metadata:
        raise ValueError(f"{path}: expected weights with settings, got none. Give a file that training wrote.")
    floats = {name: value.float() if value.dtype == torch.float16 else value for name, value in state.items()}
    try:
        return parse_json(metadata["settings"]), floats
    except ValueError as error:
        raise DamagedFileError(f"{path}: expected settings as JSON, got {error}. {remedy}") from error


#: Name of our own tower; all other names are timm's.
SMALL_CNN = "small-cnn"


class FrameEncoder(nn.Module):
    """An encoder of frames: the strongest response over all places, and the places that learned queries attend to.

    Args:
        tower: `small-cnn`, or the name of an image model of timm such as `vit_tiny_patch16_224`, with random weights.
        size: Height and width of the frames in pixels.
        dim: Number of features.
        num_queries: Number of learned queries.

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
    """Return a tower of 0.2 million weights for frames of about 96 pixels with objects of about 12 pixels."""
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
    """Return an image model of timm without its head."""
    timm = require("timm", extra="vlm")
    if not timm.is_model(name):
        close = get_close_matches(name, [SMALL_CNN, *timm.list_models()], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"`tower`: expected {SMALL_CNN!r} or a model of timm, got {name!r}.{hint}")
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
    """Return feature maps `(frames, channels, rows, columns)`, or tokens, as `(frames, places, channels)`."""
    return features if features.ndim == 3 else features.flatten(2).transpose(1, 2)


class FramePretraining(L.LightningModule):
    """The pretraining of a `FrameEncoder`: it learns the facts that are true in an image, from batches (images, facts).

    Args:
        num_facts: Number of facts.
        out: File for the encoder's weights after training; None writes no file.
        tower: Tower of the encoder, see `FrameEncoder`.
        size: Height and width of the images in pixels.
        dim: Number of features of the encoder.
        learning_rate: Highest AdamW learning rate; it rises for a tenth of the steps and then falls as a cosine.
        positive_weight: Weight of a true fact in the loss, relative to a false one; few facts are true.
        noise: Standard deviation of the pixel noise in grey levels, which stands in for compression artefacts.

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
        """Return the binary cross-entropy of all facts.

        Args:
            batch: Images `(images, 3, size, size)`, uint8, and facts `(images, facts)`, bool.
            batch_idx: Unused.

        Returns:
            The loss, a scalar.
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
        """Return AdamW with one cycle of the learning rate."""
        return one_cycle(self, self.learning_rate)

    def on_train_end(self) -> None:
        """Write the encoder's weights."""
        if self.out is not None and self.trainer.is_global_zero:
            save_weights(self.encoder, self.settings, self.out)

    def _loss(self, logits: Tensor, facts: Tensor) -> Tensor:
        weight = torch.where(facts, self.positive_weight, 1.0)
        return binary_cross_entropy_with_logits(logits.float(), facts.float(), weight)


def one_cycle(module: L.LightningModule, learning_rate: float) -> Any:  # one of Lightning's many forms
    """Return AdamW with a learning rate that rises for a tenth of all steps and then falls as a cosine.

    Args:
        module: Module to train, with its trainer attached.
        learning_rate: Highest learning rate.

    Returns:
        Optimizer and scheduler, as `configure_optimizers` returns them.
    """
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], learning_rate, weight_decay=0.01)
    steps = max(int(module.trainer.estimated_stepping_batches), 2)

    def share(step: int) -> float:
        rise, progress = (step + 1) / (0.1 * steps), min(step / steps, 1.0)
        return min(rise, 0.5 + 0.5 * math.cos(math.pi * progress))

    # Not OneCycleLR, which stores the number of steps in the checkpoint: such a run could not be extended.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
