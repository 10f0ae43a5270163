from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from routed_run import RULE, Batches, Regression, make_trainer
from torch import Tensor

from lightning_vista.callbacks import Ablation, Expansion, GradientRouting
from lightning_vista.routing import Route

NEW = Route("encoder.1", RULE, {"low": "-2:", "high": "rest"})


def expansion(**options: Any) -> Expansion:
    usual: dict[str, Any] = {"modules": ["encoder.1"], "num_units": 2}
    return Expansion(**usual | options)


def width(model: L.LightningModule) -> int:
    return model.get_parameter("encoder.0.weight").shape[0]


def train(model: L.LightningModule, folder: Path, *callbacks: L.Callback) -> L.Trainer:
    trainer = make_trainer(*callbacks, default_root_dir=folder)
    trainer.fit(model, Batches())
    return trainer


def loss(model: L.LightningModule, *callbacks: L.Callback, checkpoint: Path | None = None) -> float:
    (figures,) = make_trainer(*callbacks).test(model, Batches(), ckpt_path=checkpoint, verbose=False)
    return float(figures["test/loss"])


def test_a_model_is_expanded_once(tmp_path: Path) -> None:
    model, callback = Regression(), expansion()
    before = loss(model)
    make_trainer(callback).validate(model, Batches(), verbose=False)
    assert width(model) == 10
    assert loss(model, callback) == pytest.approx(before)
    train(model, tmp_path, callback)
    train(model, tmp_path, expansion())  # another callback, another trainer
    assert width(model) == 10
    other = Regression()
    loss(other, callback)
    assert width(other) == 10


def test_new_units_are_trained_and_routed_wherever_it_stands(tmp_path: Path) -> None:
    for callbacks in ([GradientRouting([NEW]), expansion()], [expansion(), GradientRouting([NEW])]):
        model = Regression()
        train(model, tmp_path, *callbacks)
        assert model.encoder[2].weight[:, 8:].all()  # type: ignore[index]


def test_a_checkpoint_of_the_expanded_model_is_tested_and_resumed(tmp_path: Path) -> None:
    model = Regression()
    trainer = train(model, tmp_path, expansion())
    trainer.save_checkpoint(tmp_path / "trained.ckpt")
    fresh = Regression()
    assert loss(fresh, expansion(), checkpoint=tmp_path / "trained.ckpt") == pytest.approx(loss(model))
    resumed = Regression()
    make_trainer(expansion(), max_epochs=2).fit(resumed, Batches(), ckpt_path=tmp_path / "trained.ckpt")
    longer = Regression()
    make_trainer(expansion(), max_epochs=2).fit(longer, Batches())
    torch.testing.assert_close(dict(resumed.state_dict()), dict(longer.state_dict()))


def test_a_checkpoint_without_the_new_units_takes_them_off(tmp_path: Path) -> None:
    model = Regression()
    callbacks = [expansion(), GradientRouting([NEW]), Ablation(["low"], at="end", mode="slice")]
    train(model, tmp_path, *callbacks).save_checkpoint(tmp_path / "trained.ckpt")
    plain, tested = Regression(), Regression()
    expected = loss(plain, checkpoint=tmp_path / "ablated.ckpt")
    assert loss(tested, *callbacks, checkpoint=tmp_path / "ablated.ckpt") == expected
    assert width(tested) == width(plain) == 8
    assert loss(tested, *callbacks, checkpoint=tmp_path / "trained.ckpt") == pytest.approx(loss(model))
    assert width(tested) == 10


def test_only_layers_that_differ_are_changed(tmp_path: Path) -> None:
    class Two(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))

        def loss(self, batch: dict[str, Tensor]) -> Tensor:
            output: Tensor = self.decoder(self.encoder(batch["x"]))
            return output.square().mean()

    model = Two()
    train(model, tmp_path, expansion()).save_checkpoint(tmp_path / "half.ckpt")
    fresh = Two()
    assert loss(fresh, expansion(modules=["*coder.1"]), checkpoint=tmp_path / "half.ckpt") == loss(model)
    assert (width(fresh), fresh.get_parameter("decoder.0.weight").shape[0]) == (10, 3)


def test_the_run_s_seed_draws_the_new_units() -> None:
    drawn = []
    for seed in (1, 1, 2):
        model = Regression()
        L.seed_everything(seed, verbose=False)
        loss(model, expansion(init="normal"))
        drawn.append((model.encoder[0].weight[8:], model.encoder[2].weight[:, 8:]))  # type: ignore[index]
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[0][0], drawn[2][0])
    assert all(columns.all() for _, columns in drawn)


BIO, CYBER = {"num_units": 2, "name": "bio"}, {"num_units": 3, "name": "cyber"}
TOPICS = Route("encoder.1", RULE, {"rest": ":8", "bio": "8:10", "cyber": "10:"}, weights={"low": {"bio": 1.0}})


def test_several_expansions_of_a_layer_follow_each_other_and_are_cut_one_by_one(tmp_path: Path) -> None:
    def callbacks(*cut: str) -> list[L.Callback]:
        ablations = [Ablation(list(cut), at="end", mode="slice")] if cut else []
        return [expansion(**BIO), expansion(**CYBER), GradientRouting([TOPICS]), *ablations]

    model = Regression()
    train(model, tmp_path, *callbacks()).save_checkpoint(tmp_path / "all.ckpt")
    assert width(model) == 13
    for cut, left in ((["bio"], [*range(8), 10, 11, 12]), (["cyber"], range(10)), (["bio", "cyber"], range(8))):
        folder = tmp_path / "-".join(cut)
        train(model, folder, *callbacks(*cut))
        fresh = Regression()
        loss(fresh, *callbacks(), checkpoint=folder / "ablated.ckpt")
        trained = model.get_parameter("encoder.0.weight")
        assert torch.equal(fresh.get_parameter("encoder.0.weight"), trained[list(left)])
        loss(fresh, *callbacks(), checkpoint=tmp_path / "all.ckpt")
        assert width(fresh) == 13


def test_checkpoints_that_do_not_tell_expansions_apart_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(Regression(), tmp_path, expansion(**BIO)).save_checkpoint(tmp_path / "one.ckpt")
    fresh = Regression()
    loss(fresh, expansion(**BIO), expansion(name="cyber"), checkpoint=tmp_path / "one.ckpt")
    assert width(fresh) == 10
    assert "may be any of [['old', 'bio'], ['old', 'cyber']]" in caplog.text


def test_expansions_that_would_do_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got 'new' twice for \['encoder.1'\]"):
        loss(Regression(), expansion(), expansion())
    model = Regression()
    loss(model, expansion())
    with pytest.raises(
        ValueError, match="`num_units`: expected 2, with which 'encoder.1' was expanded by 'new' before"
    ):
        loss(model, expansion(num_units=3))
    with pytest.raises(ValueError, match="`name`: expected an identifier other than 'old', got 'two words'"):
        expansion(name="two words")


def test_no_hook_is_left(tmp_path: Path) -> None:
    class Failing(Regression):
        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
            raise RuntimeError("broken")

    model, failing = Regression(), Failing()
    loss(model, expansion())
    with pytest.raises(RuntimeError, match="broken"):
        train(failing, tmp_path, expansion())
    assert not model._load_state_dict_pre_hooks
    assert not failing._load_state_dict_pre_hooks


def test_mistakes_are_told() -> None:
    class Late(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.later, self.encoder = self.encoder, None  # type: ignore[assignment]

        def setup(self, stage: str) -> None:
            self.encoder = self.later

    with pytest.raises(ValueError, match="a module of Late, got 'encoder.1'.* must build its model in `__init__`"):
        loss(Late(), expansion())
    with pytest.raises(ValueError, match="`num_units`: expected a positive multiple of 1 for 'encoder.1', got 0"):
        loss(Regression(), expansion(num_units=0))


def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path) -> None:
    train(Regression(), tmp_path, expansion()).save_checkpoint(tmp_path / "trained.ckpt")
    with pytest.raises(RuntimeError, match="size mismatch"):
        loss(Regression(), expansion(num_units=3), checkpoint=tmp_path / "trained.ckpt")
