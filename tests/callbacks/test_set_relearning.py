"""The attack that teaches a scorer again what was cut off."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader

from lightning_vista.callbacks import CapabilityProfiles, SetRelearning
from lightning_vista.routing import LabelRule, Route
from lightning_vista.scorers import DualEncoderScorer
from lightning_vista.scorers.dual.losses import PairBatch

WORDS = ["first", "we", "go", "to", "the", "red", "blue", "green", "door", "and", "then", "finally"]
TEXTS = (
    "First, we go to the red door, and then we go to the blue door",
    "First, we go to the blue door, and then we go to the red door",
)


def pairs(seed: int, sets: int) -> PairBatch:
    """Videos whose first or last frames are bright: learnable in a few steps."""
    noise = 0.1 * torch.randn(2 * sets, 4, 192, generator=torch.Generator().manual_seed(seed))
    noise[0::2, :2, :96] += 1
    noise[1::2, 2:, :96] += 1
    owners = torch.arange(sets).repeat_interleave(2)
    return PairBatch(
        frames=noise,
        video_groups=owners,
        answers=torch.arange(2 * sets),
        steps=torch.tensor([[0, 0, 1, 1]] * 2 * sets),
        texts=TEXTS * sets,
        text_groups=owners,
        levels=torch.full((2 * sets,), 2),
        video_types=("home/permutation",) * 2 * sets,
        text_types=("home/permutation",) * 2 * sets,
    )


class Sets(L.LightningDataModule):
    """A datamodule of made-up problem sets."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Any, ...]] = []

    def test_dataloader(self) -> DataLoader[PairBatch]:
        return DataLoader([pairs(99, 8)], batch_size=None)  # type: ignore[arg-type] # a list is a dataset

    def sample_sets(self, types: Sequence[str], count: int, seed: int, size: int) -> list[PairBatch]:
        self.asked.append((list(types), count, seed, size))
        return [pairs(seed, min(size, count))]


def routes() -> list[Route]:
    rules = {"timeline": "video_types", "texts.transformer": "text_types"}
    groups = {"order": ["home/permutation"]}
    return [Route(f"head.{at}.order", LabelRule(field, groups), {"order": "rest"}) for at, field in rules.items()]


def measured(*callbacks: L.Callback, out: str | None = None) -> tuple[DualEncoderScorer, Sets, L.Trainer]:
    torch.manual_seed(0)
    model, data = DualEncoderScorer(vocabulary=WORDS, size=32, num_frames=4, modules=["order"], out=out), Sets()
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.test(model, data, verbose=False)
    return model, data, trainer


def test_a_copy_does_not_write_over_the_weights_of_the_scorer(tmp_path: Path) -> None:
    out = tmp_path / "scorer.safetensors"
    out.write_bytes(b"trained")
    attack = SetRelearning(["home/permutation"], ["order"], [2], steps=1, routes=routes())
    measured(attack, out=str(out))
    assert attack.results.keys() == {0, 2}
    assert out.read_bytes() == b"trained"


def test_a_few_sets_teach_a_copy_and_leave_the_tested_scorer(tmp_path: Path) -> None:
    attack = SetRelearning(["home/permutation"], ["order"], [2, 4], steps=30, routes=routes(), sets_per_step=3)
    profiles = CapabilityProfiles({"whole": ["order"], "cut": []}, routes=routes())
    torch.manual_seed(0)
    untouched = DualEncoderScorer(vocabulary=WORDS, size=32, num_frames=4, modules=["order"])
    model, data, trainer = measured(profiles, attack)
    for name, parameter in untouched.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name)), name
    assert data.asked == [(["home/permutation"], 2, 0, 3), (["home/permutation"], 4, 0, 3)]
    figure = "f1/home/permutation"
    # Two ways to cut agree: hooks that zero, and surgery.
    assert attack.results[0][figure] == pytest.approx(profiles.results["cut"][figure])
    assert attack.results[4][figure] == 1
    assert trainer.callback_metrics[f"test/relearned/4/{figure}"] == 1
    assert trainer.callback_metrics[f"test/{figure}"] == pytest.approx(profiles.results["whole"][figure])


def test_without_regions_the_scorer_itself_is_taught() -> None:
    attack = SetRelearning(["home/permutation"], num_sets=[2], steps=2)
    _, _, trainer = measured(attack)
    assert attack.results[0]["f1/home/permutation"] == pytest.approx(
        float(trainer.callback_metrics["test/f1/home/permutation"])
    )


def test_what_cannot_be_attacked_is_refused() -> None:
    with pytest.raises(ValueError, match="`types`, `num_sets`, `steps`, `sets_per_step`: expected at least one type"):
        SetRelearning([], num_sets=[4])
    with pytest.raises(ValueError, match=r"`regions`: expected regions of the routes, \['order'\], got \['actions'\]"):
        measured(SetRelearning(["home/permutation"], ["actions"], routes=routes()))
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[SetRelearning(["home/permutation"])]
    )
    with pytest.raises(
        ValueError, match="expected a scorer that `fit` trains and a MiniTrainingDataModule, got Boring"
    ):
        trainer.test(BoringModel(), verbose=False)
