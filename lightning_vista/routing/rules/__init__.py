"""Rules: the assignment of data to groups."""

from lightning_vista.routing.rules.frequency import FrequencyRule
from lightning_vista.routing.rules.labels import FieldRule, LabelRule, MixtureRule, PartialLabels
from lightning_vista.routing.rules.rule import Rule
from lightning_vista.routing.rules.stochastic import StochasticRule
from lightning_vista.routing.rules.tokens import ConceptRule, SequenceRule, TokenRule, TokenwiseRule

__all__ = [
    "ConceptRule",
    "FieldRule",
    "FrequencyRule",
    "LabelRule",
    "MixtureRule",
    "PartialLabels",
    "Rule",
    "SequenceRule",
    "StochasticRule",
    "TokenRule",
    "TokenwiseRule",
]
