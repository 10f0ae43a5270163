import copy
import csv
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning as L
import pytest
import torch
from routed_run import Regression, make_trainer
from tiny_texts import NextToken, Texts
from torch import Tensor, nn

from lightning_vista.callbacks import Ablation, RelearningAttack
from lightning_vista.callbacks.relearning_attack import _points
from lightning_vista.models.curve import lowest
from lightning_vista.models.finetuning import finetune, held_out_texts
from lightning_vista.routing import LabelRule, Route

Figures = dict[str, float]


def attack(**options: Any) -> RelearningAttack:
    usual: dict[str, Any] = {"num_samples": [1, 8], "steps": 6, "repeats": 2, "num_evaluated": 20, "seed": 5}
    return RelearningAttack(**usual | {"learning_rate": 0.02, "evaluate_every": 2} | options)


def measure(folder: Path, model: L.LightningModule, data: Texts, *callbacks: L.Callback) -> Figures:
    (figures,) = make_trainer(*callbacks, default_root_dir=folder).test(model, data, verbose=False)
    return dict(figures)


def test_copies_are_fine_tuned_on_forget_texts(tmp_path: Path) -> None:
    model, data = NextToken(), Texts()
    figures = measure(tmp_path, model, data, attack())
    held_out = held_out_texts(data, "test", 20, 5)
    (before,) = finetune(NextToken().eval(), data.sample("train", True, 1, 5), held_out, steps=0)
    rows = [[0, 0, *before.values()]]
    assert figures["test/relearned/0/forget"] == pytest.approx(before["forget"])
    assert figures["test/relearned/0/retain"] == pytest.approx(before["retain"])
    for count in (1, 8):
        best = []
        for repeat in range(2):
            texts = data.sample("train", True, count, 5 + repeat)
            curve = finetune(NextToken().eval(), texts, held_out, 6, 0.02, evaluate_every=2)
            best.append(lowest(curve, "forget"))
            rows += [[count, repeat, *point.values()] for point in curve]
        for kind in ("forget", "retain"):
            assert figures[f"test/relearned/{count}/{kind}"] == pytest.approx(fmean(point[kind] for point in best))
    with (tmp_path / "relearning.csv").open(encoding="utf-8") as file:
        head, *table = csv.reader(file)
    assert head == ["num_samples", "repeat", "step", "forget", "retain"]
    assert [[float(cell) for cell in row] for row in table] == [pytest.approx(row) for row in rows]


def test_a_model_that_is_frozen_in_part_is_attacked_like_any_other(tmp_path: Path) -> None:
    """An adapter left in a model freezes the rest; the model would look robust if only that were attacked."""
    frozen = NextToken()
    for parameter in list(frozen.parameters())[:-1]:
        parameter.requires_grad_(False)
    plain, other = (measure(tmp_path, model, Texts(), attack()) for model in (NextToken(), frozen))
    assert other == plain
    assert not next(frozen.parameters()).requires_grad


def test_the_tested_model_and_random_numbers_stay(tmp_path: Path) -> None:
    plain, random = measure(tmp_path, NextToken(), Texts()), torch.get_rng_state()
    model = NextToken()
    before = copy.deepcopy(model.state_dict())
    figures = measure(tmp_path, model, Texts(), attack())
    assert figures["test/loss"] == plain["test/loss"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_every_model_is_attacked_with_the_same_texts_and_every_repeat_with_others(tmp_path: Path) -> None:
    drawn = []
    for seed in (0, 1):
        data = Texts()
        measure(tmp_path, NextToken(seed), data, attack())
        drawn.append([call for call in data.drawn if call[0] == "train"])
    assert drawn[0] == drawn[1]
    assert {call[3] for call in drawn[0]} == {5, 6}


def test_test_texts_are_not_trained_on(tmp_path: Path) -> None:
    uses: set[tuple[str, bool]] = set()

    class Listening(NextToken):
        def token_losses(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
            result = super().token_losses(batch)
            uses.update(self.uses)
            return result

    measure(tmp_path, Listening(), Texts(), attack())
    assert uses == {("train", True), ("test", False)}


class Zeros(nn.Module):
    """Hidden units that are all ablated."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x


def test_what_is_ablated_while_testing_is_ablated_in_attacks(tmp_path: Path) -> None:
    route = Route("network.2", LabelRule("split", {"all": [0]}), {"all": "0:8"})
    ablation, ablated, whole = Ablation(["all"], routes=[route]), attack(), attack()
    measure(tmp_path, NextToken(), Texts(), ablation, ablated)
    expected = NextToken()
    expected.network[2] = Zeros()
    measure(tmp_path, expected, Texts(), whole)
    for ours, theirs in zip(ablated.curves[8][1], whole.curves[8][1], strict=True):
        assert ours == pytest.approx(theirs)


def test_a_quick_trial_makes_no_attack(tmp_path: Path) -> None:
    trainer = make_trainer(attack(), default_root_dir=tmp_path, fast_dev_run=True)
    (figures,) = trainer.test(NextToken(), Texts(), verbose=False)
    assert set(figures) == {"test/loss"}
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_told_before_testing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected 21 rows, there are 20"):
        measure(tmp_path, NextToken(), Texts(), attack(num_samples=[4, 21]))
    wrongs: list[dict[str, Any]] = [{"num_samples": [0, 4]}, {"num_samples": []}, {"repeats": 0}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="`num_samples`, `repeats`: expected numbers of at least 1"):
            attack(**wrong)
    with pytest.raises(ValueError, match=r"RelearningAttack: expected a module with `token_losses\(batch\)`"):
        measure(tmp_path, Regression(), Texts(), attack())


def test_the_best_rate_is_chosen_on_validation_texts_and_reported_on_test_texts(tmp_path: Path) -> None:
    rates, single = [1e-4, 0.05, 3.0], {}
    several = attack(learning_rate=rates, steps=10)
    figures = measure(tmp_path / "several", NextToken(), Texts(), several)
    data, choosing = Texts(), {}
    for rate in rates:
        single[rate] = measure(tmp_path / f"{rate}", NextToken(), Texts(), attack(learning_rate=rate, steps=10))
        held_out = {"validation": data.sample("validation", True, 20, 5)}
        curves = [
            finetune(NextToken().eval(), data.sample("train", True, 8, 5 + repeat), held_out, 10, rate, 2)
            for repeat in range(2)
        ]
        choosing[rate] = fmean(lowest(curve, "validation")["validation"] for curve in curves)
    best = min(choosing, key=choosing.__getitem__)
    assert figures["test/relearned/8/learning_rate"] == pytest.approx(best)
    for kind in ("forget", "retain"):
        assert figures[f"test/relearned/0/{kind}"] == single[best][f"test/relearned/0/{kind}"]
        assert figures[f"test/relearned/8/{kind}"] == single[best][f"test/relearned/8/{kind}"]
        for rate in rates:
            assert figures[f"test/relearned/8/rate_{rate:g}/{kind}"] == single[rate][f"test/relearned/8/{kind}"]
    assert several.learning_rates[8] == best
    with (tmp_path / "several/relearning.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["learning_rate"] == ""
    assert {row["learning_rate"] for row in rows[1:]} == {str(rate) for rate in rates}


def test_forget_and_retain_texts_are_mixed(tmp_path: Path) -> None:
    data, mixed = Texts(), attack(num_samples=[8], repeats=1, retain_share=0.2)
    measure(tmp_path, NextToken(), data, mixed)
    assert {call for call in data.drawn if call[0] == "train"} == {("train", True, 8, 5), ("train", False, 2, 5)}
    both = [data.sample("train", is_forget, 20, 5) for is_forget in (True, False)]
    rows = {name: torch.cat([both[0][name][:8], both[1][name][:2]]) for name in both[0]}
    curve = finetune(NextToken().eval(), rows, held_out_texts(data, "test", 20, 5), 6, 0.02, evaluate_every=2)
    assert mixed.curves[8][0] == [pytest.approx(point) for point in curve]


def test_steps_back_to_a_baseline(tmp_path: Path) -> None:
    plain = attack(evaluate_every=1)
    figures = measure(tmp_path / "plain", NextToken(), Texts(), plain)
    assert "test/relearned/8/steps_to_baseline" not in figures
    losses = [[point["forget"] for point in curve] for curve in plain.curves[8]]
    loss = max(min(curve) for curve in losses)  # which both repeats reach
    figures = measure(tmp_path, NextToken(), Texts(), attack(evaluate_every=1, baseline=loss))
    steps = [next(step for step, found in enumerate(curve) if found <= loss) for curve in losses]
    assert figures["test/relearned/8/steps_to_baseline"] == fmean(steps) > 0
    assert "test/relearned/0/steps_to_baseline" not in figures
    unreached = measure(tmp_path, NextToken(), Texts(), attack(evaluate_every=1, baseline=loss - 1e-4))
    assert unreached["test/relearned/8/steps_to_baseline"] == math.inf
    for path in (tmp_path / "plain", tmp_path / "plain/relearning.csv"):
        same = measure(tmp_path, NextToken(), Texts(), attack(baseline=str(path)))
        assert same["test/relearned/8/steps_to_baseline"] == 0


def test_an_attack_without_progress_ends_after_its_patience(tmp_path: Path) -> None:
    options: dict[str, Any] = {"num_samples": [4], "repeats": 3, "steps": 30, "learning_rate": 0.3}
    whole, short = attack(**options), attack(**options, patience=2)
    measure(tmp_path, NextToken(), Texts(), whole)
    measure(tmp_path, NextToken(), Texts(), short)
    for curve, ended in zip(whole.curves[4], short.curves[4], strict=True):
        losses = [point["forget"] for point in curve]
        best = next(place for place, loss in enumerate(losses) if loss <= min(losses[: place + 3]))
        assert ended == curve[: best + 3]
    assert any(len(curve) < 16 for curve in short.curves[4])


def test_options_out_of_range_are_refused(tmp_path: Path) -> None:
    shares: list[dict[str, Any]] = [{"retain_share": 1.0}, {"retain_share": -0.1}]
    for wrong in [{"learning_rate": []}, *shares, {"patience": 0}]:
        with pytest.raises(ValueError, match="`learning_rate`, `retain_share`, `patience`: expected at least one rate"):
            attack(**wrong)
    (tmp_path / "relearning.csv").write_text("num_samples,forget\n4,1.0\n")
    with pytest.raises(ValueError, match="`baseline`: expected a table `relearning.csv` with a loss of 0 texts"):
        measure(tmp_path, NextToken(), Texts(), attack(baseline=str(tmp_path)))
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        measure(tmp_path, NextToken(), Texts(), attack(baseline="absent.csv"))


def test_the_mean_over_repeats_is_always_over_all_of_them() -> None:
    long = [{"step": step, "forget": 4.0 - step / 10} for step in range(0, 16, 5)]
    short = [{"step": 0, "forget": 4.0}, {"step": 5, "forget": 3.5}]  # patience was over
    assert [(point.x, point.mean) for point in _points([short, long], "forget")] == [
        (0, 4.0),
        (5, 3.5),
        (10, 3.25),
        (15, 3.0),
    ]
