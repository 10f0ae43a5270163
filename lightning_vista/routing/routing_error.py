"""The error of routes that cannot, or do not, do what they say."""

from collections.abc import Sequence


class RoutingError(ValueError):
    """Routes that do not fit a model, or do not do what they say.

    Args:
        faults: One sentence for each fault.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("Cannot route gradients:\n" + "\n".join(f"- {fault}" for fault in self.faults))
