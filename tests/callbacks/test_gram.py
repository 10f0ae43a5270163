"""GRAM: modules per topic, each trained as by an optimizer of its own, and the profiles that they make."""

import copy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from routed_run import make_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_vista.callbacks import Ablation, BranchExpansion, CapabilityProfiles, GradientRouting
from lightning_vista.routing import LabelRule, ParameterRoute, Route, Rule, StochasticRule
from lightning_vista.routing.surgery import Branches

#: Topic of a batch -> the parts that it runs, and those that it trains. Topics with a + are what p_as and p_cr make of
#: batches; unlabelled ones run and train everything.
PARTS = {
    "core": ({"old"}, {"old"}),
    "bio": ({"old", "bio"}, {"bio"}),
    "cyber": ({"old", "cyber"}, {"cyber"}),
    "core+bio": ({"old", "bio"}, {"old", "bio"}),
    "core+cyber": ({"old", "cyber"}, {"old", "cyber"}),
    "unlabelled": ({"old", "bio", "cyber"}, {"old", "bio", "cyber"}),
}
TOPICS = list(PARTS)
LABELS = LabelRule("topic", {name: [number] for number, name in enumerate(TOPICS) if name != "unlabelled"})
#: The same groups, drawn at random; batches with labels of two parts are unlabelled to it.
DRAWN = StochasticRule(
    LabelRule("topic", {"core": [0], "bio": [1], "cyber": [2]}),
    {"core": {"core+bio": 0.25, "core+cyber": 0.25}, "bio": {"core+bio": 0.3}, "cyber": {"core+cyber": 0.3}},
)


class Topics(L.LightningModule):
    """An MLP that learns another linear function of each topic: core knows the first output, topics the others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mlp: nn.Module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        outputs: Tensor = self.mlp(batch["x"])
        return (outputs - batch["y"]).square().mean(-1)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.losses(batch).mean()

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        losses = self.losses(batch)
        for number, topic in enumerate(TOPICS[:3]):
            self.log(f"test/loss/{topic}", losses[batch["topic"] == number].mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.mlp)


class TopicData(L.LightningDataModule):
    """Batches of one topic each; one test batch of the first three topics."""

    def rows(self, topics: list[int], seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        x, topic = torch.randn(len(topics), 4, generator=generator), torch.tensor(topics)
        shown = torch.stack([x[:, 0], x[:, 1] * (topic == 1), x[:, 2] * (topic == 2)], dim=1)
        return {"x": x, "y": shown, "topic": topic}

    def train_dataloader(self) -> DataLoader[Any]:
        order = torch.randint(len(TOPICS), (60,), generator=torch.Generator().manual_seed(1)).tolist()
        batches: Any = [self.rows([topic] * 16, seed) for seed, topic in enumerate(order)]
        return DataLoader(batches, batch_size=None)

    def test_dataloader(self) -> DataLoader[Any]:
        batches: Any = [self.rows([0, 1, 2] * 100, seed=99)]
        return DataLoader(batches, batch_size=None)


def adamw(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=0.02, weight_decay=0.1)


def routes(rule: Rule) -> list[Route | ParameterRoute]:
    """Those of GRAM: what a batch does not run is zero, and what it does not train is held still."""
    found: list[Route | ParameterRoute] = []
    for part in ("old", "bio", "cyber"):
        idle = [name for name in rule.groups if part not in PARTS[name][0]]
        still = {name: 0.0 for name in rule.groups if part not in PARTS[name][1]}
        if part != "old":
            weights = {name: {part: float(name not in still)} for name in rule.groups}
            found.append(
                Route(f"mlp.{part}", rule, {part: "rest"}, weights=weights, forward={name: [part] for name in idle})
            )
        found.append(ParameterRoute(rule, still, parameters=[f"mlp.{part}.*"]))
    return found


def branches() -> list[L.Callback]:
    return [BranchExpansion(["mlp"], 4, hidden="1", name=name) for name in ("bio", "cyber")]


def trained_by_several_optimizers(module: Topics, rule: Rule) -> Topics:
    """The oracle: each part has an optimizer, which steps only for batches that train the part."""
    mlp = module.mlp
    parts = dict(mlp.named_children())
    optimizers = {name: adamw(part) for name, part in parts.items()}
    for batch in TopicData().train_dataloader():
        member = rule.memberships(batch)[0].tolist()
        runs, trains = PARTS[rule.groups[member.index(1.0)] if any(member) else "unlabelled"]
        outputs = sum(part(batch["x"]) for name, part in parts.items() if name in runs)
        module.zero_grad()
        (outputs - batch["y"]).square().mean(-1).mean().backward()
        for name in trains:
            optimizers[name].step()
    return module


@pytest.mark.parametrize("rule", [LABELS, DRAWN])
def test_parts_move_as_by_optimizers_of_their_own(rule: Rule) -> None:
    fresh = Topics()
    make_trainer(*branches()).test(fresh, TopicData(), verbose=False)  # adds the branches
    expected = trained_by_several_optimizers(copy.deepcopy(fresh), copy.deepcopy(rule))
    make_trainer(*branches(), GradientRouting(routes(copy.deepcopy(rule)))).fit(fresh, TopicData())
    for (name, ours), theirs in zip(fresh.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert {name.split(".")[1] for name, _ in fresh.named_parameters()} == {"old", "bio", "cyber"}


def test_profiles_know_the_topics_of_their_modules(tmp_path: Path) -> None:
    module = Topics()
    profiles = CapabilityProfiles(
        {"core": [], "core+bio": ["bio"], "core+cyber": ["cyber"], "all": ["bio", "cyber"]}, scales=[0, 0.5]
    )
    callbacks = [*branches(), GradientRouting(routes(LABELS)), profiles]
    options = {"max_epochs": 4, "default_root_dir": tmp_path}
    trainer = make_trainer(*callbacks, Ablation(["bio"], at="end", mode="slice"), **options)
    trainer.fit(module, TopicData())
    trainer.test(module, TopicData(), verbose=False)
    results = profiles.results
    for topic in ("bio", "cyber"):
        known, unknown = (results[name][f"loss/{topic}"] for name in (f"core+{topic}", "core"))
        assert known < 0.7 * unknown
        titrated = [results[f"core+{topic}{scale}"][f"loss/{topic}"] for scale in ("@0", "@0.5", "")]
        assert titrated == sorted(titrated, reverse=True)
        assert titrated[0] == unknown
    # One module of several is cut, and the other stays.
    cut = torch.load(tmp_path / "ablated.ckpt", weights_only=True)["state_dict"]
    assert isinstance(module.mlp, Branches)
    assert cut.keys() == {name for name in module.state_dict() if ".bio." not in name}
    (figures,) = make_trainer(*callbacks, **options).test(
        Topics(), TopicData(), ckpt_path=tmp_path / "ablated.ckpt", verbose=False
    )
    assert figures["test/loss/cyber"] == pytest.approx(results["core+cyber"]["loss/cyber"])
