"""Lazy imports: of packages that come with an extra, and of the names that a package of ours exports."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def require(package: str, extra: str) -> ModuleType:
    """Import a package that the extra `lightning-vista[extra]` installs.

    Args:
        package: Full module name, such as `"transformers"`.
        extra: Name of the extra that lists the package, such as `"vlm"`.

    Returns:
        The imported module.

    Raises:
        ModuleNotFoundError: If the package is not installed; the message names the command that installs it.

    Example:
        >>> require("math", extra="vista").sqrt(9)
        3.0
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or not package.startswith(error.name):
            raise  # The package is there, but one of its own dependencies is not: that message is the clearer one.
        raise ModuleNotFoundError(
            f"This feature needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'lightning-vista[{extra}]'",
            name=error.name,
        ) from error


def is_installed(*packages: str) -> bool:
    """Tell whether packages can be imported, without importing them.

    Args:
        packages: Names of top-level modules.

    Example:
        >>> is_installed("math", "no_such_package")
        False
    """
    return all(find_spec(package) is not None for package in packages)


def lazy_exports(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package whose names are imported when they are first used.

    Args:
        package: The package's name.
        homes: Submodule -> the names that it defines.

    Returns:
        A function from a name to what it stands for. It raises AttributeError for other names.

    Example:
        >>> lazy_exports("lightning_vista", {"optional": ["require"]})("require") is require
        True
    """

    def get(name: str) -> Any:
        for home, names in homes.items():
            if name in names:
                return getattr(importlib.import_module(f"{package}.{home}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
