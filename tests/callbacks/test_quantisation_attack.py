import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from routed_run import Regression, make_trainer
from tiny_texts import NextToken, Texts

from lightning_vista.callbacks import QuantisationAttack
from lightning_vista.models.finetuning import held_out_texts, mean_losses
from lightning_vista.models.quantisation import Rounding, round_weights


def test_rounded_copies_are_evaluated_on_the_same_texts(tmp_path: Path) -> None:
    model, data = NextToken(), Texts()
    before = copy.deepcopy(model.state_dict())
    attack = QuantisationAttack(group_size=2, num_evaluated=20, seed=5)
    (figures,) = make_trainer(attack, default_root_dir=tmp_path).test(model, data, verbose=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    held_out = held_out_texts(data, "test", 20, 5)
    for form, rounding in (("none", None), ("int8", Rounding(8)), ("int4", Rounding(4, 2))):
        expected = NextToken().eval()
        with torch.no_grad():
            for layer in (expected.network[1], expected.network[4]) if rounding else ():
                layer.weight.copy_(round_weights(layer.weight, rounding))  # type: ignore[arg-type,operator] # Linear
        for kind, loss in mean_losses(expected, held_out).items():
            assert figures[f"test/quantised/{form}/{kind}"] == pytest.approx(loss)
    assert figures["test/quantised/int4/forget"] != pytest.approx(figures["test/quantised/none/forget"], abs=1e-4)


def test_a_quick_trial_makes_no_attack(tmp_path: Path) -> None:
    trainer = make_trainer(QuantisationAttack(), default_root_dir=tmp_path, fast_dev_run=True)
    with pytest.raises(ValueError, match="Expected 64 rows"):
        trainer.test(NextToken(), Texts(), verbose=False)
    trainer = make_trainer(QuantisationAttack(num_evaluated=2), default_root_dir=tmp_path, fast_dev_run=True)
    (figures,) = trainer.test(NextToken(), Texts(), verbose=False)
    assert set(figures) == {"test/loss"}


def test_what_cannot_be_is_refused() -> None:
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"forms": ["int2"]}, "`forms`: expected one of 'int8', 'int4', got 'int2'"),
        ({"forms": []}, "expected at least one form"),
        ({"group_size": 0}, r"got \['int8', 'int4'\] and 0"),
    ]
    for wrong, message in wrongs:
        with pytest.raises(ValueError, match=message):
            QuantisationAttack(**wrong)
    with pytest.raises(ValueError, match="QuantisationAttack: expected a module with `token_losses"):
        make_trainer(QuantisationAttack(num_evaluated=2)).test(Regression(), Texts(), verbose=False)
