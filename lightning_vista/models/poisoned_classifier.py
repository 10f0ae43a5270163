"""Classifier with a branch for poison, which is cut off after training."""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss

from lightning_vista.metrics.group_means import GroupMeans
from lightning_vista.models.partition_classifier import keep_small_images
from lightning_vista.models.warmup_cosine import warmup_cosine
from lightning_vista.optional import require
from lightning_vista.options import check_word

Combination = Literal["mixture", "sum"]
Batch = Mapping[str, Tensor]


class PoisonedClassifier(L.LightningModule):
    """Classifier whose branch is to take up the poison in its training data, so that it can be cut off.

    `body` turns images into features, `core` and `branch` turn features into logits. The branch does not train the
    body. While training, both are combined, and a `GradientRouting` callback with routes on `core` and `branch` decides
    which images train which; calls of the module use the core only, as after cutting the branch.

    Images that train both parts do so in one of two ways. As a "mixture", `p(class) = (1 - w) p_core + w p_branch`, the
    parts compete: an image trains each part as far as that part explains its label. As a "sum" of logits they
    cooperate: what the branch knows about an image, the core need not learn.

    Batches are those of `PoisonedImagesDataModule`. Validation and test log `clean`, the accuracy on clean images;
    `healed`, the accuracy on triggered ones; and `attack`, the share of triggered images that get the poison's label.

    Args:
        network: "mlp" for a hidden layer of `width` units as the body, or the name of a convolutional network of timm.
        image_shape: Channels, height and width of the images.
        num_classes: Number of classes.
        width: Number of hidden units of the core.
        branch_width: Number of hidden units of the branch; 0 for none.
        combination: Combination of core and branch in training.
        branch_share: Prior probability `w` of the branch in a mixture, between 0 and 1.
        learning_rate: Highest AdamW learning rate.
        branch_rate: Learning rate of the branch, relative to that of the rest.
        weight_decay: AdamW weight decay.
        small_images: Whether a ResNet begins without shrinking the image, see `keep_small_images`.
        network_options: Further options of `timm.create_model`.

    Raises:
        ValueError: If `combination` is another word, or `branch_share` is not between 0 and 1.
    """

    def __init__(
        self,
        network: str = "mlp",
        image_shape: Sequence[int] = (1, 8, 8),
        num_classes: int = 10,
        width: int = 128,
        branch_width: int = 0,
        combination: Combination = "mixture",
        branch_share: float = 0.3,
        learning_rate: float = 2e-3,
        branch_rate: float = 1.0,
        weight_decay: float = 0.01,
        small_images: bool = False,
        network_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_word("combination", combination, get_args(Combination))
        if not 0 < branch_share < 1:
            raise ValueError(f"`branch_share`: expected a number between 0 and 1, got {branch_share}.")
        self.body: nn.Module
        if network == "mlp":
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), width), nn.ReLU())
        else:
            create = require("timm", "studies").create_model
            self.body = create(network, in_chans=image_shape[0], num_classes=0, **(network_options or {}))
            if small_images:
                keep_small_images(self.body)
        features = width if network == "mlp" else int(getattr(self.body, "num_features", 0))
        self.core = _two_layers(features, width, num_classes)
        self.branch = _two_layers(features, branch_width, num_classes) if branch_width else None
        if self.branch is not None and combination == "sum":
            nn.init.zeros_(self.branch.get_parameter("out.weight"))  # at first almost silent, as after `add_branch`
        self.combination, self.branch_share = combination, branch_share
        self.learning_rate, self.branch_rate, self.weight_decay = learning_rate, branch_rate, weight_decay
        groups = {"clean": [0], "triggered": [1]}
        self.val_means, self.test_means = (GroupMeans(["right", "lured"], groups) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of the core, `(batch, classes)`."""
        logits: Tensor = self.core(self.body(image))
        return logits

    def loss(self, batch: Batch) -> Tensor:
        """Return the cross-entropy of core and branch together, a scalar."""
        features = self.body(batch["image"])
        core, label = self.core(features), batch["label"]
        if self.branch is None:
            return cross_entropy(core, label)
        # Features are for the core to learn: poison would reach the body through the branch.
        branch = self.branch(features.detach())
        if self.combination == "sum":
            return cross_entropy(core + branch, label)
        return nll_loss(mixture(core, branch, self.branch_share), label)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss."""
        loss = self.loss(batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Classify by the core."""
        self._add(self.val_means, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Classify by the core."""
        self._add(self.test_means, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the accuracies."""
        self._log("val", self.val_means)

    def on_test_epoch_end(self) -> None:
        """Log the accuracies."""
        self._log("test", self.test_means)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW, with a rate of its own for the branch, and a cosine schedule."""
        groups: list[dict[str, Any]] = [{"params": [*self.body.parameters(), *self.core.parameters()]}]
        if self.branch is not None:
            groups.append({"params": self.branch.parameters(), "lr": self.learning_rate * self.branch_rate})
        optimizer = torch.optim.AdamW(groups, self.learning_rate, weight_decay=self.weight_decay)
        schedule = warmup_cosine(optimizer, 0, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _add(self, means: GroupMeans, batch: Batch) -> None:
        classes = self(batch["image"]).argmax(dim=1)
        means.update(torch.stack([classes == batch["label"], classes == batch["lure"]]), batch["triggered"].long())

    def _log(self, stage: str, means: GroupMeans) -> None:
        names = {"clean": "right/clean", "healed": "right/triggered", "attack": "lured/triggered"}
        values = means.compute()
        self.log_dict({f"{stage}/{name}": values[figure].float() for name, figure in names.items()}, prog_bar=True)
        means.reset()


def mixture(core: Tensor, branch: Tensor, branch_share: float) -> Tensor:
    """Return the log-probabilities of a mixture of two classifiers.

    The gradient of a label's log-probability reaches each classifier times its *responsibility*, its share of the
    label's probability: what one classifier explains, the other need not learn.

    Args:
        core: Logits, `(batch, classes)`.
        branch: Logits, `(batch, classes)`.
        branch_share: Prior probability of the branch, between 0 and 1.

    Returns:
        Log-probabilities, `(batch, classes)`.

    Example:
        >>> mixture(torch.tensor([[0.0, 50.0]]), torch.tensor([[50.0, 0.0]]), branch_share=0.25).exp()
        tensor([[0.2500, 0.7500]])
    """
    of_core, of_branch = core.log_softmax(dim=-1), branch.log_softmax(dim=-1)
    return torch.logaddexp(of_core + math.log(1 - branch_share), of_branch + math.log(branch_share))


def _two_layers(features: int, width: int, num_classes: int) -> nn.Sequential:
    parts = {"hidden": nn.Linear(features, width), "act": nn.ReLU(), "out": nn.Linear(width, num_classes)}
    return nn.Sequential(OrderedDict(parts))
