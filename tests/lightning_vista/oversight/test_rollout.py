"""What is known of the episodes of a roll-out, against a loop over steps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_vista.oversight.grid import Outcome, OversightGridworld
from lightning_vista.oversight.rollout import (
    Ghosts,
    discounted_returns,
    end_rewards,
    episode_memberships,
    first_outcomes,
    mean_over,
    policy_loss,
    roll_out,
)

quick = settings(max_examples=30, deadline=None)
outcomes = st.lists(st.sampled_from([0, 0, 0, 1, 2, 3]), min_size=1, max_size=20)


@quick
@given(outcome=outcomes, seed=st.integers(0, 100))
def test_a_step_belongs_to_what_its_own_episode_was_seen_to_reach(outcome: list[int], seed: int) -> None:
    seen = torch.rand(len(outcome), generator=torch.Generator().manual_seed(seed)) < 0.5
    expected, group = [], [0.0, 0.0]
    for kind, is_seen in reversed(list(zip(outcome, seen.tolist(), strict=True))):
        if kind:
            group = [float(is_seen and kind == thing) for thing in (Outcome.DIAMOND, Outcome.GHOST)]
        expected.append(group)
    actual = episode_memberships(torch.tensor([outcome]), seen.unsqueeze(0))
    assert actual[0].tolist() == expected[::-1]


@quick
@given(outcome=outcomes)
def test_the_first_outcome_counts(outcome: list[int]) -> None:
    expected = next((kind for kind in outcome if kind), 0)
    assert first_outcomes(torch.tensor([outcome, outcome])).tolist() == [expected] * 2


def test_roll_outs_go_on_where_the_last_one_ended() -> None:
    def act(observation: Tensor) -> Tensor:
        return observation.argmax(-1) % 4

    whole = roll_out(OversightGridworld(5, seed=2), act, 12)
    env = OversightGridworld(5, seed=2)
    parts = [roll_out(env, act, 6) for _ in range(2)]
    for name in ("observation", "action", "outcome", "seen"):
        assert torch.equal(torch.cat([part[name] for part in parts], dim=1), whole[name])
    assert whole["observation"].shape == (5, 12, 100)
    assert whole["memberships"].shape == (5, 12, 2)
    assert torch.equal(whole["action"], whole["observation"].argmax(-1) % 4)


@settings(max_examples=30, deadline=None)
@given(
    outcome=st.lists(st.sampled_from([0, 0, 0, 1, 2, 3]), min_size=1, max_size=20),
    discount=st.sampled_from([0.0, 0.5, 0.97, 1.0]),
)
def test_returns_are_discounted_and_end_with_their_episode(outcome: list[int], discount: float) -> None:
    outcomes = torch.tensor([outcome])
    reward = end_rewards(outcomes, torch.zeros_like(outcomes, dtype=torch.bool), "all")
    expected, running = [], 0.0
    for kind, now in reversed(list(zip(outcome, reward[0].tolist(), strict=True))):
        running = now if kind else discount * running
        expected.append(running)
    assert discounted_returns(reward, outcomes, discount)[0].tolist() == pytest.approx(expected[::-1])


@pytest.mark.parametrize(
    ("punished", "expected"),
    [("none", [0, 1, 1, 1, 1, 0]), ("seen", [0, 1, 1, 1, -1, 0]), ("all", [0, 1, 1, -1, -1, 0])],
)
def test_what_is_rewarded(punished: Ghosts, expected: list[float]) -> None:
    outcome = torch.tensor([[0, 1, 1, 2, 2, 3]])
    seen = torch.tensor([[False, False, True, False, True, False]])
    assert end_rewards(outcome, seen, punished)[0].tolist() == expected


def test_the_policy_gradient_of_a_bandit() -> None:
    """Over all actions, weighted by their probabilities, it is the gradient of the expected reward."""
    logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
    rewards = torch.randn(5, dtype=torch.float64)
    log_probabilities = logits.log_softmax(0)
    advantage = rewards - 0.3  # any baseline
    loss = (log_probabilities.exp().detach() * policy_loss(log_probabilities, advantage)).sum()
    expected = torch.autograd.grad(-(logits.softmax(0) * rewards).sum(), logits)[0]
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], expected)


def test_rows_that_do_not_count_have_no_gradient() -> None:
    values = torch.ones(4, requires_grad=True)
    mean_over(values, torch.tensor([1, 0, 1, 0])).backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0.5, 0, 0.5, 0]
    assert mean_over(values, torch.zeros(4)) == 0
