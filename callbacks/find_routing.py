"""The gradient routing of a run, for the callbacks that look at it."""

import lightning as L

from lightning_vista.callbacks.gradient_routing import GradientRouting


def find_routing(trainer: L.Trainer, asker: L.Callback) -> list[GradientRouting]:
    """The callbacks of a trainer that route gradients.

    Args:
        trainer: The trainer.
        asker: The callback that needs them, for the error.

    Returns:
        At least one.

    Raises:
        ValueError: If there is none.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by Lightning's connectors
    found = [callback for callback in callbacks if isinstance(callback, GradientRouting)]
    if not found:
        raise ValueError(
            f"{type(asker).__name__} needs a GradientRouting callback in the same trainer, got "
            f"{[type(callback).__name__ for callback in callbacks]}: add it, with the routes of the model."
        )
    return found
