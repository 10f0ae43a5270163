"""Rules: which data belongs to which group."""

from lightning_vista.routing.rules.base import Rule
from lightning_vista.routing.rules.concept import ConceptRule
from lightning_vista.routing.rules.field import FieldRule
from lightning_vista.routing.rules.frequency import FrequencyRule
from lightning_vista.routing.rules.label import LabelRule
from lightning_vista.routing.rules.mixture import MixtureRule
from lightning_vista.routing.rules.partial_labels import PartialLabels
from lightning_vista.routing.rules.sequence import SequenceRule
from lightning_vista.routing.rules.token import TokenRule
from lightning_vista.routing.rules.tokenwise import TokenwiseRule

__all__ = [
    "ConceptRule",
    "FieldRule",
    "FrequencyRule",
    "LabelRule",
    "MixtureRule",
    "PartialLabels",
    "Rule",
    "SequenceRule",
    "TokenRule",
    "TokenwiseRule",
]
