"""LightningModules of the routing studies: ordinary modules, which the callback `GradientRouting` routes."""

from lightning_vista.models.language_model import LanguageModelModule
from lightning_vista.models.masked_language_model import MaskedLanguageModelModule
from lightning_vista.models.partition_autoencoder import PartitionAutoencoder
from lightning_vista.models.partition_classifier import PartitionClassifier
from lightning_vista.models.variational_autoencoder import VariationalAutoencoder

__all__ = [
    "LanguageModelModule",
    "MaskedLanguageModelModule",
    "PartitionAutoencoder",
    "PartitionClassifier",
    "VariationalAutoencoder",
]
