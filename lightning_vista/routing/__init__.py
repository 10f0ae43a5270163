"""Gradient routing in pure torch: routes, rules, the router's hooks, and surgery on units (arXiv 2410.04332)."""

from lightning_vista.routing.isolation import OptimizerIsolation
from lightning_vista.routing.parameter_masks import block_gradients
from lightning_vista.routing.parameter_route import ParameterRoute
from lightning_vista.routing.regions import Regions
from lightning_vista.routing.route import Route
from lightning_vista.routing.router import Router
from lightning_vista.routing.routing_error import RoutingError
from lightning_vista.routing.rules import (
    ConceptRule,
    FieldRule,
    FrequencyRule,
    LabelRule,
    MixtureRule,
    PartialLabels,
    Rule,
    SequenceRule,
    StochasticRule,
    TokenRule,
    TokenwiseRule,
)
from lightning_vista.routing.surgery import ablate, add_branch, cut_branch, expand, merge_branch
from lightning_vista.routing.units import Hidden, ParameterSlice, UnitGroup, UnknownStructureError, unit_group

__all__ = [
    "Route",
    "ParameterRoute",
    "Router",
    "Regions",
    "RoutingError",
    "Rule",
    "ConceptRule",
    "FieldRule",
    "FrequencyRule",
    "LabelRule",
    "MixtureRule",
    "PartialLabels",
    "SequenceRule",
    "StochasticRule",
    "TokenRule",
    "TokenwiseRule",
    "OptimizerIsolation",
    "block_gradients",
    "expand",
    "merge_branch",
    "ablate",
    "add_branch",
    "cut_branch",
    "Hidden",
    "ParameterSlice",
    "UnitGroup",
    "UnknownStructureError",
    "unit_group",
]
