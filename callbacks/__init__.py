"""Lightning callbacks. Import them as `lightning_vista.callbacks`."""

from lightning_vista.callbacks.ablation import Ablation
from lightning_vista.callbacks.adapters import Adapters
from lightning_vista.callbacks.capability_profiles import CapabilityProfiles
from lightning_vista.callbacks.coherence_tuning import CoherenceTuning
from lightning_vista.callbacks.expansion import BranchExpansion, Expansion
from lightning_vista.callbacks.finishing import Finishing
from lightning_vista.callbacks.gradient_routing import GradientRouting
from lightning_vista.callbacks.loss_log import LossLog
from lightning_vista.callbacks.max_entropy_tuning import MaxEntropyTuning
from lightning_vista.callbacks.parameter_groups import ParameterGroups
from lightning_vista.callbacks.progress_curves import ProgressCurves
from lightning_vista.callbacks.quantisation_attack import QuantisationAttack
from lightning_vista.callbacks.relearning_attack import RelearningAttack
from lightning_vista.callbacks.representation_misdirection import RepresentationMisdirection
from lightning_vista.callbacks.routing_check import RoutingCheck
from lightning_vista.callbacks.routing_monitor import RoutingMonitor
from lightning_vista.callbacks.run_config import RunConfigCallback
from lightning_vista.callbacks.score_logging import ScoreLogging
from lightning_vista.callbacks.set_relearning import SetRelearning
from lightning_vista.callbacks.steering_scalar import SteeringScalar
from lightning_vista.callbacks.undo import Undo
from lightning_vista.callbacks.wandb_continuation import WandbContinuation, continue_wandb_run
from lightning_vista.evaluation import Evaluation

__all__ = [
    "Expansion",
    "Ablation",
    "Adapters",
    "BranchExpansion",
    "CapabilityProfiles",
    "CoherenceTuning",
    "Evaluation",
    "Finishing",
    "LossLog",
    "MaxEntropyTuning",
    "ProgressCurves",
    "QuantisationAttack",
    "ParameterGroups",
    "RelearningAttack",
    "GradientRouting",
    "RepresentationMisdirection",
    "RoutingCheck",
    "RoutingMonitor",
    "RunConfigCallback",
    "ScoreLogging",
    "SetRelearning",
    "SteeringScalar",
    "Undo",
    "WandbContinuation",
    "continue_wandb_run",
]
