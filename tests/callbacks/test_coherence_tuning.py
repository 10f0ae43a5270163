from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from routed_run import Batches, Regression, make_trainer
from tiny_texts import NextToken, Texts

from lightning_vista.callbacks import Ablation, CoherenceTuning
from lightning_vista.models.curve import lowest
from lightning_vista.models.finetuning import finetune, held_out_texts
from lightning_vista.routing import LabelRule, Route

ROUTE = Route("network.2", LabelRule("split", {"old": [0]}), {"old": "0:6", "new": "rest"})


def tuning(**options: Any) -> CoherenceTuning:
    return CoherenceTuning(**{"num_samples": 10, "learning_rate": 0.01, "num_evaluated": 20, "steps": 20} | options)


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def test_what_was_ablated_is_tuned(tmp_path: Path) -> None:
    model, data, callback = NextToken(), Texts(), tuning()
    ablation = Ablation(["new"], at="end", mode="slice", routes=[ROUTE])
    make_trainer(ablation, callback, default_root_dir=tmp_path).fit(model, data)
    expected = NextToken().eval()
    expected.network[1], expected.network[4] = torch.nn.Linear(4, 6), torch.nn.Linear(6, 7)
    expected.load_state_dict(weights(tmp_path / "ablated.ckpt"))
    curve = finetune(
        expected, data.sample("train", False, 10), held_out_texts(data, "validation", 20, 0), 20, 0.01,
        keep_lowest="retain",
    )  # fmt: skip
    assert callback.curve == curve
    assert lowest(curve, "retain")["retain"] < curve[0]["retain"]
    torch.testing.assert_close(weights(tmp_path / "tuned.ckpt"), dict(expected.state_dict()))
    plain = NextToken()
    make_trainer().fit(plain, Texts())
    torch.testing.assert_close(dict(model.state_dict()), dict(plain.state_dict()), rtol=0, atol=0)


def test_alone_it_tunes_a_copy_of_what_was_trained(tmp_path: Path) -> None:
    model = NextToken()
    make_trainer(tuning(steps=0), default_root_dir=tmp_path).fit(model, Texts())
    torch.testing.assert_close(weights(tmp_path / "tuned.ckpt"), dict(model.state_dict()), rtol=0, atol=0)
    make_trainer(tuning(), default_root_dir=tmp_path).fit(model, Texts())
    assert not torch.equal(weights(tmp_path / "tuned.ckpt")["network.1.weight"], model.network[1].weight)  # type: ignore[arg-type]


def test_it_looks_at_validation_data_and_trains_on_training_data(tmp_path: Path) -> None:
    data = Texts()
    make_trainer(tuning(seed=3), default_root_dir=tmp_path).fit(NextToken(), data)
    drawn = {call for call in data.drawn if call[3] == 3}
    assert drawn == {("train", False, 10, 3), ("validation", False, 20, 3), ("validation", True, 20, 3)}


def test_what_is_missing_is_told_before_training() -> None:
    class Untrained(NextToken):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            raise AssertionError("a step was trained")

    with pytest.raises(ValueError, match="Expected 21 rows, there are 20"):
        make_trainer(tuning(num_evaluated=21)).fit(Untrained(), Texts())
    with pytest.raises(ValueError, match=r"with `sample\(split, .*got Untrained and Batches"):
        make_trainer(tuning()).fit(Untrained(), Batches())
    with pytest.raises(ValueError, match=r"`token_losses\(batch\)`.*got Regression and Texts"):
        make_trainer(tuning()).fit(Regression(), Texts())


def test_a_quick_trial_writes_nothing(tmp_path: Path) -> None:
    trainer: L.Trainer = make_trainer(tuning(), default_root_dir=tmp_path, fast_dev_run=True)
    trainer.fit(NextToken(), Texts())
    assert not list(tmp_path.iterdir())
