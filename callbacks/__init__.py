"""Lightning callbacks. Import them as `lightning_vista.callbacks`."""

from lightning_vista.callbacks.run_config import RunConfigCallback

__all__ = ["RunConfigCallback"]
