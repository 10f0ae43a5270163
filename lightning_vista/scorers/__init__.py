"""Judges of sequential tasks, as LightningModules."""

from lightning_vista.scorers.base import VLMScorer
from lightning_vista.scorers.clip import CLIPScorer
from lightning_vista.scorers.dual_encoder import DualEncoderScorer
from lightning_vista.scorers.embedding import EmbeddingScorer
from lightning_vista.scorers.pairs import Scores
from lightning_vista.scorers.random import RandomScorer

__all__ = ["CLIPScorer", "DualEncoderScorer", "EmbeddingScorer", "RandomScorer", "Scores", "VLMScorer"]
