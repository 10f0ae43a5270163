from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from routed_run import Batches, Regression, make_trainer
from torch import Tensor

from lightning_vista.callbacks import (
    CoherenceTuning,
    Finishing,
    MaxEntropyTuning,
    QuantisationAttack,
    RelearningAttack,
    RepresentationMisdirection,
    Undo,
)
from lightning_vista.text import load_tokenizer, word_tokenizer


class Shifting(Finishing):
    """Adds 1 to all weights of a module."""

    name = "shifted"
    seen: L.LightningModule | None = None

    def finish(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert not module.training
        assert torch.is_grad_enabled()
        self.seen = module
        change(module, 1.0)


class Doubling(Shifting):
    """Multiplies them by 2."""

    name = "doubled"

    def finish(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        change(module, 0.0, 2.0)


def change(module: L.LightningModule, shift: float, factor: float = 1.0) -> None:
    for parameter in module.parameters():
        parameter.data = parameter.data * factor + shift


def weight(folder: Path, name: str) -> Tensor:
    tensor: Tensor = torch.load(folder / f"{name}.ckpt", weights_only=True)["state_dict"]["encoder.0.weight"]
    return tensor


def test_each_goes_on_with_what_the_one_before_has_made(tmp_path: Path) -> None:
    model, callbacks = Regression(), [Shifting(), Doubling()]
    make_trainer(*callbacks, default_root_dir=tmp_path).fit(model, Batches())
    trained = model.get_parameter("encoder.0.weight").detach()
    torch.testing.assert_close(weight(tmp_path, "shifted"), trained + 1)
    torch.testing.assert_close(weight(tmp_path, "doubled"), 2 * (trained + 1))
    assert all(callback.result is None for callback in callbacks)  # freed
    assert callbacks[0].seen is not model
    assert model.training


def test_the_order_is_that_of_the_list(tmp_path: Path) -> None:
    model = Regression()
    make_trainer(Doubling(), Shifting(), default_root_dir=tmp_path).fit(model, Batches())
    torch.testing.assert_close(weight(tmp_path, "shifted"), 2 * model.get_parameter("encoder.0.weight").detach() + 1)


def test_a_model_that_saves_itself_is_written_into_a_folder(tmp_path: Path) -> None:
    class Own(torch.nn.Linear):
        def save_pretrained(self, save_directory: Path) -> None:
            save_directory.mkdir()
            torch.save(self.state_dict(), save_directory / "weights.pt")

    model = Regression()
    model.encoder[0] = Own(3, 8)
    make_trainer(Shifting(), default_root_dir=tmp_path).fit(model, Batches())
    written = torch.load(tmp_path / "shifted" / "weights.pt", weights_only=True)
    assert torch.equal(written["weight"], weight(tmp_path, "shifted"))


def test_the_tokenizer_lies_beside_the_model(tmp_path: Path) -> None:
    class Own(torch.nn.Linear):
        def save_pretrained(self, save_directory: Path) -> None:
            (save_directory / "config.json").parent.mkdir()

    data = Batches()
    data.tokenizer = word_tokenizer(["a b"])  # type: ignore[attr-defined]
    model = Regression()
    make_trainer(Shifting(), default_root_dir=tmp_path / "plain").fit(model, data)
    assert not (tmp_path / "plain" / "shifted").exists()  # no folder of a model
    model.encoder[0] = Own(3, 8)
    make_trainer(Shifting(), default_root_dir=tmp_path).fit(model, data)
    assert load_tokenizer(str(tmp_path / "shifted")).tokenize("b a") == ["b", "a"]


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    class Own(torch.nn.Linear):
        def save_pretrained(self, save_directory: Path) -> None:
            save_directory.mkdir(parents=True)

    model = Regression()
    with pytest.raises(ValueError, match="`write`: expected a module with a transformers model for 'folder', got Regr"):
        make_trainer(Shifting("folder"), default_root_dir=tmp_path).fit(model, Batches())
    with pytest.raises(ValueError, match="`write`: expected one of 'both', 'checkpoint', 'folder', got 'file'"):
        Shifting("file")  # type: ignore[arg-type] # refused
    model.encoder[0] = Own(3, 8)
    for write, expected in (("folder", {"shifted"}), ("checkpoint", {"shifted.ckpt"})):
        options: Any = {"write": write}
        make_trainer(Shifting(**options), default_root_dir=tmp_path / write).fit(model, Batches())
        assert {path.name for path in (tmp_path / write).iterdir()} == expected


def test_what_was_made_is_tested_as_any_checkpoint(tmp_path: Path) -> None:
    model, fresh = Regression(), Regression()
    make_trainer(Shifting(), default_root_dir=tmp_path).fit(model, Batches())
    make_trainer().test(fresh, Batches(), ckpt_path=tmp_path / "shifted.ckpt", verbose=False)
    torch.testing.assert_close(fresh.get_parameter("encoder.0.weight"), model.get_parameter("encoder.0.weight") + 1)


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (CoherenceTuning, "evaluate_every"),
        (MaxEntropyTuning, "evaluate_every"),
        (Undo, "evaluate_every"),
        (RelearningAttack, "evaluate_every"),
        (QuantisationAttack, "batch_size"),
        (partial(RepresentationMisdirection, "layer", ["*"]), "batch_size"),
    ],
)
def test_counts_below_one_are_refused_before_training(make: Callable[..., Any], option: str) -> None:
    with pytest.raises(ValueError, match=rf"`{option}`: expected at least 1, got 0"):
        make(**{option: 0})
