"""Gradient routing on any LightningModule, and the ViSTa benchmark of vision-language models.

The names that a newcomer needs first are exported here. They are imported when they are first used, so that
`import lightning_vista` is instant and needs no optional package.
"""

from typing import TYPE_CHECKING

from lightning_vista.optional import lazy_exports

if TYPE_CHECKING:
    from lightning_vista.callbacks import GradientRouting, RoutingMonitor
    from lightning_vista.datamodules import ViSTaDataModule
    from lightning_vista.evaluation import Evaluation
    from lightning_vista.routing import (
        ConceptRule,
        FieldRule,
        FrequencyRule,
        LabelRule,
        MixtureRule,
        PartialLabels,
        Route,
        Router,
        SequenceRule,
        TokenRule,
    )
    from lightning_vista.scorers import VLMScorer
    from lightning_vista.vista import read_problem_sets

__version__ = "0.2.0"

_HOMES = {
    "callbacks": ("GradientRouting", "RoutingMonitor"),
    "datamodules": ("ViSTaDataModule",),
    "evaluation": ("Evaluation",),
    "routing": (
        "ConceptRule",
        "FieldRule",
        "FrequencyRule",
        "LabelRule",
        "MixtureRule",
        "PartialLabels",
        "Route",
        "Router",
        "SequenceRule",
        "TokenRule",
    ),
    "scorers": ("VLMScorer",),
    "vista": ("read_problem_sets",),
}

__all__ = [
    "GradientRouting",
    "Route",
    "LabelRule",
    "FieldRule",
    "TokenRule",
    "ConceptRule",
    "SequenceRule",
    "FrequencyRule",
    "MixtureRule",
    "PartialLabels",
    "Router",
    "RoutingMonitor",
    "ViSTaDataModule",
    "VLMScorer",
    "Evaluation",
    "read_problem_sets",
    "__version__",
]


__getattr__ = lazy_exports(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
