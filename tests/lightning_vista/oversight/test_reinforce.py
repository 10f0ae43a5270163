import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_vista.oversight.rollout import Ghosts, discounted_returns, end_rewards, mean_over, policy_loss


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
