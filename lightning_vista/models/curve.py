"""Curves of held-out losses over the steps of a tuning."""

import math
from pathlib import Path

from lightning_vista.files.own_files import write_csv

#: For each evaluated step its number, `step`, and the mean loss over each kind of held-out texts.
Curve = list[dict[str, float]]


def lowest(curve: Curve, name: str) -> dict[str, float]:
    """Return the first point of a curve with the lowest loss on some held-out texts.

    Args:
        curve: The curve.
        name: The name of the held-out texts.

    Returns:
        The point.

    Example:
        >>> lowest([{"step": 0, "forget": 2.0}, {"step": 5, "forget": 1.0}], "forget")
        {'step': 5, 'forget': 1.0}
    """
    return min(curve, key=lambda point: point[name])


def is_stale(curve: Curve, name: str, patience: int) -> bool:
    """Return whether the last `patience` points of a curve have no new lowest loss.

    Args:
        curve: The curve.
        name: The name of the held-out texts.
        patience: The number of points, at least 1.

    Example:
        >>> curve = [{"step": step, "forget": loss} for step, loss in enumerate([3.0, 2.0, 2.5, 2.0])]
        >>> is_stale(curve, "forget", patience=2), is_stale(curve, "forget", patience=3)
        (True, False)
    """
    return len(curve) - 1 - curve.index(lowest(curve, name)) >= patience


def steps_to_reach(curve: Curve, name: str, loss: float) -> float:
    """Return the first evaluated step of a curve with at most some loss.

    Args:
        curve: The curve.
        name: The name of the held-out texts.
        loss: The loss to reach.

    Returns:
        The number of steps, infinite if no point of the curve reaches the loss.

    Example:
        >>> curve = [{"step": 0, "forget": 2.0}, {"step": 5, "forget": 1.0}]
        >>> steps_to_reach(curve, "forget", 1.5), steps_to_reach(curve, "forget", 0.5)
        (5, inf)
    """
    return next((point["step"] for point in curve if point[name] <= loss), math.inf)


def write_curve(curve: Curve, path: Path) -> None:
    """Write held-out losses over steps as a table.

    Args:
        curve: The losses.
        path: The CSV file to write.
    """
    columns = list(curve[0])
    write_csv(path, [columns, *([point[column] for column in columns] for point in curve)])
