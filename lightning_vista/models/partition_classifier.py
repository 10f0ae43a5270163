"""Classifier whose units are split between groups of classes, and readings of its units."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_vista.metrics.group_means import GroupMeans
from lightning_vista.optional import require


@contextmanager
def mean_ablated(module: nn.Module, units: Tensor, means: Tensor, dim: int = 1) -> Iterator[None]:
    """Replace units of a module's output by their means within this context.

    Args:
        module: A module that returns one tensor.
        units: Mask of the units, bool `(units,)`.
        means: Value of each unit, `(units,)`.
        dim: Dimension of the units.

    Example:
        >>> layer = nn.Identity()
        >>> with mean_ablated(layer, torch.tensor([True, False]), torch.tensor([5.0, 6.0])):
        ...     layer(torch.zeros(1, 2))
        tensor([[5., 0.]])
    """

    def replace(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return torch.where(units, means.to(output), output.movedim(dim, -1)).movedim(-1, dim)

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def pool_units(output: Tensor, dim: int = 1) -> Tensor:
    """Average a module's output over everything but samples and units.

    Args:
        output: Output of the module, `(batch, ...)` with the units at `dim`.
        dim: Dimension of the units.

    Returns:
        `(batch, units)`.

    Example:
        >>> pool_units(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3])
    """
    return output.movedim(dim, -1).reshape(len(output), -1, output.shape[dim]).mean(dim=1)


class LinearProbe:
    """Linear probe for classes: ridge regression onto one-hot labels, in closed form.

    Args:
        features: Features, `(samples, features)`.
        labels: Classes, `(samples,)`.
        num_classes: Number of classes.
        penalty: Ridge penalty, in units of a standardized feature's variance.

    Example:
        >>> features = torch.tensor([[0.0], [0.1], [0.9], [1.0]])
        >>> LinearProbe(features, torch.tensor([0, 0, 1, 1]), num_classes=2).predict(features)
        tensor([0, 0, 1, 1])
    """

    def __init__(self, features: Tensor, labels: Tensor, num_classes: int, penalty: float = 1e-3) -> None:
        self._mean = features.double().mean(dim=0)
        self._scale = features.double().std(dim=0).clamp(min=1e-6)
        inputs = self._standardize(features)
        targets = torch.nn.functional.one_hot(labels, num_classes).to(inputs)
        self._bias = targets.mean(dim=0)
        ridge = penalty * len(inputs) * torch.eye(inputs.shape[1]).to(inputs)
        self._weight = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ (targets - self._bias))

    def predict(self, features: Tensor) -> Tensor:
        """Return the most probable class of each sample.

        Args:
            features: Features, `(samples, features)`.

        Returns:
            Classes, `(samples,)`.
        """
        scores: Tensor = self._standardize(features) @ self._weight + self._bias
        return scores.argmax(dim=1)

    def _standardize(self, features: Tensor) -> Tensor:
        return (features.double() - self._mean) / self._scale


def training_features(model: L.LightningModule, encode: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Encode the training images of a model's datamodule.

    Args:
        model: Model with a trainer.
        encode: Encoder of images, `(batch, channels, height, width)`, as `(batch, features)`.

    Returns:
        Features `(images, features)` and classes `(images,)` on the model's device.

    Raises:
        ValueError: If the trainer has dataloaders in place of a datamodule.
    """
    datamodule = getattr(model.trainer, "datamodule", None)
    if datamodule is None:
        raise ValueError(
            "`datamodule`: expected one, whose training images the test needs, got dataloaders. Pass a datamodule to "
            "the trainer."
        )
    seen = []
    for batch in datamodule.train_dataloader():
        image, label = batch["image"].to(model.device), batch["label"].to(model.device)
        seen.append((encode(image), label))
    features, labels = (torch.cat(parts) for parts in zip(*seen, strict=True))
    return features, labels


Batch = Mapping[str, Tensor]


class PartitionClassifier(L.LightningModule):
    """Classifier of timm, with a test of what each group's share of a stage's units contributes.

    Each group of classes owns an equal share of the stage's units, in order. This module does not route. A
    `GradientRouting` callback on `network.<stage>` does so; without it this is an ordinary classifier. Batches are
    `{"image": (batch, channels, height, width), "label": (batch,)}`.

    A test logs accuracies on the images of each group: `test/full/<group>` with all units;
    `test/without_<owner>/<group>` with the owner's units at their means over the training images;
    `test/probe_<owner>/<group>` of a linear probe that is fitted to the owner's units on the training images. A probe
    may find information that the network does not use.

    Args:
        network: Name of a model of timm, such as `resnet18`.
        stage: Name of the module to split, such as `layer4`.
        groups: Classes of each group; every class from 0 on is in exactly one group.
        image_channels: Number of channels of the images.
        small_images: Whether a ResNet begins without shrinking the image: with a 3x3 convolution of stride 1, and
            without pooling.
        dim: Dimension of the stage's units: 1 for channels, -1 for the width of a transformer.
        learning_rate: Adam learning rate.
        network_options: Further options of `timm.create_model`, such as `img_size`.

    Raises:
        ModuleNotFoundError: If timm is missing; the message names the extra.
        ValueError: If the groups do not contain every class exactly once, or `small_images` does not fit the network.
    """

    def __init__(
        self,
        network: str,
        stage: str,
        groups: dict[str, list[int]],
        image_channels: int = 3,
        small_images: bool = False,
        dim: int = 1,
        learning_rate: float = 1e-3,
        network_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = sum(len(classes) for classes in groups.values())
        classes = sorted(label for members in groups.values() for label in members)
        if classes != list(range(self.num_classes)):
            raise ValueError(f"`groups`: expected every class from 0 on in exactly one group, got {classes}.")
        create = partial(require("timm", "studies").create_model, network, in_chans=image_channels)
        self.network: nn.Module = create(num_classes=self.num_classes, **(network_options or {}))
        if small_images:
            keep_small_images(self.network)
        self.network.get_submodule(stage)  # a wrong name should fail now, not in the test
        self.stage, self.dim = stage, dim
        self.groups, self.learning_rate = groups, learning_rate
        readings = ["full", *(f"{kind}_{group}" for kind in ("without", "probe") for group in groups)]
        self.test_means = GroupMeans(readings, groups)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits, `(batch, classes)`."""
        logits: Tensor = self.network(image)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the cross-entropy."""
        loss = cross_entropy(self(batch["image"]), batch["label"])
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log cross-entropy and accuracy."""
        logits = self(batch["image"])
        self.log("val/loss", cross_entropy(logits, batch["label"]), sync_dist=True)
        self.log("val/accuracy", (logits.argmax(dim=1) == batch["label"]).float().mean(), prog_bar=True, sync_dist=True)

    @torch.no_grad()
    def on_test_start(self) -> None:
        """Compute the units' means over the training images, and fit a probe to each group's units."""
        units, labels = training_features(self, self._units)
        self._means = units.mean(dim=0)
        # Groups own equal shares of the units in order, as the regions of the route must do.
        shares = torch.arange(units.shape[1], device=self.device).tensor_split(len(self.groups))
        self._shares = [torch.isin(torch.arange(units.shape[1], device=self.device), share) for share in shares]
        self._probes = [LinearProbe(units[:, share], labels, self.num_classes) for share in self._shares]

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Classify with all units, without each group's units, and from each group's units alone."""
        image, label = batch["image"], batch["label"]
        predictions = [self(image).argmax(dim=1)]
        for share in self._shares:
            with mean_ablated(self._stage, share, self._means, self.dim):
                predictions.append(self(image).argmax(dim=1))
        units = self._units(image)
        predictions += [probe.predict(units[:, share]) for probe, share in zip(self._probes, self._shares, strict=True)]
        self.test_means.update(torch.stack(predictions) == label, label)

    def on_test_epoch_end(self) -> None:
        """Log the accuracies."""
        self.log_dict({f"test/{name}": mean.float() for name, mean in self.test_means.compute().items()})
        self.test_means.reset()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), self.learning_rate)

    @property
    def _stage(self) -> nn.Module:
        return self.network.get_submodule(self.stage)

    def _units(self, image: Tensor) -> Tensor:
        """Return the stage's units, averaged over positions, `(batch, units)`."""
        seen: list[Tensor] = []
        handle = self._stage.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        try:
            self(image)
        finally:
            handle.remove()
        return pool_units(seen[0], self.dim)


def keep_small_images(network: nn.Module) -> None:
    """Replace the beginning of a ResNet of timm, so that it does not shrink the image.

    Args:
        network: Network, which is changed.

    Raises:
        ValueError: If the network does not begin like a ResNet, with `conv1` and `maxpool`.
    """
    old = getattr(network, "conv1", None)
    if not isinstance(old, nn.Conv2d) or not hasattr(network, "maxpool"):
        raise ValueError(
            f"`small_images`: expected a ResNet with `conv1` and `maxpool`, got {type(network).__name__}. Set it to "
            "false, and the size of the images in `network_options` if the network has such an option."
        )
    network.conv1 = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
