"""One line about a mistake in a command line or YAML file of LightningCLI, instead of jsonargparse's fifty."""

import argparse
import importlib
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lightning_vista.commands.command_parser import closest

#: Options that scorers had before the run became a callback.
_MOVED = ("run_dir", "rescaling", "strict", "dry_run")
_UNKNOWN_ARGUMENT = re.compile(r"unrecognized arguments: (--?[\w.+-]+)")
_KEY = re.compile(r"Parser key \"([^\"]+)\"")
_CLASS = re.compile(r"class_path '([\w.]+)'")
#: jsonargparse's words for an unknown option of a class, of a group such as `trainer`, and of a command.
_UNKNOWN_OPTION = re.compile(r"(?:does not accept (?:nested )?option|Option|Key|key) ['\"]([\w.]+)['\"]")
_NOT_ACCEPTED = re.compile(r"not accepted|does not accept|not expected|No action for")
_GROUP = re.compile(r"Group '([\w.]+)' does not accept")
#: Lines of jsonargparse that say nothing to a user.
_NOISE = (
    "Parser key",
    "Does not validate",
    "Subtypes:",
    "Errors:",
    "Given value type",
    "Expected a <class 'NoneType'>",
)
_TYPE = re.compile(r"<class '(?:[\w.]*\.)?(\w+)'>")


def explain(message: str, parser: argparse.ArgumentParser, unavailable: Mapping[str, str]) -> str:
    """Return one line about a mistake.

    Args:
        message: The message of jsonargparse, of any length.
        parser: The parser that refused the arguments; its options are suggested.
        unavailable: Classes or rooms of this package that cannot be imported, with the reason.

    Returns:
        The place, what is wrong there, and the closest option or class.

    Example:
        >>> explain("unrecognized arguments: --verbos", argparse.ArgumentParser(), {})
        '`--verbos`: unknown option. `--help` lists all.'
    """
    reasons = [reason for name, reason in unavailable.items() if re.search(rf"\b{name}\b", message)]
    if reasons:
        return reasons[0]
    if unknown := _UNKNOWN_ARGUMENT.search(message):
        option = unknown[1]
        text = f"`{option}`: unknown option.{closest(option, _options(parser))} `--help` lists all."
    elif _NOT_ACCEPTED.search(message) and (option_match := _UNKNOWN_OPTION.search(message)):
        text = _unknown_option(message, option_match[1], parser)
    else:
        text = _shortened(message)
        if unavailable and "class" in message:
            text += " Not available here: " + "; ".join(f"{name}: {reason}" for name, reason in unavailable.items())
    return text + _moved(message)


def _options(parser: argparse.ArgumentParser) -> Iterable[str]:
    """Yield the long options of a parser and of its commands."""
    yield from (option for option in parser._option_string_actions if option.startswith("--"))
    for action in parser._actions:
        if isinstance(action.choices, Mapping):
            for command in action.choices.values():
                yield from _options(command)


def _unknown_option(message: str, option: str, parser: argparse.ArgumentParser) -> str:
    """Explain an option that a class or a group of options does not have."""
    key, name = _KEY.search(message), _CLASS.search(message)
    if name is not None:
        place = f"`{key[1]}.{option}`" if key else f"`{option}`"
        known = parameters(name[1])
        return f"{place}: unknown option of {name[1].split('.')[-1]}.{closest(option, known)}{_listed(option, known)}"
    group = _GROUP.search(message)
    prefix = f"--{group[1]}." if group else "--"
    known = {text.removeprefix(prefix) for text in _options(parser) if text.startswith(prefix)}
    place = f"{group[1]}.{option}" if group else option
    return f"`{place}`: unknown option.{closest(option, known)} `--help` lists all."


def parameters(class_path: str) -> list[str]:
    """Return the names of the arguments that a class takes, those of its bases included if it passes them on.

    Args:
        class_path: Full path of the class.

    Example:
        >>> parameters("fractions.Fraction")
        []
        >>> "every_n_steps" in parameters("lightning_vista.callbacks.RoutingMonitor")
        True
    """
    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return []
    names: dict[str, None] = {}
    for owner in inspect.getmro(found) if inspect.isclass(found) else ():
        if "__init__" not in vars(owner):
            continue
        arguments = list(inspect.signature(owner.__init__).parameters.values())[1:]
        names |= {argument.name: None for argument in arguments if argument.kind is not argument.VAR_KEYWORD}
        if all(argument.kind is not argument.VAR_KEYWORD for argument in arguments):
            break
    return [name for name in names if name not in ("args", "kwargs")]


def _listed(option: str, known: Iterable[str]) -> str:
    """List the options of a class where none is close."""
    known = list(known)
    return "" if closest(option, known) or not known else f" It has {', '.join(known)}."


def _shortened(message: str) -> str:
    """Return a message without the lines that say nothing to a user, in one line."""
    key = _KEY.search(message)
    lines = [line.strip(" -") for line in message.splitlines()]
    kept = [line for line in lines if line and not line.startswith(_NOISE)]
    text = _TYPE.sub(r"\1", " ".join(" ".join(kept).split()))
    return f"`{key[1]}`: {text}" if key else text


def _moved(message: str) -> str:
    """Return the new names of options in an error that have moved from scorers to the evaluation."""
    found = [option for option in _MOVED if re.search(rf"\b{option}\b", message)]
    return "".join(f" `{option}` is now `evaluation.{option}` (`--evaluation.{option}`)." for option in found)


def known_classes(base: Any) -> Iterable[str]:
    """Yield the names of all known subclasses of a class."""
    for found in base.__subclasses__():
        yield found.__name__
        yield from known_classes(found)
