"""Variational autoencoder with few latents, and readings of what each latent means."""

from collections.abc import Mapping, Sequence
from functools import partial

import lightning as L
import torch
from torch import Tensor, nn

from lightning_vista.drawing.boards import log_picture
from lightning_vista.drawing.pictures import tile_pictures
from lightning_vista.models.partition_autoencoder import dense_layers
from lightning_vista.models.partition_classifier import LinearProbe, training_features
from lightning_vista.optional import require

#: Ends and number of the values of a latent in a traversal; the standard deviation of the prior is 1.
_TRAVERSAL = (-3.0, 3.0, 13)


def latent_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of each latent's normal distribution from the standard one.

    Args:
        mean: Means, `(batch, latents)`.
        log_variance: Logarithms of the variances, `(batch, latents)`.

    Returns:
        Nats, `(batch, latents)`, at least 0: 0 for a latent that says nothing about the image.

    Example:
        >>> latent_divergence(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2))
        tensor([[0., 2.]])
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def match_latents(chosen: Tensor, labels: Tensor, num_latents: int) -> Tensor:
    """Return the class of each latent in the one-to-one match that is right for the most images.

    Args:
        chosen: Latent that stands out for each image, `(images,)`.
        labels: Class of each image, `(images,)`, below `num_latents`.
        num_latents: Number of latents, and of classes.

    Returns:
        Classes, `(num_latents,)`.

    Raises:
        ModuleNotFoundError: If scipy is missing; the message names the extra.

    Example:
        >>> match_latents(torch.tensor([1, 1, 0, 0, 2]), torch.tensor([0, 0, 1, 2, 2]), num_latents=3)
        tensor([1, 0, 2])
    """
    counts = torch.bincount(chosen * num_latents + labels, minlength=num_latents**2).view(num_latents, num_latents)
    _, classes = require("scipy.optimize", "vista").linear_sum_assignment(counts.cpu().numpy(), maximize=True)
    return torch.from_numpy(classes).to(labels)


class LatentSampler(nn.Module):
    """Sampler of latents: `mean + deviation * noise` in training, the mean otherwise."""

    def forward(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Return latents, `(batch, latents)`, that pass gradients to both arguments."""
        if not self.training:
            return mean
        return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()


Batch = Mapping[str, Tensor]


class VariationalAutoencoder(L.LightningModule):
    """Variational autoencoder with as many latents as classes, and a test of whether each latent means one class.

    The loss is the squared error of the pixels plus `beta` times the divergence of the latents, per image. No label
    enters it. This module does not route. A `GradientRouting` callback on `latent` can let each class train one latent;
    without it this is an ordinary variational autoencoder. The divergence is taken before `latent`, so that it reaches
    all latents with every image: it empties those that may not learn to reconstruct the image. Batches are
    `{"image": (batch, channels, height, width) in [-1, 1], "label": (batch,)}`.

    Validation and test log under `val/` and `test/`, with the means as latents:

    - `accuracy`: share of images for which the latent with the largest divergence has the number of the class. Nothing
      is fitted.
    - `matched_accuracy`: the same after `match_latents` on the training images.
    - `probe_accuracy`: of a linear probe of all latents, fitted to the training images.
    - `error`: mean squared error of the pixels.
    - `divergence`: nats per image, over all latents.
    - `traversal_accuracy`: share of latents that draw the class they are matched with, at -3 or at 3 while all others
      are 0, as read by a linear probe of the pixels that is fitted to the training images.

    A test draws `traversals.png`: one row per latent, in the order of the matched classes, from -3 to 3.

    Args:
        image_shape: Channels, height and width.
        hidden_sizes: Widths of the encoder's hidden layers; the decoder mirrors them.
        num_latents: Number of latents, and of classes.
        beta: Weight of the divergence in the loss.
        learning_rate: Adam learning rate.

    Example:
        >>> model = VariationalAutoencoder((1, 8, 8), hidden_sizes=[32])
        >>> mean, log_variance = model(torch.zeros(5, 1, 8, 8))
        >>> mean.shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        hidden_sizes: Sequence[int] = (256, 128),
        num_latents: int = 10,
        beta: float = 0.1,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__()
        self.num_latents, self.beta, self.learning_rate = num_latents, beta, learning_rate
        sizes = [torch.Size(image_shape).numel(), *hidden_sizes]
        # The first half of the output is the means, the second the logarithms of the variances.
        self.encoder = nn.Sequential(nn.Flatten(), *dense_layers([*sizes, 2 * num_latents]))
        self.latent = LatentSampler()
        self.decoder = nn.Sequential(*dense_layers([num_latents, *sizes[::-1]]), nn.Unflatten(1, tuple(image_shape)))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and logarithms of variances of the latents, each `(batch, num_latents)`."""
        mean, log_variance = self.encoder(image).chunk(2, dim=1)
        return mean, log_variance

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the squared error plus the weighted divergence, as a mean over images."""
        mean, log_variance = self(batch["image"])
        made: Tensor = self.decoder(self.latent(mean, log_variance))
        error = (made - batch["image"]).square().flatten(1).sum(dim=1).mean()
        divergence = latent_divergence(mean, log_variance).sum(dim=1).mean()
        self.log_dict({"train/error": error, "train/divergence": divergence}, on_step=False, on_epoch=True)
        return error + self.beta * divergence

    def on_validation_start(self) -> None:
        """Match latents and fit probes on the training images."""
        self._fit_readings()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the readings of validation images."""
        self._log_readings("val", batch)

    def on_test_start(self) -> None:
        """Match latents and fit probes on the training images."""
        self._fit_readings()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the readings of test images."""
        self._log_readings("test", batch)

    def on_test_epoch_end(self) -> None:
        """Draw the traversals, in the order of the matched classes."""
        rows = self.traverse(torch.linspace(*_TRAVERSAL, device=self.device))
        log_picture(self.trainer, "traversals", tile_pictures([rows[latent] for latent in self._classes.argsort()]))

    @torch.no_grad()
    def traverse(self, values: Tensor) -> Tensor:
        """Return decoded images of each latent at each value, with all other latents at 0.

        Args:
            values: The values, `(values,)`.

        Returns:
            Images, `(num_latents, values, channels, height, width)`.
        """
        latents = torch.eye(self.num_latents, device=values.device)[:, None] * values[:, None]
        images: Tensor = self.decoder(latents.flatten(0, 1))
        return images.reshape(self.num_latents, len(values), *images.shape[1:])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), self.learning_rate)

    @torch.no_grad()
    def _fit_readings(self) -> None:
        pixels, labels = training_features(self, partial(torch.flatten, start_dim=1))
        mean, log_variance = self(pixels)
        chosen = latent_divergence(mean, log_variance).argmax(dim=1)
        self._classes = match_latents(chosen, labels, self.num_latents)
        self._probe = LinearProbe(mean, labels, self.num_latents)
        self._pixel_probe = LinearProbe(pixels, labels, self.num_latents)

    def _log_readings(self, stage: str, batch: Batch) -> None:
        image, label = batch["image"], batch["label"]
        mean, log_variance = self(image)
        divergence = latent_divergence(mean, log_variance)
        chosen = divergence.argmax(dim=1)
        predictions = {"": chosen, "matched_": self._classes[chosen], "probe_": self._probe.predict(mean)}
        readings = {f"{kind}accuracy": (found == label).float().mean() for kind, found in predictions.items()}
        readings["error"] = (self.decoder(self.latent(mean, log_variance)) - image).square().mean()
        readings["divergence"] = divergence.sum(dim=1).mean()
        readings["traversal_accuracy"] = self._traversal_accuracy()
        named = {f"{stage}/{name}": value for name, value in readings.items()}
        self.log_dict(named, batch_size=len(label), sync_dist=True)

    def _traversal_accuracy(self) -> Tensor:
        """Return the share of latents that draw their class at one of the two ends."""
        drawn = self.traverse(torch.tensor(_TRAVERSAL[:2], device=self.device)).flatten(2)
        found = torch.stack([self._pixel_probe.predict(images) for images in drawn.unbind(1)], dim=1)
        return (found == self._classes[:, None]).any(dim=1).float().mean()
