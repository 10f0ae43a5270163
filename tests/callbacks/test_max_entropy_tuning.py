import csv
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from routed_run import Batches, make_trainer
from tiny_texts import VOCABULARY, NextToken, Texts

from lightning_vista.callbacks import Ablation, MaxEntropyTuning
from lightning_vista.routing import LabelRule, Route


def tuning(**options: Any) -> MaxEntropyTuning:
    usual: dict[str, Any] = {"num_samples": 12, "num_evaluated": 20, "learning_rate": 0.02, "steps": 5, "batch_size": 4}
    return MaxEntropyTuning(**usual | options)


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def test_each_step_is_adamw_on_the_divergence_and_the_retain_loss(tmp_path: Path) -> None:
    model, data = NextToken(), Texts()
    make_trainer(tuning(seed=3), default_root_dir=tmp_path).fit(model, data)
    expected = NextToken().eval()
    expected.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(expected.parameters(), 0.02)
    generator = torch.Generator().manual_seed(3)
    forget, retain = data.sample("train", True, 12, 3)["ids"], data.sample("train", False, 12, 3)["ids"]
    for _ in range(5):
        divergences, losses = [], []
        for kind, texts in ((True, forget), (False, retain)):
            for row in texts[torch.randperm(12, generator=generator)[:4]]:
                for before, after in pairwise(row):
                    if after > 0:
                        p = expected.network(before).softmax(0)
                        divergences += [(p * (p / (1 / VOCABULARY)).log()).sum()] if kind else []
                        losses += [] if kind else [-p[after].log()]
        optimizer.zero_grad()
        (torch.stack(divergences).mean() + 15 * torch.stack(losses).mean()).backward()
        optimizer.step()
    torch.testing.assert_close(weights(tmp_path / "max_entropy.ckpt"), dict(expected.state_dict()))


def test_forget_texts_become_uniform_and_retain_texts_stay(tmp_path: Path) -> None:
    callback = tuning(steps=120, retain_weight=1.0, evaluate_every=100)
    make_trainer(callback, default_root_dir=tmp_path, max_epochs=20).fit(NextToken(), Texts())
    before, after = callback.curve[0], callback.curve[-1]
    assert after["forget"] > before["forget"]
    free = tuning(steps=120, retain_weight=0.0)
    make_trainer(free, default_root_dir=tmp_path, max_epochs=20).fit(NextToken(), Texts())
    assert free.curve[-1]["forget"] == pytest.approx(math.log(VOCABULARY), abs=0.01)
    assert after["retain"] < free.curve[-1]["retain"]
    with (tmp_path / "max_entropy.csv").open() as file:
        assert [float(row["retain"]) for row in csv.DictReader(file)] == [p["retain"] for p in free.curve]


def test_it_works_on_what_was_ablated(tmp_path: Path) -> None:
    route = Route("network.2", LabelRule("split", {"old": [0]}), {"old": "0:6", "new": "rest"})
    ablation = Ablation(["new"], at="end", mode="slice", routes=[route])
    make_trainer(ablation, tuning(), default_root_dir=tmp_path).fit(NextToken(), Texts())
    assert weights(tmp_path / "max_entropy.ckpt")["network.1.weight"].shape == (6, 4)


def test_the_seed_decides_bit_for_bit_and_no_other_random_numbers_are_drawn(tmp_path: Path) -> None:
    results = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_trainer(tuning(seed=seed), default_root_dir=tmp_path / folder).fit(NextToken(), Texts())
        results.append(weights(tmp_path / folder / "max_entropy.ckpt")["network.1.weight"])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_what_is_missing_is_told_before_training() -> None:
    class WithoutLogits(NextToken):
        token_logits = None  # type: ignore[assignment] # so that it has none

    with pytest.raises(ValueError, match="Expected 21 rows, there are 20"):
        make_trainer(tuning(num_samples=21)).fit(NextToken(), Texts())
    with pytest.raises(ValueError, match=r"MaxEntropyTuning: expected a module with `token_losses.* and Batches"):
        make_trainer(tuning()).fit(NextToken(), Batches())
    with pytest.raises(ValueError, match=r"MaxEntropyTuning: expected a module with `token_logits\(batch\)`, .* got W"):
        make_trainer(tuning()).fit(WithoutLogits(), Texts())
