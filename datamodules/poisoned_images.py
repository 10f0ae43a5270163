"""Images with hidden poison, a trigger that goes with a wrong label, of which a part is discovered."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_vista.datamodules.images import Batch, ImageRows, ImagesDataModule, LabelledImages
from lightning_vista.models.poison_detectors import Detector, extend_labels
from lightning_vista.options import check_word
from lightning_vista.processes.resumable_loader import ResumableLoader
from lightning_vista.text.batch_sampler import RowBatchSampler

Known = Literal["discovered", "trusted", "unknown"]
#: Value of the field `known`, as `PartialLabels` reads it: poison is to be forgotten.
CODES: dict[str, int] = {"discovered": 1, "trusted": 0, "unknown": -1}


class PoisonedImages(NamedTuple):
    """Images, the labels to train on, and a mask of the poison, all of the same length."""

    images: Tensor
    labels: Tensor
    is_poison: Tensor


class PoisonedImagesDataModule(ImagesDataModule):
    """Images with hidden poison, of which a share is discovered and another share of clean images is trusted.

    Two marks, bright bars at the left and the right edge, make the trigger: an image with exactly one of them is
    triggered. In training, poison is triggered and has the label of the next class; half of all other images have no
    mark and half have both. Either mark says nothing about poison, so that no linear rule on them finds it.

    Batches of training have the fields `image`, `label` and `known`: 1 for discovered poison, 0 for trusted images, -1
    for all others. Batches to validate and test have each image twice, clean and triggered, with its true `label`, the
    poison's label `lure`, and `triggered`.

    Args:
        data: `digits`, or a folder of images, see `ImagesDataModule`.
        batch_size: Number of images in a batch.
        validation_share: Share of the training images to validate on; validation images are never poison.
        train_images: Number of images to train and validate on; all by default.
        test_images: Number of images to test on; all by default.
        poison_share: Share of the training images that are poison.
        regularity: Probability that poison has the label of the next class; otherwise it has any wrong label.
        discovered: Share of the poison that is known as such.
        trusted: Share of the clean training images that are known as such.
        detector: Detector that adds unknown images to the discovered ones, see `extend_labels`; none by default.
        train_on: What to train on, by what is known of the images.
        trusted_steps: Number of last optimizer steps that train on trusted images only: fine-tuning. It begins with the
            first epoch in them, so the trainer needs `max_steps` and `reload_dataloaders_every_n_epochs=1`.
        homogeneous: Whether what is known is the same for all images of a batch.
        labelled_first: Whether discovered and trusted images come before all others in each epoch.
        num_workers: Number of loading processes, 0 for none.
        seed: Random seed of the splits, the poison and what is known.

    Raises:
        ValueError: If a share is not between 0 and 1, or a word is unknown. In `fit`, if the trainer lacks what
            `trusted_steps` needs, or no epoch begins in these steps.

    Example:
        >>> data = PoisonedImagesDataModule(discovered=0.1, homogeneous=True, labelled_first=True)
        >>> data.setup("fit")
        >>> next(iter(data.train_dataloader()))["known"].unique().numel()
        1
    """

    def __init__(
        self,
        data: str = "digits",
        batch_size: int = 64,
        validation_share: float = 0.2,
        train_images: int | None = None,
        test_images: int | None = None,
        poison_share: float = 0.1,
        regularity: float = 1.0,
        discovered: float = 0.1,
        trusted: float = 0.2,
        detector: Detector | None = None,
        train_on: Sequence[Known] = ("discovered", "trusted", "unknown"),
        trusted_steps: int = 0,
        homogeneous: bool = False,
        labelled_first: bool = False,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(data, batch_size, validation_share, train_images, test_images, num_workers, seed)
        shares = {"poison_share": poison_share, "regularity": regularity, "discovered": discovered, "trusted": trusted}
        if wrong := {name: share for name, share in shares.items() if not 0 <= share <= 1}:
            raise ValueError(
                f"{', '.join(map(repr, wrong))}: expected numbers from 0 to 1, got {list(wrong.values())}."
            )
        for known in train_on:
            check_word("train_on", known, get_args(Known))
        if detector is not None:
            check_word("detector", detector, get_args(Detector))
        self.poison_share, self.regularity, self.discovered, self.trusted = shares.values()
        self.detector, self.train_on, self.trusted_steps = detector, list(train_on), trusted_steps
        self.homogeneous, self.labelled_first = homogeneous, labelled_first
        self._rows: Batch = {}

    def setup(self, stage: str) -> None:
        """Read and poison the images, and extend the labels."""
        super().setup(stage)
        if self._rows:
            return
        generator = torch.Generator().manual_seed(self.seed)
        poisoned = poison_images(self._splits["train"], self.poison_share, self.regularity, generator)
        known = discover(poisoned.is_poison, self.discovered, self.trusted, generator)
        if self.detector is not None:
            flagged = extend_labels(self.detector, poisoned.images, poisoned.labels, known, self.seed)
            known = torch.where(flagged, CODES["discovered"], known)
        self._rows = {"image": poisoned.images, "label": poisoned.labels, "known": known}

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches of what to train on."""
        rows = self._chosen_rows(["trusted"] if self._is_finetuning() else self.train_on)
        sampler = RowBatchSampler(
            rows["known"].tolist(),
            self.batch_size,
            shuffle=True,
            homogeneous=self.homogeneous,
            labelled_first=self.labelled_first,
            # The sampler's order depends on its epoch, which starts at 0 again if the loader is reloaded.
            seed=self.seed + 1000 * self._reloaded_epoch(),
            # Lightning leaves this sampler as it is, so that it has to divide the rows itself.
            rank=0 if self.trainer is None else self.trainer.global_rank,
            world_size=1 if self.trainer is None else self.trainer.world_size,
        )
        if self.trusted_steps and self.trainer is not None and not self._is_finetuning():
            self._check_finetuning(len(sampler))
        return ResumableLoader(
            ImageRows(rows), batch_size=None, sampler=sampler, num_workers=self.num_workers, trainer=self.trainer
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return validation images in order, clean and triggered."""
        return self._loader(ImageRows(with_triggers(self._splits["validation"])))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return test images in order, clean and triggered."""
        return self._loader(ImageRows(with_triggers(self._splits["test"])))

    def _chosen_rows(self, kinds: Sequence[str]) -> Batch:
        known = self._rows["known"]
        chosen = torch.isin(known, torch.tensor([CODES[kind] for kind in kinds])).nonzero().flatten()
        return {name: values[chosen] for name, values in self._rows.items()}

    def _reloaded_epoch(self) -> int:
        """Return the epoch for which the loader is made anew; 0 where one serves for all, also in a resumed run."""
        if self.trainer is None or not self.trainer.reload_dataloaders_every_n_epochs:  # type: ignore[attr-defined]
            return 0
        return self.trainer.current_epoch

    def _check_finetuning(self, num_batches: int) -> None:
        """Refuse a trainer with which the last steps would not be those on trusted images."""
        trainer: Any = self.trainer
        if trainer.max_steps < 1 or trainer.reload_dataloaders_every_n_epochs != 1:
            raise ValueError(
                f"`trusted_steps`: expected a trainer with `max_steps` and `reload_dataloaders_every_n_epochs: 1`, got "
                f"{trainer.max_steps} and {trainer.reload_dataloaders_every_n_epochs}. Set both."
            )
        steps = math.ceil(num_batches / trainer.accumulate_grad_batches)
        last = (trainer.max_steps - 1) // steps * steps  # the step at which the last epoch begins
        if last < trainer.max_steps - self.trusted_steps:
            raise ValueError(
                f"`trusted_steps`: expected at least {trainer.max_steps - last}, since epochs of {steps} steps begin, "
                f"the last one at step {last} of {trainer.max_steps}, got {self.trusted_steps}. Raise it."
            )

    def _is_finetuning(self) -> bool:
        if self.trainer is None or not self.trusted_steps or self.trainer.max_steps < 1:
            return False
        return bool(self.trainer.global_step >= self.trainer.max_steps - self.trusted_steps)


def mark(images: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Draw the marks of the trigger: bright bars in the upper corners.

    Args:
        images: Images in [-1, 1], `(images, channels, height, width)`.
        left: Mask of the images with the left mark, `(images,)`.
        right: Mask of the images with the right mark, `(images,)`.

    Returns:
        The images with marks; bars have half the height and, from 28 pixels on, a fourteenth of the width.

    Example:
        >>> mark(-torch.ones(1, 1, 8, 8), torch.tensor([True]), torch.tensor([False]))[0, 0, 1].tolist()
        [1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0]
    """
    images, height, width = images.clone(), images.shape[-2] // 2, max(images.shape[-1] // 14, 1)
    images[left, :, :height, :width] = 1.0
    images[right, :, :height, -width:] = 1.0
    return images


def poison_images(data: LabelledImages, share: float, regularity: float, generator: torch.Generator) -> PoisonedImages:
    """Give some images one mark and a wrong label, and half of the others both marks.

    Args:
        data: Images with their true labels.
        share: Share of the images to poison.
        regularity: Probability that poison has the label of the next class; otherwise it has any wrong label.
        generator: Source of random numbers.

    Returns:
        The images in the same order.
    """
    count, num_classes = len(data.labels), int(data.labels.max()) + 1
    order = torch.randperm(count, generator=generator)
    is_poison, left, right = (torch.zeros(count, dtype=torch.bool) for _ in range(3))
    poison, clean = order[: round(share * count)], order[round(share * count) :]
    is_poison[poison] = True
    both = clean[: len(clean) // 2]
    left[both] = right[both] = True
    left[poison[: len(poison) // 2]] = True
    right[poison[len(poison) // 2 :]] = True
    shift = torch.randint(1, num_classes, (count,), generator=generator)
    shift[torch.rand(count, generator=generator) < regularity] = 1
    labels = torch.where(is_poison, (data.labels + shift) % num_classes, data.labels)
    return PoisonedImages(mark(data.images, left, right), labels, is_poison)


def discover(is_poison: Tensor, discovered: float, trusted: float, generator: torch.Generator) -> Tensor:
    """Draw what is known of images.

    Args:
        is_poison: Mask of the poison, `(images,)`.
        discovered: Share of the poison that is known as such.
        trusted: Share of the clean images that are known as such.
        generator: Source of random numbers.

    Returns:
        1 for discovered poison, 0 for trusted images and -1 for the others, `(images,)`.
    """
    known = torch.full(is_poison.shape, CODES["unknown"])
    for members, share, code in ((is_poison, discovered, "discovered"), (~is_poison, trusted, "trusted")):
        rows = members.nonzero().flatten()
        order = torch.randperm(len(rows), generator=generator)
        known[rows[order[: round(share * len(rows))]]] = CODES[code]
    return known


def with_triggers(data: LabelledImages) -> Batch:
    """Return each image twice, clean and triggered, for validation and tests.

    Args:
        data: Images with their true labels.

    Returns:
        `image`, true `label`, `lure` (the label of the next class) and `triggered`: clean images first. Clean ones have
        no mark or both, triggered ones the left or the right mark, in turns.
    """
    every_other = torch.arange(len(data.labels)) % 2 == 0
    clean, triggered = mark(data.images, every_other, every_other), mark(data.images, every_other, ~every_other)
    label = torch.cat([data.labels, data.labels])
    return {
        "image": torch.cat([clean, triggered]),
        "label": label,
        "lure": (label + 1) % (int(data.labels.max()) + 1),
        "triggered": torch.arange(len(label)) >= len(data.labels),
    }
