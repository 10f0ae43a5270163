from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from routed_run import Batches, Regression, make_trainer, routing
from torch import Tensor
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader

from lightning_vista.callbacks import BranchExpansion, Expansion, ParameterGroups

Make = Callable[[torch.optim.Optimizer], Any]
#: Schedulers of the first layer, and of the last one by hand; absolute rates have the factor there.
SCHEDULES: dict[str, tuple[Make, Make]] = {
    "lambda": (lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),) * 2,
    "step": (lambda o: lr_scheduler.StepLR(o, 2, 0.1),) * 2,
    "one_cycle": (
        lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=9),
        lambda o: lr_scheduler.OneCycleLR(o, 0.2 * 5, total_steps=9),
    ),
    "cosine": (
        lambda o: lr_scheduler.CosineAnnealingLR(o, 8, eta_min=0.01),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 8, eta_min=0.01 * 5),
    ),
}


class Scheduled(Regression):
    """AdamW with a scheduler of each kind; by hand, the last layer has an optimizer and a scheduler of its own."""

    def __init__(self, schedule: str, by_hand: bool = False) -> None:
        super().__init__()
        self.schedule, self.by_hand = SCHEDULES[schedule], by_hand
        self.automatic_optimization = not by_hand

    def configure_optimizers(self) -> Any:
        if not self.by_hand:
            optimizer = torch.optim.AdamW(self.parameters(), lr=0.1)
            return [optimizer], [{"scheduler": self.schedule[0](optimizer), "interval": "step"}]
        layers = (self.encoder[0], self.encoder[2])
        optimizers = [
            torch.optim.AdamW(layer.parameters(), lr=0.1 * f) for layer, f in zip(layers, (1, 5), strict=True)
        ]
        return optimizers, [make(optimizer) for make, optimizer in zip(self.schedule, optimizers, strict=True)]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        if not self.by_hand:
            return loss
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.step()
        for scheduler in self.lr_schedulers():  # type: ignore[union-attr]
            scheduler.step()


def weights(model: L.LightningModule) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_factor_holds_under_every_scheduler(tmp_path: Path, schedule: str) -> None:
    ours, theirs = Scheduled(schedule), Scheduled(schedule, by_hand=True)
    groups = ParameterGroups({"encoder.2.*": 5.0})
    make_trainer(groups, max_epochs=2, default_root_dir=tmp_path).fit(ours, Batches())
    make_trainer(max_epochs=2, default_root_dir=tmp_path).fit(theirs, Batches())
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-6, atol=1e-7)


def test_a_resumed_run_equals_an_undisturbed_one(tmp_path: Path) -> None:
    def fit(epochs: int, checkpoint: Path | None = None) -> tuple[Any, dict[str, Tensor]]:
        model = Scheduled("cosine")
        trainer = make_trainer(ParameterGroups({"*.2.*": 5.0}), max_epochs=epochs, default_root_dir=tmp_path)
        trainer.fit(model, Batches(), ckpt_path=checkpoint)
        return trainer, weights(model)

    fit(1)[0].save_checkpoint(tmp_path / "half.ckpt")
    whole, resumed = fit(2)[1], fit(2, tmp_path / "half.ckpt")[1]
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_frozen_parameters_stay_and_are_trained_again_afterwards(tmp_path: Path) -> None:
    model = Scheduled("step")
    before = weights(model)
    make_trainer(ParameterGroups(freeze=["encoder.0.*"]), default_root_dir=tmp_path).fit(model, Batches())
    after = weights(model)
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert same == {"encoder.0.weight", "encoder.0.bias"}
    assert all(parameter.requires_grad for parameter in model.parameters())
    make_trainer(default_root_dir=tmp_path).fit(model, Batches())
    assert not torch.equal(weights(model)["encoder.0.weight"], before["encoder.0.weight"])


@pytest.mark.parametrize("groups_first", [True, False])
def test_units_that_other_callbacks_add_are_found(tmp_path: Path, groups_first: bool) -> None:
    callbacks = [ParameterGroups({"encoder.new.*": 5.0}), BranchExpansion(["encoder"], 2, hidden="1")]
    seen = []

    class Watch(L.Callback):
        def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            optimizer, owner = trainer.optimizers[0], pl_module
            names = {id(p): name for name, p in owner.named_parameters()}
            optimizer.register_step_pre_hook(
                lambda o, *_: seen.append({names[id(p)]: g["lr"] for g in o.param_groups for p in g["params"]})
            )

    ordered = callbacks if groups_first else callbacks[::-1]
    make_trainer(*ordered, Watch(), default_root_dir=tmp_path, max_steps=1).fit(Regression(), Batches())
    assert {rate for name, rate in seen[0].items() if ".new." in name} == {0.5}
    assert {rate for name, rate in seen[0].items() if ".new." not in name} == {0.1}


def test_frozen_layers_that_are_widened_later_stay_frozen(tmp_path: Path) -> None:
    model = Regression()
    make_trainer(ParameterGroups(freeze=["encoder.0.*"]), Expansion(["encoder.1"], 2), default_root_dir=tmp_path).fit(
        model, Batches()
    )
    assert torch.equal(weights(model)["encoder.0.weight"][:8], weights(Regression())["encoder.0.weight"])


def test_it_works_beside_isolated_routing(tmp_path: Path) -> None:
    model = Scheduled("lambda")
    low = weights(model)["encoder.0.weight"][:3]

    class OnlyHigh(Batches):
        def train_dataloader(self) -> Any:
            batches: Any = [{**batch, "label": torch.ones(5)} for batch in super().train_dataloader()]
            return DataLoader(batches, batch_size=None)

    callbacks = [ParameterGroups({"encoder.0.*": 5.0}), routing(isolate_optimizer=True)]
    make_trainer(*callbacks, default_root_dir=tmp_path).fit(model, OnlyHigh())
    assert torch.equal(weights(model)["encoder.0.weight"][:3], low)


def test_mistakes_are_told_before_the_first_step(tmp_path: Path) -> None:
    def fit(*callbacks: L.Callback) -> None:
        make_trainer(*callbacks, default_root_dir=tmp_path).fit(Regression(), Batches())

    with pytest.raises(ValueError, match=r"got 'encoder\.9\.\*'. Did you mean"):
        fit(ParameterGroups({"encoder.9.*": 2.0}))
    with pytest.raises(ValueError, match="`freeze`: expected a parameter"):
        fit(ParameterGroups(freeze=["decoder.*"]))
    with pytest.raises(ValueError, match=r"'encoder\.0\.\*' for .* which are frozen or in no optimizer"):
        fit(ParameterGroups({"encoder.0.*": 2.0}, freeze=["encoder.0.*"]))

    class Thawing(L.Callback):
        def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
            pl_module.requires_grad_()

    with pytest.raises(ValueError, match="`freeze`: expected frozen parameters, got 'encoder.0.weight'"):
        fit(ParameterGroups(freeze=["encoder.0.*"]), Thawing())


def test_rates_that_a_training_step_sets_have_the_factor() -> None:
    class Setting(Regression):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def configure_optimizers(self) -> torch.optim.Optimizer:
            layers = (self.encoder[0], self.encoder[2])
            return torch.optim.AdamW([{"params": layer.parameters()} for layer in layers], lr=0.1)

        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Any:
            groups = self.optimizers().param_groups  # type: ignore[union-attr]
            assert len(groups) == 2
            for group, factor in zip(groups, (1.0, self.factor), strict=True):
                group["lr"] = factor * 0.1 / (1 + self.global_step)
            return super().training_step(batch, batch_idx)

    ours, by_hand = Setting(1), Setting(5)
    make_trainer(ParameterGroups({"encoder.2.*": 5}), max_steps=3).fit(ours, Batches())
    make_trainer(max_steps=3).fit(by_hand, Batches())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter, by_hand.get_parameter(name), msg=name)
