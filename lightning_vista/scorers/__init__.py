"""Scorers: LightningModules that judge videos of sequential tasks."""

from lightning_vista.evaluation.pairs import Scores
from lightning_vista.evaluation.progress_file import Progress
from lightning_vista.scorers.base import VLMScorer
from lightning_vista.scorers.chat_scorer import ChatScorer
from lightning_vista.scorers.clip import CLIPScorer
from lightning_vista.scorers.dual_encoder import DualEncoderScorer
from lightning_vista.scorers.embedding import EmbeddingScorer
from lightning_vista.scorers.frame_embedding import FrameEmbeddingScorer
from lightning_vista.scorers.likelihood import LikelihoodScorer
from lightning_vista.scorers.local_chat import LocalChatScorer
from lightning_vista.scorers.open_clip import OpenCLIPScorer
from lightning_vista.scorers.prefixes import score_prefixes
from lightning_vista.scorers.qwen_embedding import QwenEmbeddingScorer
from lightning_vista.scorers.qwen_reranker import QwenRerankerScorer
from lightning_vista.scorers.random import RandomScorer
from lightning_vista.scorers.s3d import S3DScorer
from lightning_vista.scorers.viclip import ViCLIPScorer
from lightning_vista.scorers.vllm_chat import VLLMChatScorer
from lightning_vista.scorers.xclip import XCLIPScorer

__all__ = [
    "CLIPScorer",
    "ChatScorer",
    "DualEncoderScorer",
    "EmbeddingScorer",
    "FrameEmbeddingScorer",
    "LikelihoodScorer",
    "LocalChatScorer",
    "OpenCLIPScorer",
    "Progress",
    "QwenEmbeddingScorer",
    "QwenRerankerScorer",
    "RandomScorer",
    "S3DScorer",
    "Scores",
    "VLLMChatScorer",
    "VLMScorer",
    "ViCLIPScorer",
    "XCLIPScorer",
    "score_prefixes",
]
