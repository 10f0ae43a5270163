"""Lightning callbacks. Import them as `lightning_vista.callbacks`."""

from lightning_vista.callbacks.evaluation_logging import log_evaluation
from lightning_vista.callbacks.run_config import RunConfigCallback
from lightning_vista.callbacks.score_logging import ScoreLogging

__all__ = ["RunConfigCallback", "ScoreLogging", "log_evaluation"]
