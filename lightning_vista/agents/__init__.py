"""Agents that learn from the rewards of judges, and the tasks that they learn."""

# ruff: noqa: E402  # the check comes first, because its error names the extra to install

from lightning_vista.optional import require

require("stable_baselines3", extra="rl")

from lightning_vista.agents.home_task import HomeTask
from lightning_vista.agents.ppo_agent import PPOAgent
from lightning_vista.agents.task import Task, sample_task
from lightning_vista.agents.vec_env import GymnasiumVecEnv

__all__ = ["GymnasiumVecEnv", "HomeTask", "PPOAgent", "Task", "sample_task"]
