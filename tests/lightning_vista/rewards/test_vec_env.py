from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from spy_judge import CountingEnv

from lightning_vista.rewards.ppo_agent import GymnasiumVecEnv


def test_what_ends_is_reset_and_its_last_observation_kept() -> None:
    makers = [partial(CountingEnv, length) for length in (2, 3)]
    env = GymnasiumVecEnv(SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED))
    env.seed(0)
    first: Any = env.reset()
    assert first.tolist() == [[100], [100]]
    seen: list[Any] = [env.step(np.zeros(2, int)) for _ in range(3)]
    assert [observations[:, 0].tolist() for observations, *_ in seen] == [[101, 101], [200, 102], [201, 200]]
    assert [ended.tolist() for _, _, ended, _ in seen] == [[False, False], [True, False], [False, True]]
    last = seen[1][3][0]
    assert last["terminal_observation"].tolist() == [102]
    assert not last["TimeLimit.truncated"]
    assert "terminal_observation" not in seen[1][3][1]


def test_another_way_to_reset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected .* AutoresetMode\.DISABLED, got AutoresetMode\.NEXT_STEP"):
        GymnasiumVecEnv(SyncVectorEnv([partial(CountingEnv, 2)]))
