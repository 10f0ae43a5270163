"""LightningModules of the routing studies. Each is an ordinary module; routing comes from the callback."""

from lightning_vista.models.language_model import LanguageModelModule
from lightning_vista.models.partition_autoencoder import PartitionAutoencoder
from lightning_vista.models.partition_classifier import PartitionClassifier

__all__ = ["LanguageModelModule", "PartitionAutoencoder", "PartitionClassifier"]
