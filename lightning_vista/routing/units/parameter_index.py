"""Index of a model: its modules by name, and the rows and columns of its layers."""

from dataclasses import dataclass

from torch import nn

from lightning_vista.routing.naming import modules_by_name, plain_name
from lightning_vista.routing.place import Place
from lightning_vista.routing.units.group import ParameterSlice, UnknownStructureError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
#: Functions without parameters through which each unit changes the others.
MIXING = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin, nn.GLU)


def join(parent: str, child: str) -> str:
    """Return the name of a child; the model itself has an empty name."""
    return f"{parent}.{child}" if parent else child


def is_layer(module: nn.Module | None) -> bool:
    """Return whether a module multiplies all of its input units by one matrix of its own."""
    if module is None or "weight" not in dict(module.named_parameters(recurse=False)):
        return False
    if isinstance(module, CONVOLUTIONS):
        return module.groups == 1
    return isinstance(module, nn.Linear) or _is_gpt2_conv1d(module)


def is_sequential(module: nn.Module) -> bool:
    """Return whether a module runs its children in turn and does nothing else."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def is_scale(module: nn.Module) -> bool:
    """Return whether a module scales and shifts each unit by its own parameters: norms, timm's `LayerScale`."""
    shapes = {parameter.shape for parameter in module.parameters()}
    is_leaf = not list(module.children()) and not isinstance(module, nn.PReLU)  # which may have one slope for all
    return is_leaf and len(shapes) == 1 and len(shapes.pop()) == 1


def _is_gpt2_conv1d(module: nn.Module) -> bool:
    """Return whether a module is a linear layer with a transposed weight, without importing transformers."""
    return hasattr(module, "nx") and hasattr(module, "nf")


class ModelIndex:
    """Lookup of modules and layers' parameters by their plain names.

    Args:
        model: Any model.
    """

    def __init__(self, model: nn.Module) -> None:
        # Shared modules and tied parameters are there under each of their names.
        self.modules = modules_by_name(model)
        named = model.named_parameters(remove_duplicate=False)
        self.parameters = {plain_name(name): parameter for name, parameter in named}

    def length(self, piece: ParameterSlice) -> int:
        """Return the length of a parameter along the dimension of its units."""
        return self.parameters[piece.name].shape[piece.dim]

    def rows(
        self, path: str, unit_size: int = 1, start: int = 0, share: int = 1, run: int = 0, stride: int = 0
    ) -> tuple[ParameterSlice, ...]:
        """Return the entries of all of a module's own parameters that make its output units, see `ParameterSlice`."""
        module = self.modules[path]
        dim = int(isinstance(module, nn.Embedding) or _is_gpt2_conv1d(module))
        return tuple(
            ParameterSlice(join(path, name), dim if parameter.ndim > 1 else 0, unit_size, start, share, run, stride)
            for name, parameter in module.named_parameters(recurse=False)
        )

    def columns(self, path: str, unit_size: int = 1) -> tuple[ParameterSlice, ...]:
        """Return the entries of a layer's weight that read its input units."""
        dim = int(not _is_gpt2_conv1d(self.modules[path]))
        return (ParameterSlice(join(path, "weight"), dim, unit_size),)

    def biases(self, path: str) -> tuple[str, ...]:
        """Return the name of a layer's bias, if it has one."""
        return () if self.modules[path].bias is None else (join(path, "bias"),)


@dataclass(frozen=True)
class Site:
    """A routed tensor of a model.

    Attributes:
        index: The model.
        path: The plain name of the module, one of those that the place names.
        place: The way to read the module's tensor.
    """

    index: ModelIndex
    path: str
    place: Place

    @property
    def module(self) -> nn.Module:
        """The module itself."""
        return self.index.modules[self.path]

    @property
    def parent(self) -> str:
        """The name of the module that contains it."""
        return self.path.rpartition(".")[0]

    @property
    def child(self) -> str:
        """The module's name within its parent."""
        return self.path.rpartition(".")[2]

    def count(self, length: int) -> int:
        """Return the number of units in `length` entries.

        Raises:
            UnknownStructureError: If units do not fill the entries.
        """
        at, unit_size = self.place.at, self.place.unit_size
        if length % unit_size:
            raise UnknownStructureError(
                f"`unit_size`: expected a divisor of {length}, the width of the {at} of {self.path!r}, got {unit_size}."
            )
        return length // unit_size
