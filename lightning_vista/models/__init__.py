"""LightningModules of the routing studies: ordinary modules, which the callback `GradientRouting` routes."""

from lightning_vista.models.hidden_states import HiddenStates
from lightning_vista.models.language_model import LanguageModelModule
from lightning_vista.models.masked_language_model import MaskedLanguageModelModule
from lightning_vista.models.partition_autoencoder import PartitionAutoencoder
from lightning_vista.models.partition_classifier import PartitionClassifier
from lightning_vista.models.poisoned_classifier import PoisonedClassifier
from lightning_vista.models.upper_language_model import UpperLanguageModelModule
from lightning_vista.models.variational_autoencoder import VariationalAutoencoder

__all__ = [
    "HiddenStates",
    "LanguageModelModule",
    "MaskedLanguageModelModule",
    "PartitionAutoencoder",
    "PartitionClassifier",
    "PoisonedClassifier",
    "UpperLanguageModelModule",
    "VariationalAutoencoder",
]
