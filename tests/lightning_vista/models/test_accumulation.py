"""An optimizer step on several batches is that on one batch of all their rows."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.plugins import MixedPrecision
from token_batches import LENGTHS, STEPS_OF_PROCESSES, Descending, batch_of, with_own_rates
from token_batches import train as train_module
from torch import Tensor

HELPERS = Path(__file__).parents[2] / "helpers"
L1 = {"activation_l1": 0.3, "activation_modules": ["model.transformer.h.*.mlp.act"]}


def train(batches: Sequence[dict[str, Tensor]], options: Any = None, **settings: Any) -> dict[str, Tensor]:
    return train_module(batches, Descending(**options or {}), **settings)


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize(
    ("batches", "accumulated", "steps"),
    [
        ([[0], [1]], 2, [[0, 1]]),
        ([[0], [1, 2], [3, 4]], 3, [[0, 1, 2, 3, 4]]),
        ([[0], [1], [2], [3, 4], [5]], 2, [[0, 1], [2, 3, 4], [5]]),  # the last window of the epoch is incomplete
        ([[0], [1]], 3, [[0, 1]]),  # and so is the only one
    ],
)
def test_steps_are_those_of_whole_batches(
    batches: Sequence[Sequence[int]], accumulated: int, steps: Sequence[Sequence[int]], clip: float | None
) -> None:
    ours = train([batch_of(rows) for rows in batches], accumulate_grad_batches=accumulated, gradient_clip_val=clip)
    assert_same(ours, train([batch_of(rows) for rows in steps], gradient_clip_val=clip))


def test_the_gradient_is_that_of_the_mean_over_all_tokens() -> None:
    before, module = dict(Descending().named_parameters()), Descending()
    losses, mask = module.token_losses(batch_of([0, 1]))
    losses[mask].mean().backward()
    after = train([batch_of([0]), batch_of([1])], accumulate_grad_batches=2)
    for name, parameter in module.named_parameters():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close((before[name].detach() - after[name]) / 0.5, expected, rtol=1e-4, atol=1e-6)


def test_one_batch_a_step_stays_what_it_was() -> None:
    class Plain(Descending):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            losses, mask = self.token_losses(batch)
            return losses[mask].mean()

        on_before_optimizer_step = L.LightningModule.on_before_optimizer_step

    batches = [batch_of(rows) for rows in ([0, 1], [2, 3])]
    ours, theirs = train(batches), train_module(batches, Plain())
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_windows_that_change_between_epochs() -> None:
    scheduler = GradientAccumulationScheduler({0: 2})
    assert_same(train([batch_of([0]), batch_of([1])], callbacks=[scheduler]), train([batch_of([0, 1])]))


def test_the_penalty_is_weighed_like_the_losses() -> None:
    equal = [6] * len(LENGTHS)  # then both means are over tokens in the same proportion
    ours = train([batch_of([0], equal), batch_of([1, 2], equal)], options=L1, accumulate_grad_batches=2)
    assert_same(ours, train([batch_of([0, 1, 2], equal)], options=L1))


def test_scaled_losses_of_half_precision() -> None:
    def half() -> Any:
        return [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=64.0))]

    ours = train([batch_of([0]), batch_of([1])], accumulate_grad_batches=2, plugins=half(), gradient_clip_val=0.05)
    theirs = train([batch_of([0, 1])], plugins=half(), gradient_clip_val=0.05)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_logged_loss_is_the_mean_of_a_batch() -> None:
    logged = []

    class Reading(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            logged.append(float(trainer.callback_metrics["train/loss"]))

    train([batch_of([0]), batch_of([1])], accumulate_grad_batches=2, callbacks=[Reading()])
    module = Descending()
    expected = [losses[mask].mean().item() for losses, mask in (module.token_losses(batch_of([r])) for r in (0, 1))]
    assert logged == pytest.approx(expected)


@pytest.mark.slow
def test_processes_that_share_a_step(tmp_path: Path) -> None:
    out = tmp_path / "weights.pt"
    subprocess.run([sys.executable, HELPERS / "token_batches.py", "2", "2", out], check=True, timeout=300)
    assert_same(torch.load(out), train([batch_of(rows) for rows in STEPS_OF_PROCESSES]))


@pytest.mark.slow
def test_processes_freeze_and_scale_alike(tmp_path: Path) -> None:
    out = tmp_path / "weights.pt"
    subprocess.run([sys.executable, HELPERS / "token_batches.py", "2", "2", out, "own"], check=True, timeout=300)
    module, groups = with_own_rates()
    whole = train_module([batch_of(rows) for rows in STEPS_OF_PROCESSES], module, callbacks=[groups])
    assert_same(torch.load(out), whole)
    start = dict(Descending().named_parameters())
    still = {name for name, value in whole.items() if torch.equal(value, start[name])}
    assert still == {f"model.transformer.{name}" for name in ("wte.weight", "ln_f.weight", "ln_f.bias")}
