"""The error for input that may be wrong in many places: all of them are named at once."""

from collections.abc import Sequence


class FaultsError(ValueError):
    """Everything that is wrong with some input, raised once.

    Args:
        what: The input, as in "the score table a.parquet".
        errors: One line per fault: where it is, what was expected, what came, what to do.

    Attributes:
        errors: These lines.

    Example:
        >>> print(FaultsError("the list", ["entry 0: expected a name, got 3: quote it"]))
        1 fault(s) in the list:
          - entry 0: expected a name, got 3: quote it
    """

    def __init__(self, what: str, errors: Sequence[str]) -> None:
        self.errors = tuple(errors)
        lines = "\n".join(f"  - {error}" for error in errors)
        super().__init__(f"{len(errors)} fault(s) in {what}:\n{lines}")
