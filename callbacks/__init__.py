"""Lightning callbacks. Import them as `lightning_vista.callbacks`."""

from lightning_vista.callbacks.ablation import Ablation
from lightning_vista.callbacks.evaluation_logging import log_evaluation
from lightning_vista.callbacks.gradient_routing import GradientRouting
from lightning_vista.callbacks.routing_check import RoutingCheck
from lightning_vista.callbacks.routing_monitor import RoutingMonitor
from lightning_vista.callbacks.run_config import RunConfigCallback
from lightning_vista.callbacks.score_logging import ScoreLogging

__all__ = [
    "Ablation",
    "GradientRouting",
    "RoutingCheck",
    "RoutingMonitor",
    "RunConfigCallback",
    "ScoreLogging",
    "log_evaluation",
]
