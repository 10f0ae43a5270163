"""Imports of packages that come with an extra."""

import importlib
from importlib.util import find_spec
from types import ModuleType


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
