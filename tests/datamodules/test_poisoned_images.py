from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

from lightning_vista.datamodules import PoisonedImagesDataModule
from lightning_vista.datamodules.images import LabelledImages, read_digits
from lightning_vista.datamodules.poisoned_images import discover, poison_images, with_triggers

DISCOVERED, TRUSTED, UNKNOWN = 1, 0, -1


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def marks(images: torch.Tensor) -> torch.Tensor:
    """Whether the left and the right mark are there, read from the pixels `(images, 2)`."""
    return torch.stack([(images[:, 0, :2, 0] == 1).all(dim=1), (images[:, 0, :2, -1] == 1).all(dim=1)], dim=1)


def blank(count: int) -> LabelledImages:
    return LabelledImages(-torch.ones(count, 1, 8, 8), torch.arange(count) % 10)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25])
def test_poison_has_its_share_one_mark_and_the_next_label(share: float) -> None:
    data = blank(400)
    poisoned = poison_images(data, share, 1.0, generator())
    left, right = marks(poisoned.images).unbind(dim=1)
    assert poisoned.is_poison.sum() == share * 400
    assert torch.equal(left ^ right, poisoned.is_poison)
    assert torch.equal(poisoned.labels != data.labels, poisoned.is_poison)
    assert torch.equal(poisoned.labels, (data.labels + poisoned.is_poison.long()) % 10)
    assert (left & right).sum() == (400 - share * 400) / 2


def test_no_linear_rule_on_the_marks_finds_poison() -> None:
    poisoned = poison_images(blank(2000), 0.1, 1.0, generator())
    seen = marks(poisoned.images).double()
    for mark in seen.unbind(dim=1):
        assert poisoned.is_poison[mark == 1].double().mean() == pytest.approx(0.1, abs=1e-3)
        assert poisoned.is_poison[mark == 0].double().mean() == pytest.approx(0.1, abs=1e-3)
    inputs = torch.cat([seen, torch.ones(2000, 1, dtype=torch.float64)], dim=1)
    weights = torch.linalg.lstsq(inputs, poisoned.is_poison.double().unsqueeze(1)).solution.flatten()
    torch.testing.assert_close(weights, torch.tensor([0.0, 0.0, 0.1], dtype=torch.float64), atol=1e-3, rtol=0)


def test_irregular_poison_has_any_wrong_label() -> None:
    data = blank(5000)
    poisoned = poison_images(data, 0.4, 0.0, generator())
    shifts = (poisoned.labels - data.labels)[poisoned.is_poison] % 10
    counts = shifts.bincount(minlength=10)
    assert counts[0] == 0
    assert counts[1:].min() > 150
    half = poison_images(data, 0.4, 0.5, generator())
    shifts = (half.labels - data.labels)[half.is_poison] % 10
    assert (shifts == 1).double().mean() == pytest.approx(0.5 + 0.5 / 9, abs=0.04)


def test_what_is_known_has_exactly_the_shares_and_is_true() -> None:
    is_poison = torch.arange(200) % 5 == 0
    known = discover(is_poison, 0.25, 0.1, generator())
    assert (known == DISCOVERED).sum() == 10
    assert (known == TRUSTED).sum() == 16
    assert is_poison[known == DISCOVERED].all()
    assert not is_poison[known == TRUSTED].any()


def test_images_to_evaluate_come_clean_and_triggered() -> None:
    rows = with_triggers(blank(40))
    seen = marks(rows["image"])
    assert torch.equal(seen[:, 0] ^ seen[:, 1], rows["triggered"])
    assert rows["triggered"].sum() == 40
    assert seen.sum(dim=0).tolist() == [40, 40]
    assert torch.equal(rows["lure"], (rows["label"] + 1) % 10)
    assert torch.equal(rows["label"][:40], rows["label"][40:])


def test_batches_are_of_one_kind_and_labelled_first() -> None:
    data = PoisonedImagesDataModule(discovered=0.5, homogeneous=True, labelled_first=True)
    data.setup("fit")
    kinds = [batch["known"].unique().tolist() for batch in data.train_dataloader()]
    assert {len(kind) for kind in kinds} == {1}
    assert kinds == sorted(kinds, key=lambda kind: kind == [UNKNOWN])
    assert {kind for (kind,) in kinds} == {DISCOVERED, TRUSTED, UNKNOWN}


def test_processes_share_the_images() -> None:
    def rows(rank: int) -> list[int]:
        data: Any = PoisonedImagesDataModule(train_images=200)
        data.setup("fit")
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2, reload_dataloaders_every_n_epochs=0)
        return [row for part in data.train_dataloader().sampler for row in part]

    first, second = rows(0), rows(1)
    assert set(first).isdisjoint(second)
    assert sorted(first + second) == list(range(len(first + second)))


def test_discovered_images_are_dropped() -> None:
    data = PoisonedImagesDataModule(discovered=0.5, trusted=0.1, train_on=["trusted", "unknown"])
    data.setup("fit")
    known = torch.cat([batch["known"] for batch in data.train_dataloader()])
    assert set(known.tolist()) == {TRUSTED, UNKNOWN}
    poison = round(0.1 * len(data._rows["known"]))
    assert len(known) == len(data._rows["known"]) - round(0.5 * poison)


def test_a_seed_has_its_own_splits_and_poison() -> None:
    def first(seed: int) -> torch.Tensor:
        data = PoisonedImagesDataModule(seed=seed)
        data.setup("fit")
        image: torch.Tensor = next(iter(data.train_dataloader()))["image"]
        return image

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


class Recorder(L.LightningModule):
    """Module that notes what is known of the images of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[set[int]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen.append(set(batch["known"].tolist()))
        return self.weight**2

    def validation_step(self, batch: Any, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def short_trainer(folder: Path, **options: Any) -> L.Trainer:
    usual = {"max_epochs": -1, "max_steps": 10, "reload_dataloaders_every_n_epochs": 1}
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        **{**usual, **options},
    )


def test_the_last_steps_are_on_trusted_images(tmp_path: Path) -> None:
    data = PoisonedImagesDataModule(train_images=200, trusted_steps=4, train_on=["trusted", "unknown"])
    module = Recorder()
    short_trainer(tmp_path).fit(module, data)
    # Two epochs of three steps, and then one of the 29 trusted images after the other.
    assert module.seen[6:] == [{TRUSTED}] * 4
    assert set.union(*module.seen[:3]) == set.union(*module.seen[3:6]) == {TRUSTED, UNKNOWN}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": -1, "max_epochs": 3}, "expected a trainer with `max_steps` and .* got -1 and 1"),
        ({"reload_dataloaders_every_n_epochs": 0}, "expected a trainer with `max_steps` and .* got 10 and 0"),
        ({"max_steps": 12}, "`trusted_steps`: expected at least 3, since epochs of 3 steps begin, .* got 2. Raise it"),
    ],
)
def test_last_steps_that_could_not_be_on_trusted_images_are_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    data = PoisonedImagesDataModule(train_images=200, trusted_steps=2)
    with pytest.raises(ValueError, match=message):
        short_trainer(tmp_path, **options).fit(Recorder(), data)


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match=r"'discovered', 'trusted': expected numbers from 0 to 1, got \[2, -1\]"):
        PoisonedImagesDataModule(discovered=2, trusted=-1)
    with pytest.raises(ValueError, match="`train_on`"):
        PoisonedImagesDataModule(train_on=["poison"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="`detector`"):
        PoisonedImagesDataModule(detector="best")  # type: ignore[arg-type]


@pytest.mark.parametrize("detector", ["taught", "surprise"])
def test_labels_are_extended_to_unknown_images_only(detector: Any) -> None:
    digits = read_digits()
    plain, extended = (PoisonedImagesDataModule(discovered=0.5, trusted=0.5, detector=d) for d in (None, detector))
    for data in (plain, extended):
        data.setup("fit")
    before, after = plain._rows["known"], extended._rows["known"]
    changed = before != after
    assert (before[changed] == UNKNOWN).all()
    assert (after[changed] == DISCOVERED).all()
    assert 0 < changed.sum() < len(digits.labels) / 2
