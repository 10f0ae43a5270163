"""One helper for packages that come with an extra, so that the error names the extra to install."""

import importlib
from types import ModuleType


def require(package: str, extra: str) -> ModuleType:
    """Import `package`, which the extra `lightning-vista[extra]` installs.

    Args:
        package: The full module name, such as `"transformers"`.
        extra: The extra that lists it, such as `"vlm"`.

    Returns:
        The imported module.

    Raises:
        ModuleNotFoundError: If the package is absent; the message names the command that installs it.

    Example:
        >>> require("math", extra="vista").sqrt(9)
        3.0
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or not package.startswith(error.name):
            raise  # something that the package itself needs is missing: its own message is the clearer one
        raise ModuleNotFoundError(
            f"This needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'lightning-vista[{extra}]'",
            name=error.name,
        ) from error
