"""One line for an error of any kind: what went wrong, and in whose code."""

import re
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from types import CodeType, TracebackType

from lightning_vista.files.redaction import without_secrets

_OURS = "lightning_vista"
#: Packages whose frames say nothing about who is at fault: they call the code of others.
_FRAMEWORKS = ("torch", "lightning", "lightning_fabric", "pytorch_lightning", "torchmetrics", "jsonargparse")
_FRAME = re.compile(r'\s+File "(.+)", line (\d+), in (\S+)')
_WORKER_ERROR = re.compile(r"^Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback", re.MULTILINE)


def describe_error(error: BaseException) -> str:
    """Describe an error for somebody who did not ask for a traceback.

    Args:
        error: Any error.

    Returns:
        The message of our own errors, which name what to do. For others the type, the message, and the place: the
        class or function of a plugin with its file, and its package where it is installed; or ours. Passwords and keys
        in addresses are hidden.

    Example:
        >>> describe_error(ValueError("`seed`: expected 0 or more, got -1."))
        '`seed`: expected 0 or more, got -1.'
    """
    return without_secrets(_describe(error))


def _describe(error: BaseException) -> str:
    message, place = _worker_message(str(error))
    if message.startswith("DataLoader worker"):
        return (
            f"A worker process of the data loader was killed, perhaps for lack of memory: {_first_line(message)} "
            "Run the same command again to resume; fewer workers (--data.num_workers) need less memory."
        )
    if "stateful callback of type `GradientRouting`" in message:  # Lightning tells callbacks apart by these
        return (
            "`trainer.callbacks`: expected GradientRouting callbacks that differ in strategy, modules or regions, got "
            "two with the same. Put the routes of both into the list of one callback."
        )
    place = place or _plugin_place(error)
    if not place and isinstance(error, ValueError | OSError | ImportError):
        return message
    said = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{said.rstrip('.')}. {place or _own_place(error)}. --traceback shows more."


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0]


def _worker_message(message: str) -> tuple[str, str]:
    """Return the message of an error in a worker, without the traceback that torch adds, and a plugin's place."""
    if not _WORKER_ERROR.search(message):
        return message, ""
    last = re.split(r"^(?:Original )?Traceback \(most recent call last\):$", message, flags=re.MULTILINE)[-1]
    lines = last.splitlines()
    begin = next((number for number, line in enumerate(lines) if line and not line.startswith(" ")), 0)
    frames = [match.groups() for line in lines[:begin] if (match := _FRAME.match(line))]
    owners = [_owner(Path(file)) for file, _, _ in frames]
    plugin = max((number for number, owner in enumerate(owners) if owner == "plugin"), default=None)
    is_plugins = plugin is not None and _OURS not in owners[plugin + 1 :]
    place = "It comes from {2} in {0}, line {1}".format(*frames[plugin]) if is_plugins and plugin is not None else ""
    return "\n".join(lines[begin:]).partition(": ")[2].strip(), place


def _frames(trace: TracebackType | None) -> list[tuple[CodeType, int, object]]:
    """Return code, line and the object whose method it is (if any) of each frame."""
    return [(frame.f_code, line, frame.f_locals.get("self")) for frame, line in traceback.walk_tb(trace)]


def _plugin_place(error: BaseException) -> str:
    """Return the place of the error in code that is neither ours nor a library's that we call; empty if in neither."""
    frames = _frames(error.__traceback__)
    places = [_owner(Path(code.co_filename)) for code, _, _ in frames]
    last = next((number for number in reversed(range(len(frames))) if places[number] == "plugin"), None)
    if last is None or _OURS in places[last + 1 :]:  # ours, called by a plugin, knows what it says
        return ""
    code, line, owner = frames[last]
    name = f"{type(owner).__name__}.{code.co_name}" if owner is not None else code.co_name
    package = _package(Path(code.co_filename))
    return f"It comes from {name} in {code.co_filename}, line {line}" + (f", of the package {package}" * bool(package))


def _own_place(error: BaseException) -> str:
    ours = [(code, line) for code, line, _ in _frames(error.__traceback__) if _owner(Path(code.co_filename)) == _OURS]
    return f"It comes from {ours[-1][0].co_filename}, line {ours[-1][1]}" if ours else "It comes from outside"


def _owner(file: Path) -> str:
    """Say whose code a file is: ours, a plugin's, or a library's."""
    package = _top_package(file)
    if package is None:
        own = Path(__file__).parents[1]
        roots = (own, own.parent / "callbacks", own.parent / "datamodules")
        if any(file.is_relative_to(root) for root in roots):
            return _OURS
        standard = Path(traceback.__file__).parent
        is_library = file.is_relative_to(standard) or not file.suffix or str(file).startswith("<")
        return "library" if is_library else "plugin"
    if package == _OURS:
        return _OURS
    return "plugin" if _plugs_in(package) else "library"


def _top_package(file: Path) -> str | None:
    """Return the top-level package of an installed file."""
    parts = file.parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts:
            return Path(parts[parts.index(folder) + 1]).stem
    return None


def _plugs_in(package: str) -> bool:
    """Say whether a package has classes that derive from ours, or from the frameworks' hooks beside ours."""
    if package in _FRAMEWORKS:
        return False
    modules = [module for name, module in sys.modules.items() if name == package or name.startswith(f"{package}.")]
    return any(
        getattr(base, "__module__", "").startswith(f"{_OURS}.")
        for module in modules
        for value in list(vars(module).values())
        if isinstance(value, type) and value.__module__.startswith(package)
        for base in value.__mro__
    )


def _package(file: Path) -> str:
    """Return the name and the distribution of the package that an installed file belongs to; empty if not installed."""
    top = _top_package(file)
    found: Sequence[str] = packages_distributions().get(top, []) if top else []
    return found[0] if found else ""
