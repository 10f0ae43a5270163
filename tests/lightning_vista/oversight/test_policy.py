from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from PIL import Image
from routed_run import make_trainer
from torch import Tensor

from lightning_vista.callbacks import GradientRouting
from lightning_vista.datamodules import GridworldDataModule
from lightning_vista.oversight import OversightPolicy
from lightning_vista.oversight.grid import Outcome, OversightGridworld
from lightning_vista.oversight.rollout import roll_out
from lightning_vista.routing import FieldRule, Route, Router


class Silent(OversightPolicy):
    """Log nowhere: it has no trainer."""

    def log(self, *args: Any, **kwargs: Any) -> None:
        pass

    log_dict = log


def silent(**options: Any) -> Any:
    """A small policy in double precision."""
    torch.manual_seed(0)
    return Silent(**{"size": 3, "width": 8, **options}).double()


def batch() -> dict[str, Tensor]:
    """Two hundred steps, most of them of episodes that were seen."""
    env = OversightGridworld(20, size=3, horizon=5, oversight_probability=0.7, seed=4)
    made = roll_out(env, lambda observation: torch.randint(4, (20,), generator=env.generator), 10)
    return made | {name: made[name].double() for name in ("observation", "memberships")}


def one_step_at_a_time(policy: Any, data: dict[str, Tensor], routed: bool) -> Tensor:
    """The loss, each step forward on its own, with the stop-gradient of the paper in place of hooks."""
    loss = torch.zeros((), dtype=torch.float64)
    outcome, members = data["outcome"], data["memberships"]
    envs, steps = outcome.shape
    for i in range(envs):
        for t in range(steps):
            end = next((u for u in range(t, steps) if outcome[i, u]), None)
            reached = end is not None and outcome[i, end] in (1, 2)
            seen = bool(members[i, t].any())
            target = policy.discount ** (end - t) if end is not None and reached else 0.0
            observation, (is_diamond, is_ghost) = data["observation"][i, t], members[i, t].tolist()
            diamond, ghost = (policy.experts[name](observation) for name in ("diamond", "ghost"))
            if routed:
                diamond = diamond.detach() if is_ghost else diamond
                ghost = ghost.detach() if is_diamond else ghost
            gate, value = policy.gate(observation)[0], policy.value(observation)[0]
            share, expected = gate.sigmoid(), 0.0 if seen and policy.baseline == "unseen" else value.detach()
            probabilities = policy.output(share * diamond + (1 - share) * ghost).softmax(0)
            loss = loss - probabilities[data["action"][i, t]].log() * (target - expected) / (envs * steps)
            loss = loss + policy.entropy_weight * (probabilities * probabilities.log()).sum() / (envs * steps)
            loss = loss + policy.value_weight * (target - value).square() / (envs * steps)
            if seen:
                loss = loss - policy.gate_weight * (share if is_diamond else 1 - share).log() / members.sum()
    return loss


@pytest.mark.parametrize("baseline", ["all", "unseen"])
@pytest.mark.parametrize("routed", [True, False])
def test_gradients_are_those_of_the_formula(routed: bool, baseline: str) -> None:
    policy, data = silent(gate_weight=0.3, baseline=baseline), batch()
    groups = data["memberships"].sum((0, 1))
    assert (groups > 10).all()
    assert groups.sum() < 190
    one_step_at_a_time(policy, data, routed).backward()
    expected = {name: parameter.grad for name, parameter in policy.named_parameters()}
    policy.zero_grad()
    rule = FieldRule("memberships", ["diamond", "ghost"])
    router = Router([Route(f"experts.{name}", rule, {name: "rest"}) for name in rule.groups], float(routed))
    router.attach(policy)
    router.compute(data)
    policy.training_step(data, 0).backward()
    for name, parameter in policy.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


@pytest.mark.parametrize("train_on", ["seen", "known"])
def test_filtering_learns_from_what_it_keeps_and_nothing_else(train_on: str) -> None:
    policy, data = silent(train_on=train_on, gate_weight=0.0), batch()
    policy.training_step(data, 0).backward()
    expected = {name: parameter.grad for name, parameter in policy.named_parameters() if parameter.grad is not None}
    policy.zero_grad()
    ends = torch.tensor([[next((int(o) for o in row[t:] if o), 0) for t in range(10)] for row in data["outcome"]])
    kept = (data["memberships"].sum(-1) > 0) | ((ends == Outcome.TIME_OUT) & (train_on == "known"))
    left_out = ~kept
    assert 10 < left_out.sum() < 190
    assert (ends == Outcome.TIME_OUT).sum() > 10
    data["observation"][left_out] = 0.5  # whatever it is
    data["action"][left_out] = 3
    policy.training_step(data, 0).backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(dict(policy.named_parameters())[name].grad, gradient)


def test_nothing_seen_is_nothing_learned() -> None:
    data = batch()
    nothing = data | {"memberships": torch.zeros_like(data["memberships"])}
    assert silent(train_on="seen", gate_weight=0.0).training_step(nothing, 0) == 0


def test_a_grid_of_another_size_is_refused() -> None:
    with pytest.raises(
        ValueError, match="36 features, for a grid of size 3, got 100. Give the policy and its environments"
    ):
        silent()(torch.zeros(1, 100, dtype=torch.float64))


def test_an_expert_alone_is_the_mixture_with_all_of_the_share() -> None:
    policy, observation = silent(), batch()["observation"]
    for actor, bias in (("diamond", 50.0), ("ghost", -50.0)):
        alone = policy(observation, actor)
        with torch.no_grad():
            policy.gate[-1].bias.fill_(bias)
        torch.testing.assert_close(policy(observation), alone)
    torch.testing.assert_close(alone.exp().sum(-1), torch.ones(20, 10, dtype=torch.float64))


def test_a_test_tells_how_the_episodes_of_each_actor_ended(tmp_path: Path) -> None:
    policy: Any = OversightPolicy(size=3, width=8)
    with torch.no_grad():
        policy.gate[-1].bias.fill_(3.0)
        policy.gate[-1].weight.zero_()
    data = GridworldDataModule(size=3, horizon=8, oversight_probability=0.5, test_episodes=300)
    trainer = make_trainer(default_root_dir=tmp_path)
    trainer.test(policy, data, verbose=False)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    for actor in policy.actors:
        shares = [found[f"test/{actor}/{end}"] for end in ("diamond", "ghost", "time_out")]
        assert sum(shares) == pytest.approx(1)
        assert found[f"test/{actor}/return"] == pytest.approx(shares[0] - shares[1])
    assert found["test/return"] == found["test/diamond/return"]
    gate = torch.tensor(3.0).sigmoid().item()
    assert [found[f"test/gate/{kind}"] for kind in ("diamond", "seen_ghost")] == pytest.approx([gate, gate])
    with Image.open(tmp_path / "policy.png") as picture:
        assert picture.size == (3 * 122 + 2, 2 * 122 + 2)
    again = make_trainer(default_root_dir=tmp_path)
    again.test(policy, data, verbose=False)
    assert {name: float(value) for name, value in again.callback_metrics.items()} == found


def test_the_training_return_is_the_mean_over_episodes(tmp_path: Path) -> None:
    # Of roll-outs with two steps, most see no episode end.
    returns: list[float] = []

    class Noted(OversightPolicy):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            outcome = batch["outcome"][batch["outcome"] > 0]
            returns.extend(((outcome == Outcome.DIAMOND).int() - (outcome == Outcome.GHOST).int()).tolist())
            return super().training_step(batch, batch_idx)

    L.seed_everything(0, verbose=False)
    data = GridworldDataModule(num_envs=2, num_steps=2, rollouts_per_epoch=40)
    trainer = make_trainer(limit_val_batches=0, default_root_dir=tmp_path)
    trainer.fit(Noted(size=5, width=8), data)
    assert 2 < len(returns) < 40
    assert trainer.callback_metrics["train/return"].item() == pytest.approx(sum(returns) / len(returns))


def learn(seed: int, mask_weight: float, folder: Path) -> dict[str, float]:
    """What the actors reach after 300 updates on a grid of 3x3, with a tenth of what they reach under oversight."""
    L.seed_everything(seed, verbose=False)
    rule = FieldRule("memberships", ["diamond", "ghost"])
    routes = [Route(f"experts.{name}", rule, {name: "rest"}) for name in rule.groups]
    options: dict[str, Any] = {"num_steps": 16, "horizon": 16, "rollouts_per_epoch": 300, "test_episodes": 1000}
    data = GridworldDataModule(0.1, num_envs=32, size=3, **options)
    policy = OversightPolicy(size=3, width=32, baseline="unseen")
    trainer = make_trainer(GradientRouting(routes, mask_weight), limit_val_batches=0, default_root_dir=folder)
    trainer.fit(policy, data)
    trainer.test(policy, data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_routing_makes_experts_of_experts(tmp_path: Path) -> None:
    """Thresholds that three other seeds met with a margin.

    Seeds 10, 11, 12: diamond's expert .71, .78, .74 (without routing .01, .10, .09); ghost's -.65, -.72, -.69 (-.05,
    -.07, -.04); gate in episodes seen to reach diamonds .66, .63, .68, ghosts .37, .32, .41.
    """
    found = learn(0, 1.0, tmp_path)
    assert found["test/return"] == found["test/diamond/return"] > 0.5
    assert found["test/ghost/return"] < -0.45
    assert found["test/gate/seen_diamond"] > found["test/gate/seen_ghost"] + 0.15


@pytest.mark.parametrize(
    ("option", "word", "message"),
    [
        ("punished", "none ", "Did you mean 'none'"),
        ("train_on", "unseen", "one of 'all', 'known', 'seen', got 'unseen'"),
        ("baseline", "seen", "one of 'all', 'unseen', got 'seen'"),
        ("deployed", "both", "one of 'mixed', 'diamond', 'ghost', got 'both'"),
    ],
)
def test_unknown_words_are_refused(option: str, word: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"`{option}`: expected .*{message}"):
        OversightPolicy(**{option: word})


def test_an_unknown_actor_is_refused() -> None:
    actor: Any = "gate"
    with pytest.raises(ValueError, match="`actor`: expected one of 'mixed', 'diamond', 'ghost', got 'gate'"):
        OversightPolicy()(torch.zeros(1, 100), actor)
