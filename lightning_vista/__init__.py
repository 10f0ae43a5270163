"""Gradient routing on any LightningModule, and the ViSTa benchmark of vision-language models.

The names that a newcomer needs first are exported here. They are imported when they are first used, so that
`import lightning_vista` is instant and needs no optional package. Type checkers read their types in `__init__.pyi`.
"""

from lightning_vista.optional import lazy_exports

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

__all__ = [*(name for names in _HOMES.values() for name in names), "__version__"]

__getattr__ = lazy_exports(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
