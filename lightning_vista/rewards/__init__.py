"""Scorers as rewards: wrappers that reward the agent of any Gymnasium environment by its rendered frames."""

# ruff: noqa: E402  # the check comes first, because its error names the extra to install

from lightning_vista.optional import require

require("gymnasium", extra="rl")

from lightning_vista.rewards.judge_reward import JudgeReward
from lightning_vista.rewards.payment import Payment, RewardMode, episode_rewards
from lightning_vista.rewards.vector_judge_reward import FrameInInfo, VectorJudgeReward
from lightning_vista.rewards.video_judge import VideoJudge

__all__ = ["FrameInInfo", "JudgeReward", "Payment", "RewardMode", "VectorJudgeReward", "VideoJudge", "episode_rewards"]
