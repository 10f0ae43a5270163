"""Names of modules, whatever wraps them."""

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

#: What torch.compile and activation checkpointing put into names.
_WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module")


def plain_name(name: str) -> str:
    """A name without the parts that wrappers add.

    Args:
        name: A name in `named_modules()` or `named_parameters()`.

    Returns:
        The name that it has in the model as written.

    Example:
        >>> plain_name("encoder._orig_mod.0.weight")
        'encoder.0.weight'
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def find_modules(model: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """The modules of a model that patterns name.

    Args:
        model: The model.
        patterns: Names in `named_modules()`, in which `*`, `?` and `[0-9]` stand for characters of one part between
            dots; "" is the model itself.

    Returns:
        Name -> module, in the model's order.

    Raises:
        ValueError: If a pattern names no module; says which names are close.

    Example:
        >>> list(find_modules(nn.Sequential(nn.Linear(1, 1), nn.ReLU()), ["[0-9]"]))
        ['0', '1']
    """
    modules = {plain_name(name): module for name, module in model.named_modules()}
    found = {name: module for name, module in modules.items() if any(_matches(name, p) for p in patterns)}
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in found):
            close = get_close_matches(pattern, modules, n=3, cutoff=0.3) or [name for name in modules if name][:3]
            raise ValueError(f"no module of {type(model).__name__} is named {pattern!r}; close to it are {close}.")
    return found


def _matches(name: str, pattern: str) -> bool:
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
