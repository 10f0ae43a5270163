from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from routed_run import Batches, Regression, make_trainer
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_vista.callbacks import GradientRouting
from lightning_vista.cli import main
from lightning_vista.routing import (
    FieldRule,
    FrequencyRule,
    LabelRule,
    MixtureRule,
    ParameterRoute,
    Route,
    Router,
    Rule,
    StochasticRule,
)

TOPICS = LabelRule("topic", {"core": [0], "bio": [1], "cyber": [2]})
CHANGES = {"bio": {"core+bio": 0.3}, "core": {"core+bio": 0.25, "core+cyber": 0.25, "default": 0.1}}


def goal(members: Tensor, groups: tuple[str, ...]) -> str:
    """The name of the one group of a row, or default mode."""
    assert members.sum() in (0, 1)
    return groups[int(members.argmax())] if members.any() else "default"


def goals(rule: Rule, topics: list[int], batches: int) -> list[list[str]]:
    batch = {"topic": torch.tensor(topics)}
    return [[goal(row, rule.groups) for row in rule.memberships(batch)] for _ in range(batches)]


def chi_square(counts: Counter[str], shares: dict[str, float]) -> float:
    assert set(counts) == set(shares)
    total = sum(counts.values())
    return sum((counts[name] - share * total) ** 2 / (share * total) for name, share in shares.items())


def test_new_groups_come_last_in_the_order_of_changes() -> None:
    assert StochasticRule(TOPICS, CHANGES).groups == ("core", "bio", "cyber", "core+bio", "core+cyber")


def test_frequencies_and_homogeneous_batches() -> None:
    drawn = goals(StochasticRule(TOPICS, CHANGES, seed=1), [0, 1, 2, 0, 1], 4000)
    assert all(batch[0] == batch[3] and batch[1] == batch[4] and batch[2] == "cyber" for batch in drawn)
    core, bio = Counter(batch[0] for batch in drawn), Counter(batch[1] for batch in drawn)
    assert chi_square(core, {"core": 0.4, "core+bio": 0.25, "core+cyber": 0.25, "default": 0.1}) < 11.3  # 3, 1 %
    assert chi_square(bio, {"bio": 0.7, "core+bio": 0.3}) < 6.6
    # The two groups are drawn independently.
    both = sum(batch[0] == "core" and batch[1] == "bio" for batch in drawn) / len(drawn)
    assert both == pytest.approx(0.28, abs=0.025)


def test_samples_are_drawn_one_by_one() -> None:
    rule = StochasticRule(TOPICS, CHANGES, per="sample", seed=2)
    drawn = goals(rule, [0] * 50, 80)
    assert any(len(set(batch)) > 1 for batch in drawn)
    counts = Counter(name for batch in drawn for name in batch)
    assert chi_square(counts, {"core": 0.4, "core+bio": 0.25, "core+cyber": 0.25, "default": 0.1}) < 11.3
    assert sum(batch[0] == batch[1] == "core" for batch in drawn) / len(drawn) == pytest.approx(0.16, abs=0.12)


def test_the_seed_and_the_number_of_batches_decide() -> None:
    first, second, other = (StochasticRule(TOPICS, CHANGES, seed=seed) for seed in (3, 3, 4))
    whole = goals(first, [0, 1], 40)
    assert goals(second, [0, 1], 15) == whole[:15]
    assert goals(other, [0, 1], 40) != whole
    resumed = StochasticRule(TOPICS, CHANGES, seed=3)
    resumed.load_state_dict(second.state_dict())
    assert goals(resumed, [1], 25) == [[bio] for _, bio in whole[15:]]  # whatever else is in the batch


def test_rules_around_it_keep_its_state() -> None:
    def wrapped() -> MixtureRule:
        return MixtureRule([LabelRule("other", {"x": [9]}), StochasticRule(TOPICS, CHANGES, seed=3)])

    first, second = wrapped(), wrapped()
    batch = {"topic": torch.tensor([0, 1]), "other": torch.tensor([0, 0])}
    whole = [first.memberships(batch) for _ in range(30)]
    for _ in range(10):
        second.memberships(batch)
    third = wrapped()
    third.load_state_dict(second.state_dict())
    assert all(torch.equal(third.memberships(batch), expected) for expected in whole[10:])
    assert TOPICS.state_dict() == {}


def test_counting_tokens_draws_nothing() -> None:
    split = StochasticRule(LabelRule("is_forget", {"forget": [1], "retain": [0]}), {"retain": {"default": 0.75}})
    split.memberships({"is_forget": torch.tensor([0])})
    batch = {"input_ids": torch.tensor([[1, 2]]), "is_forget": torch.tensor([0])}
    FrequencyRule(split).setup(SimpleNamespace(tokenizer=range(3), train_dataloader=lambda: [batch] * 5))
    assert split.state_dict()["num_batches"] == 1


@pytest.mark.parametrize("per", ["batch", "sample"])
def test_only_rows_of_one_group_change(per: Any) -> None:
    members = torch.tensor([[[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], [[0.9, 0.1], [0.0, 0.0], [1.0, 0.0]]])
    rule = StochasticRule(FieldRule("members", ["a", "b"]), {"a": {"new": 1.0}, "b": {"default": 1.0}}, per=per)
    expected = [[[0, 0, 1], [0.5, 0.5, 0], [0, 0, 0]], [[0.9, 0.1, 0], [0, 0, 0], [0, 0, 1]]]
    torch.testing.assert_close(rule.memberships({"members": members}), torch.tensor(expected))


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match=r"expected groups of the rule, .* got \['chem'\]"):
        StochasticRule(TOPICS, {"chem": {"bio": 0.5}})
    with pytest.raises(ValueError, match="at most 1 together, got .* for 'bio'"):
        StochasticRule(TOPICS, {"bio": {"core": 0.6, "cyber": 0.5}})
    with pytest.raises(ValueError, match="`per`: expected one of 'batch', 'sample', got 'epoch'"):
        StochasticRule(TOPICS, {}, per="epoch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected no group 'default'"):
        StochasticRule(LabelRule("topic", {"default": [0]}), {})


def test_a_router_asks_a_shared_rule_once_a_batch() -> None:
    rule = StochasticRule(LabelRule("label", {"low": [0], "high": [1]}), {"low": {"high": 0.5}})
    route = Route("encoder.1", rule, {"low": "0:3", "high": "rest"})
    router = Router([route, ParameterRoute(rule, {"low": 0.0}, ["*.2.*"])])
    router.attach(Regression())
    for _ in range(3):
        router.compute({"label": torch.tensor([0, 0])})
    router.detach()
    assert rule.state_dict()["num_batches"] == 3


class Noting(L.Callback):
    """Notes the group of each batch, and saves a checkpoint after the first epoch."""

    def __init__(self, routing: GradientRouting, path: Path | None = None) -> None:
        self.tap, self.path, self.goals = routing.router, path, list[str]()

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        members = self.tap.taps[0].members
        assert members is not None
        self.goals.append(goal(members[0], self.tap.routes[0].rule.groups))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.path and trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


class Low(Batches):
    """Sixteen batches of one group."""

    def batches(self, count: int, seed: int) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(seed)
        items: Any = [{"x": torch.randn(4, 3, generator=generator), "label": torch.zeros(4)} for _ in range(16)]
        return DataLoader(items, batch_size=None)


@pytest.mark.parametrize("accumulated", [1, 4])
def test_a_resumed_run_draws_on(tmp_path: Path, accumulated: int) -> None:
    def fit(checkpoint: Path | None, saved: Path | None) -> tuple[list[str], list[Tensor]]:
        labels = LabelRule("label", {"low": [0], "high": [1]})
        rule = StochasticRule(labels, {"low": {"high": 0.3, "default": 0.3}}, seed=5)
        routing = GradientRouting([Route("encoder.1", rule, {"low": "0:3", "high": "rest"})])
        noting, model = Noting(routing, saved), Regression()
        options: dict[str, Any] = {"max_epochs": 2, "accumulate_grad_batches": accumulated}
        make_trainer(routing, noting, default_root_dir=tmp_path, **options).fit(model, Low(), ckpt_path=checkpoint)
        return noting.goals, [parameter.detach() for parameter in model.parameters()]

    whole, weights = fit(None, tmp_path / "first.ckpt")
    rest, resumed = fit(tmp_path / "first.ckpt", None)
    assert len(whole) == 32
    assert set(whole) == {"low", "high", "default"}
    assert whole[:16] != whole[16:]
    assert rest == whole[16:]
    assert all(map(torch.equal, resumed, weights))


def test_it_is_written_in_yaml(tmp_path: Path) -> None:
    inner = {
        "class_path": "lightning_vista.routing.LabelRule",
        "init_args": {"field": "label", "groups": {"low": [0], "high": [1]}},
    }
    changes = {"low": {"both": 0.5}, "high": {"both": 0.5}}
    rule = {"class_path": "lightning_vista.routing.StochasticRule", "init_args": {"rule": inner, "changes": changes}}
    routes = [{"module": "encoder.1", "rule": rule, "regions": {"low": "0:3", "high": "rest"},
               "weights": {"both": {"low": 1.0, "high": 1.0}}}]  # fmt: skip
    routing = {"class_path": "lightning_vista.callbacks.GradientRouting", "init_args": {"routes": routes}}
    config = {
        "model": {"class_path": "routed_run.Regression"}, "data": {"class_path": "routed_run.Batches"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_progress_bar": False,
                    "default_root_dir": str(tmp_path), "callbacks": [routing]},
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    main(["fit", "--config", str(tmp_path / "run.yaml")])
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    states = torch.load(checkpoint, weights_only=True)["callbacks"]
    assert [state["rules"] for key, state in states.items() if key.startswith("GradientRouting")] == [
        [{"num_batches": 4}]
    ]
