from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from routed_run import Regression, make_trainer
from torch import Tensor

from lightning_vista.datamodules import GridworldDataModule
from lightning_vista.oversight import OversightPolicy


class Recorded(OversightPolicy):
    """Notes by which parameters each move was chosen."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(size=3, width=8)
        self.acted: list[Tensor] = []

    def act(self, *args: Any, **kwargs: Any) -> Tensor:
        self.acted.append(self.output.weight.detach().clone())
        return super().act(*args, **kwargs)


class AfterUpdates(L.Callback):
    """Notes the parameters before training and after every update."""

    def __init__(self) -> None:
        self.parameters: list[Tensor] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.parameters.append(pl_module.get_parameter("output.weight").detach().clone())

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.on_train_start(trainer, pl_module)


def data(**options: Any) -> GridworldDataModule:
    return GridworldDataModule(
        **{"size": 3, "num_envs": 4, "num_steps": 5, "rollouts_per_epoch": 3, "validation_episodes": 8, **options}
    )


def test_every_roll_out_is_made_by_the_policy_after_the_last_update() -> None:
    policy, updates = Recorded(), AfterUpdates()
    make_trainer(updates, max_epochs=2, limit_val_batches=0).fit(policy, data())
    assert len(policy.acted) == 6 * 5
    for number, parameters in enumerate(updates.parameters[:6]):
        assert all(torch.equal(acted, parameters) for acted in policy.acted[5 * number : 5 * number + 5])
        assert not torch.equal(parameters, updates.parameters[number + 1])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # it is to be gone on with
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before")  # roll-outs have no order
@pytest.mark.parametrize("step", [3, 4])  # at the end of an epoch, and within one
def test_a_resumed_run_equals_one_that_was_never_stopped(step: int, tmp_path: Path) -> None:
    def fit(seed: int, **options: Any) -> dict[str, Any]:
        L.seed_everything(seed, verbose=False)
        saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        trainer = make_trainer(saving, max_epochs=3, default_root_dir=tmp_path, enable_checkpointing=True)
        policy = Recorded()
        trainer.fit(policy, data(), **options)
        return policy.state_dict()

    whole = fit(1)
    resumed = fit(2, ckpt_path=tmp_path / f"step={step}.ckpt")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_share_of_the_roll_outs() -> None:
    lengths = {
        p: GridworldDataModule(p, rollouts_per_epoch=100, share_rollouts=True).rollouts_per_epoch
        for p in (0.001, 0.03, 0.1, 1.0)
    }
    assert lengths == {0.001: 1, 0.03: 3, 0.1: 10, 1.0: 100}


def test_evaluations_are_the_same_episodes_for_every_actor_and_run(tmp_path: Path) -> None:
    starts = []
    for seed in (1, 2):
        L.seed_everything(seed, verbose=False)
        module = data(test_episodes=16)
        make_trainer(default_root_dir=tmp_path).test(Recorded(), module, verbose=False)
        starts += [batch["observation"][:, 0] for batch in module.test_dataloader()]
        starts += [batch["observation"][:, 0] for batch in module.val_dataloader()]
    tests, validations = starts[0:3] + starts[6:9], starts[3:6] + starts[9:12]
    assert all(torch.equal(start, tests[0]) for start in tests)
    assert all(torch.equal(start, validations[0]) for start in validations)
    assert not torch.equal(tests[0][:8], validations[0])


def test_a_module_that_cannot_act_is_refused() -> None:
    with pytest.raises(ValueError, match="such as OversightPolicy, got Regression"):
        make_trainer().fit(Regression(), data())
    with pytest.raises(ValueError, match="`trainer`: expected one"):
        data().setup("fit")
    with pytest.raises(ValueError, match="at least 1"):
        data(num_steps=0)


def test_several_processes_are_refused() -> None:
    data: Any = GridworldDataModule()
    data.trainer = SimpleNamespace(world_size=2)
    with pytest.raises(ValueError, match="expected one process for GridworldDataModule, got 2. Set trainer.devices=1"):
        data.setup("fit")
