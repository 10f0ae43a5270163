"""Autoencoder whose encoding is split between groups of data, and its losses."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import lightning as L
import torch
from torch import Tensor, nn

from lightning_vista.drawing.boards import log_picture
from lightning_vista.drawing.pictures import tile_pictures
from lightning_vista.metrics.group_means import GroupMeans


def reconstruction_loss(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return the mean absolute error of each image.

    Args:
        reconstruction: Output of a decoder, `(batch, channels, height, width)`.
        image: Target images of the same shape.

    Returns:
        One error per image, `(batch,)`.

    Example:
        >>> import torch
        >>> reconstruction_loss(torch.ones(2, 1, 4, 4), -torch.ones(2, 1, 4, 4))
        tensor([2., 2.])
    """
    return (reconstruction - image).abs().flatten(1).mean(dim=1)


def l1_penalty(encoding: Tensor) -> Tensor:
    """Return the sum over units of their absolute values, averaged over the batch.

    Args:
        encoding: Encodings, `(batch, units)`.

    Returns:
        A scalar, at least 0.

    Example:
        >>> import torch
        >>> l1_penalty(torch.tensor([[1.0, -2.0], [0.0, 1.0]]))
        tensor(2.)
    """
    return encoding.abs().sum(dim=1).mean()


def correlation_penalty(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean absolute correlation over a batch between units of one half and units of the other.

    Args:
        first: One half of the encoding, `(batch, units)`.
        second: The other half, `(batch, other_units)`.

    Returns:
        A scalar between 0 and 1. A constant unit has a correlation of 0.

    Example:
        >>> import torch
        >>> unit = torch.tensor([[1.0], [2.0], [4.0]])
        >>> correlation_penalty(unit, torch.cat([-unit, torch.ones(3, 1)], dim=1))
        tensor(0.5000)
    """
    return (_standardize(first).T @ _standardize(second)).abs().mean() / len(first)


def _standardize(units: Tensor) -> Tensor:
    centred = units - units.mean(dim=0)
    return centred / centred.square().mean(dim=0).clamp(min=1e-12).sqrt()


Batch = Mapping[str, Tensor]


class PartitionAutoencoder(L.LightningModule):
    """Autoencoder with two *certificates*: decoders that learn to reconstruct any image from one half of the encoding.

    The certificates see detached halves. They change nothing, and show what information a half contains. This module
    does not route. A `GradientRouting` callback on `bottleneck` does so; without it this is an ordinary autoencoder.
    The encoding passes the bottleneck on its way to the decoder. The penalties see the encoding before it: so the L1
    penalty reaches both halves with every image, and empties a half without information about the image. Batches are
    `{"image": (batch, channels, height, width) in [-1, 1], "label": (batch,)}`.

    A test logs mean absolute errors as `test/<name>/<group>` and `test/<name>/class_<n>`, where `<name>` is `decoder`
    or `<group>_certificate`. `test/ratio/<group>` is the error of the other half's certificate over that of the group's
    own half, on the same images of the group: 1 if both halves contain the same information. `reconstructions.png`
    shows one image per class above its reconstructions by the decoder and the certificates.

    Args:
        image_shape: Channels, height and width.
        groups: Classes of the two groups, in the order of their halves.
        hidden_sizes: Widths of the encoder's hidden layers; the decoders mirror them.
        encoding_size: Number of units of the encoding, which must be even.
        split_decoders: Whether each half has a decoder of its own for the images of its group, in place of one decoder
            that sees both halves.
        l1_weight: Weight of the L1 penalty on the encoding in the loss.
        correlation_weight: Weight of the correlation between the halves in the loss.
        learning_rate: Adam learning rate.
        weight_decay: Adam weight decay.

    Raises:
        ValueError: If the number of groups is not 2, or `encoding_size` is odd.

    Example:
        >>> model = PartitionAutoencoder((1, 8, 8), {"low": [0, 1], "high": [2, 3]}, hidden_sizes=[32])
        >>> model(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 32])
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        groups: dict[str, list[int]],
        hidden_sizes: Sequence[int] = (256, 64),
        encoding_size: int = 32,
        split_decoders: bool = False,
        l1_weight: float = 3e-3,
        correlation_weight: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 5e-5,
    ) -> None:
        super().__init__()
        if len(groups) != 2 or encoding_size % 2:
            raise ValueError(
                f"`groups`, `encoding_size`: expected two groups and an even number, got {list(groups)} and "
                f"{encoding_size}."
            )
        self.groups, self.half_size = groups, encoding_size // 2
        self.l1_weight, self.correlation_weight = l1_weight, correlation_weight
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        sizes = [torch.Size(image_shape).numel(), *hidden_sizes]
        mirrored = sizes[::-1]
        self.encoder = nn.Sequential(
            nn.Flatten(), *dense_layers(sizes), nn.ReLU(), nn.Linear(sizes[-1], encoding_size, bias=False)
        )
        self.bottleneck = nn.Identity()
        inputs = [self.half_size, self.half_size] if split_decoders else [encoding_size]
        self.decoders = nn.ModuleList(_decoder([size, *mirrored], image_shape) for size in inputs)
        self.certificates = nn.ModuleDict(
            {group: _decoder([self.half_size, *mirrored], image_shape) for group in groups}
        )
        classes = {f"class_{label}": [label] for members in groups.values() for label in members}
        self.test_means = GroupMeans(["decoder", *(f"{group}_certificate" for group in groups)], {**groups, **classes})
        self._shown: dict[int, Tensor] = {}

    def forward(self, image: Tensor) -> Tensor:
        """Return the encoding, `(batch, encoding_size)`, with the half of the first group first."""
        encoding: Tensor = self.encoder(image)
        return encoding

    def reconstruct(self, encoding: Tensor, label: Tensor) -> Tensor:
        """Return the decoder's images. Of split decoders, the one of an image's own group decodes it.

        Args:
            encoding: Encodings, `(batch, encoding_size)`.
            label: Classes, `(batch,)`.

        Returns:
            Images in the range of the inputs, `(batch, channels, height, width)`.
        """
        encoding = self.bottleneck(encoding)
        if len(self.decoders) == 1:
            images: Tensor = self.decoders[0](encoding)
            return images
        first, second = (decode(half) for decode, half in zip(self.decoders, self._halves(encoding), strict=True))
        in_first = torch.isin(label, label.new_tensor(next(iter(self.groups.values()))))
        return torch.where(in_first[:, None, None, None], first, second)

    def certify(self, encoding: Tensor) -> list[Tensor]:
        """Return the reconstructions of each certificate from its half, without gradient to the encoding."""
        halves = self._halves(encoding.detach())
        return [decode(half) for decode, half in zip(self.certificates.values(), halves, strict=True)]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the errors of decoder and certificates, plus the two penalties."""
        encoding = self(batch["image"])
        losses = {
            name: loss.mean() for name, loss in zip(self.test_means.figures, self._errors(encoding, batch), strict=True)
        }
        losses["l1"] = self.l1_weight * l1_penalty(encoding)
        losses["correlation"] = self.correlation_weight * correlation_penalty(*self._halves(encoding))
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, on_step=False, on_epoch=True)
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the errors of decoder and certificates over all images."""
        errors = self._errors(self(batch["image"]), batch)
        for name, error in zip(self.test_means.figures, errors, strict=True):
            self.log(f"val/{name}", error.mean(), batch_size=len(error), sync_dist=True)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect errors per class, and the first image of each class to show."""
        self.test_means.update(self._errors(self(batch["image"]), batch), batch["label"])
        for image, label in zip(batch["image"], batch["label"].tolist(), strict=True):
            self._shown.setdefault(label, image)

    def on_test_epoch_end(self) -> None:
        """Log the collected errors, and draw the reconstructions."""
        means = self.test_means.compute()
        first, second = self.groups
        for own, other in ((first, second), (second, first)):
            means[f"ratio/{own}"] = means[f"{other}_certificate/{own}"] / means[f"{own}_certificate/{own}"]
        self.log_dict({f"test/{name}": mean.float() for name, mean in means.items()})
        self.test_means.reset()
        log_picture(self.trainer, "reconstructions", self._picture())
        self._shown = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam, as in the paper."""
        return torch.optim.Adam(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)

    def _halves(self, encoding: Tensor) -> tuple[Tensor, Tensor]:
        return encoding[:, : self.half_size], encoding[:, self.half_size :]

    def _errors(self, encoding: Tensor, batch: Batch) -> Tensor:
        """Return the errors of decoder and certificates, `(3, batch)`."""
        made = [self.reconstruct(encoding, batch["label"]), *self.certify(encoding)]
        return torch.stack([reconstruction_loss(images, batch["image"]) for images in made])

    def _picture(self) -> Tensor:
        labels = sorted(self._shown)
        images = torch.stack([self._shown[label] for label in labels])
        encoding = self(images)
        made = [self.reconstruct(encoding, torch.tensor(labels, device=images.device)), *self.certify(encoding)]
        return tile_pictures([images, *made])


def dense_layers(sizes: Sequence[int]) -> Iterator[nn.Module]:
    """Yield linear layers between these widths, with ReLU between them.

    Args:
        sizes: Widths, from the input's to the output's.

    Yields:
        The layers in order.

    Example:
        >>> nn.Sequential(*dense_layers([64, 32, 10]))(torch.zeros(5, 64)).shape
        torch.Size([5, 10])
    """
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        if number:
            yield nn.ReLU()
        yield nn.Linear(inputs, outputs)


def _decoder(sizes: Sequence[int], image_shape: Sequence[int]) -> nn.Module:
    return nn.Sequential(*dense_layers(sizes), nn.Unflatten(1, tuple(image_shape)))
