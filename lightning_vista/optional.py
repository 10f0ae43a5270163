"""Lazy imports of packages that come with an extra; the error names the extra to install."""

import importlib
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
