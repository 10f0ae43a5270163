"""What is known of the episodes of a roll-out, against a loop over steps."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_vista.oversight.grid import Outcome, OversightGridworld
from lightning_vista.oversight.rollout import episode_memberships, first_outcomes, roll_out

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
