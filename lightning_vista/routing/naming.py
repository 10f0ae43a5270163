"""Names of modules and parameters, and the one language of patterns for them."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import nn

#: Parts of names that torch.compile and activation checkpointing insert.
_WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module")


def plain_name(name: str) -> str:
    """Return a name without the parts that wrappers add.

    Args:
        name: A name in `named_modules()` or `named_parameters()`.

    Returns:
        The name in the model as written.

    Example:
        >>> plain_name("encoder._orig_mod.0.weight")
        'encoder.0.weight'
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def find_modules(model: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """Find the modules of a model that patterns name.

    Args:
        model: The model.
        patterns: Names in `named_modules()`, in which `*`, `?` and `[0-9]` stand for characters of one part between
            dots; "" is the model itself. A module with several names has each of them.

    Returns:
        Name -> module, in the model's order; each module once, under the first of its names that a pattern has.

    Raises:
        ValueError: If a pattern names no module; the error suggests close names.

    Example:
        >>> list(find_modules(nn.Sequential(nn.Linear(1, 1), nn.ReLU()), ["[0-9]"]))
        ['0', '1']
    """
    modules = modules_by_name(model)
    return _once(_find(model, modules, patterns, "a module", _matches))


def modules_by_name(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules of a model by all of their plain names.

    Args:
        model: The model.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> list(modules_by_name(nn.ModuleList([layer, layer])))
        ['', '0', '1']
    """
    # A wrapper precedes its inner module; both have one plain name, and the inner module overwrites the wrapper.
    return {plain_name(name): module for name, module in model.named_modules(remove_duplicate=False)}


def find_parameters(model: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Parameter]:
    """Find the parameters of a model that patterns name.

    Args:
        model: The model.
        patterns: Names in `named_parameters()`, in the pattern language of `find_modules`. Besides, `*` as the first or
            the last part stands for one or more parts: `*.new.*` names every parameter within any module `new`.

    Returns:
        Name -> parameter, in the model's order; a tied parameter once, whichever of its names a pattern has.

    Raises:
        ValueError: If a pattern names no parameter; the error suggests close names.

    Example:
        >>> list(find_parameters(nn.Sequential(nn.Sequential(nn.Linear(1, 1)), nn.ReLU()), ["*.weight"]))
        ['0.0.weight']
    """
    named = model.named_parameters(remove_duplicate=False)
    parameters = {plain_name(name): parameter for name, parameter in named}
    # A tied parameter appears under each of its names; an optimizer refuses to hold it twice.
    return _once(_find(model, parameters, patterns, "a parameter", _matches_with_open_ends))


Named = TypeVar("Named", nn.Module, nn.Parameter)


def _once(found: dict[str, Named]) -> dict[str, Named]:
    """Return each object under its first name only."""
    first = {id(value): name for name, value in reversed(found.items())}
    return {name: value for name, value in found.items() if first[id(value)] == name}


def _find(
    model: nn.Module,
    named: dict[str, Named],
    patterns: Sequence[str],
    kind: str,
    matches: Callable[[str, str], bool],
) -> dict[str, Named]:
    """Return what patterns name, in the order of `named`."""
    found = {name: value for name, value in named.items() if any(matches(name, pattern) for pattern in patterns)}
    for pattern in patterns:
        if not any(matches(name, pattern) for name in found):
            close = _shifted(named, pattern) or get_close_matches(pattern, named, n=3, cutoff=0.3)
            close = close or [name for name in named if name][:3]
            raise ValueError(
                f"expected {kind} of {type(model).__name__}, got {pattern!r}. Did you mean one of {close}?"
            )
    return found


def _shifted(named: Iterable[str], pattern: str) -> list[str]:
    """Return the pattern with first parts that it lacks or without one that is too much, at most three that match."""
    # In a LightningModule names begin with the attribute that holds the model; in that model's documents they do not.
    length = len(pattern.split("."))
    found: dict[str, None] = {}
    for parts in (name.split(".") for name in named):
        if len(parts) > length and _matches(".".join(parts[-length:]), pattern):
            found[".".join([*parts[:-length], pattern])] = None
    shorter = pattern.partition(".")[2]
    if shorter and not shorter.startswith("*") and any(_matches(name, shorter) for name in named):
        found[shorter] = None
    return list(found)[:3]


def _matches(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern, part by part."""
    # `fnmatchcase` alone would let `*` cross dots: "h.*" would then name every module within every block.
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _matches_with_open_ends(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern in which `*` at either end stands for one or more parts."""
    parts, patterns = name.split("."), pattern.split(".")
    surplus = max(len(parts) - len(patterns), 0)
    # The first `*` takes `front` parts more than one; the last one takes the rest of the surplus.
    for front in range(surplus + 1 if patterns[0] == "*" else 1):
        takes_rest = front == surplus or patterns[-1] == "*"
        if takes_rest and _matches(".".join(parts[front : front + len(patterns)]), pattern):
            return True
    return False
