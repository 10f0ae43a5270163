"""Places: the tensors in a model along which units lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from lightning_vista.options import check_word
from lightning_vista.routing.naming import find_modules

#: "experts": the whole experts of a mixture, each of which makes its own part of what the module returns.
At = Literal["output", "input", "experts"]
BatchDim = Literal[0, 1]


@dataclass(frozen=True)
class Place:
    """The tensors of a model whose entries along one dimension are units.

    Functions that find units, tap, expand or ablate all take this one object.

    Attributes:
        patterns: Names of modules in the pattern language of `find_modules`.
        at: Whether the tensor is what the module returns or what it is given; "experts" for the whole experts that a
            module holds.
        dim: The dimension of units: -1, or 1 for channels.
        batch_dim: The dimension of samples, 0 or 1.
        unit_size: Consecutive entries of a unit, such as the width of an attention head.
        flattened: Whether the tensor is a matrix `(batch * tokens, width)`, with the tokens of a sample side by side.
            None to find out: it is one if its rows are as many as samples times tokens of the memberships.

    Raises:
        ValueError: If `at` or `batch_dim` has another value, or `unit_size` is below 1.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 6), nn.ReLU())
        >>> place = Place(("0",), unit_size=3)
        >>> list(place.modules(model)), place.count_units(model[0].bias)
        (['0'], 2)
    """

    patterns: tuple[str, ...]
    at: At = "output"
    dim: int = -1
    batch_dim: BatchDim = 0
    unit_size: int = 1
    flattened: bool | None = None

    def __post_init__(self) -> None:
        """Check the values, which only YAML would check otherwise."""
        check_word("at", self.at, get_args(At))
        if self.batch_dim not in get_args(BatchDim):
            raise ValueError(f"`batch_dim`: expected 0 or 1, got {self.batch_dim!r}.")
        if self.unit_size < 1:
            raise ValueError(f"`unit_size`: expected at least 1, got {self.unit_size}.")

    def modules(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """Find the modules by name, in the model's order.

        Args:
            model: The model.

        Returns:
            Name -> module.

        Raises:
            ValueError: If a pattern names no module of the model.
        """
        return find_modules(model, self.patterns)

    def count_units(self, x: Tensor) -> int:
        """Count the units along `dim` of a tensor; a remainder that fills no unit is ignored."""
        return x.shape[self.dim] // self.unit_size


def as_patterns(modules: str | Sequence[str]) -> tuple[str, ...]:
    """Return one name, or several, as the patterns of a place."""
    return (modules,) if isinstance(modules, str) else tuple(modules)
