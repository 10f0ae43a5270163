"""Lightning callbacks. Import them as `lightning_vista.callbacks`."""

from lightning_vista.callbacks.ablation import Ablation
from lightning_vista.callbacks.branch_expansion import BranchExpansion
from lightning_vista.callbacks.coherence_tuning import CoherenceTuning
from lightning_vista.callbacks.evaluation_logging import log_evaluation
from lightning_vista.callbacks.expansion import Expansion
from lightning_vista.callbacks.finishing import Finishing
from lightning_vista.callbacks.gradient_routing import GradientRouting
from lightning_vista.callbacks.relearning_attack import RelearningAttack
from lightning_vista.callbacks.representation_misdirection import RepresentationMisdirection
from lightning_vista.callbacks.routing_check import RoutingCheck
from lightning_vista.callbacks.routing_monitor import RoutingMonitor
from lightning_vista.callbacks.run_config import RunConfigCallback
from lightning_vista.callbacks.score_logging import ScoreLogging
from lightning_vista.callbacks.steering_scalar import SteeringScalar

__all__ = [
    "Expansion",
    "Ablation",
    "BranchExpansion",
    "CoherenceTuning",
    "Finishing",
    "RelearningAttack",
    "GradientRouting",
    "RepresentationMisdirection",
    "RoutingCheck",
    "RoutingMonitor",
    "RunConfigCallback",
    "ScoreLogging",
    "SteeringScalar",
    "log_evaluation",
]
