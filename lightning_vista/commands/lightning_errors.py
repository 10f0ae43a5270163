"""One line about a mistake in a command line or YAML file of LightningCLI, instead of jsonargparse's fifty."""

import argparse
import ast
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lightning_vista.commands.command_parser import closest

#: Options that scorers had before the run became a callback.
_MOVED = ("run_dir", "rescaling", "strict", "dry_run")
_UNKNOWN_ARGUMENT = re.compile(r"unrecognized arguments: (--?[\w.+-]+)")
_REQUIRED = re.compile(r"the following arguments are required: (.+)")
_KEY = re.compile(r"Parser key \"([^\"]+)\"")
_CLASS = re.compile(r"class_path '([\w.]+)'")
#: jsonargparse's words for an unknown option of a class, of a group such as `trainer`, and of a command.
_UNKNOWN_OPTION = re.compile(r"(?:does not accept (?:nested )?option|Option|(?<!Parser )[Kk]ey) ['\"]([\w.]+)['\"]")
_NOT_ACCEPTED = re.compile(r"not accepted|does not accept|not expected|No action for")
_GROUP = re.compile(r"Group '([\w.]+)' does not accept")
_NO_CLASS = re.compile(r"Expected a dot import path string: (\w+)")
_LITERAL = re.compile(r"Expected a (?:typing\.)?Literal(\[[^\]]*\])")
_VALUE = re.compile(r"(?:Got|Given) value: (.+)")
#: Lines of jsonargparse that say nothing to a user.
_NOISE = (
    "Parser key",
    "Does not validate",
    "Subtypes:",
    "Errors:",
    "Given value type",
    "Expected a path but",
    "Expected a <class 'NoneType'>",
    "Given value: Namespace(",
    "Given value: {'class_path'",
)
#: And where an option of a class is named within them.
_NESTED = ("Given value:",)
_CLASS_PROBLEM = re.compile(r"^Problem with given class_path '[^']*':?\s*")
_TYPE = re.compile(r"<class '(?:[\w.]*\.)?(\w+)'>")


def explain(
    message: str, parser: argparse.ArgumentParser, unavailable: Mapping[str, str], classes: Iterable[str] = ()
) -> str:
    """Return one line about a mistake.

    Args:
        message: The message of jsonargparse, of any length.
        parser: The parser that refused the arguments; its options are suggested.
        unavailable: Classes or rooms of this package that cannot be imported, with the reason.
        classes: Names of the classes that are known without their path.

    Returns:
        The place, what is wrong there, and the closest option or class.

    Example:
        >>> explain("unrecognized arguments: --verbos", argparse.ArgumentParser(), {})
        '`--verbos`: unknown option. `--help` lists all.'
    """
    if reasons := [reason for name, reason in unavailable.items() if re.search(rf"\b{name}\b", message)]:
        return reasons[0]
    if unknown := _UNKNOWN_ARGUMENT.search(message):
        text = f"`{unknown[1]}`: unknown option.{closest(unknown[1], _options(parser))} `--help` lists all."
    elif required := _REQUIRED.search(message):
        names = [f"--{name.strip().partition('.')[2] or name.strip()}" for name in required[1].split(",")]
        text = f"expected {' and '.join(sorted(names, reverse=True))}, or a --config with these, got none."
    elif no_class := _NO_CLASS.search(message):
        text = f"{_place(message)}expected the name of a class, or its full path such as my_file.MyClass, got "
        text += f"{no_class[1]!r}.{closest(no_class[1], classes)}"
        text += "".join(f" Not installed: the {name}. {reason}" for name, reason in unavailable.items())
    elif _NOT_ACCEPTED.search(message) and (option := _UNKNOWN_OPTION.search(message)):
        text = _unknown_option(message, option[1], parser)
    elif literal := _LITERAL.search(message):
        text = _unknown_word(message, ast.literal_eval(literal[1]))
    else:
        text = shortened(message)
    return text + _moved(message)


def shortened(message: str) -> str:
    r"""Return a message of jsonargparse in one line, without the lines that say nothing to a user.

    Args:
        message: The message, of any length.

    Example:
        >>> shortened('Parser key "a.b":\n  Expected a <class \'int\'>. Got value: four')
        '`a.b`: expected int, got four'
    """
    noise = (*_NOISE, *_NESTED) if len(_KEY.findall(message)) > 1 else _NOISE
    lines = [_CLASS_PROBLEM.sub("", line.strip(" -")) for line in message.splitlines()]
    kept = " ".join(" ".join(line for line in lines if line and not line.startswith(noise)).split())
    kept = kept.replace("Expected a <", "expected <").replace(". Got value: ", ", got ")
    kept = _TYPE.sub(r"\1", kept)
    return _place(message) + kept


def class_names(bases: Iterable[type]) -> Iterator[str]:
    """Yield the names of all subclasses that are imported.

    Args:
        bases: The classes.
    """
    for base in bases:
        subclasses: list[type] = base.__subclasses__()
        for found in subclasses:
            yield found.__name__
            yield from class_names([found])


def parameters(class_path: str) -> list[str]:
    """Return the names of the arguments that a class takes, those of its bases included if it passes them on.

    Args:
        class_path: Full path of the class.

    Example:
        >>> "every_n_steps" in parameters("lightning_vista.callbacks.RoutingMonitor")
        True
    """
    module, _, name = class_path.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return []  # the message has the reason
    names: list[str] = []
    for owner in inspect.getmro(found) if inspect.isclass(found) else ():
        if "__init__" in vars(owner):
            arguments = list(inspect.signature(vars(owner)["__init__"]).parameters.values())[1:]
            names += [item.name for item in arguments if item.kind not in (item.VAR_KEYWORD, item.VAR_POSITIONAL)]
            if all(item.kind is not item.VAR_KEYWORD for item in arguments):
                break
    return names


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the long options of a parser and of its commands."""
    yield from (option for option in parser._option_string_actions if option.startswith("--"))
    for action in parser._actions:
        if isinstance(action.choices, Mapping):
            for command in action.choices.values():
                yield from _options(command)


def _place(message: str) -> str:
    keys = list(dict.fromkeys(_KEY.findall(message)))
    return f"`{'.'.join(keys)}`: " if keys else ""


def _unknown_option(message: str, option: str, parser: argparse.ArgumentParser) -> str:
    """Explain an option that a class or a group of options does not have."""
    keys, names = dict.fromkeys(_KEY.findall(message)), _CLASS.findall(message)
    if names:
        known = parameters(names[-1])
        hint = closest(option, known) or (f" It has {', '.join(known)}." if known else "")
        return f"`{'.'.join([*keys, option])}`: unknown option of {names[-1].split('.')[-1]}.{hint}"
    group = _GROUP.search(message)
    prefix = f"--{group[1]}." if group else "--"
    options = {text.removeprefix(prefix) for text in _options(parser) if text.startswith(prefix)}
    return f"`{prefix[2:]}{option}`: unknown option.{closest(option, options)} `--help` lists all."


def _unknown_word(message: str, words: list[str]) -> str:
    """Explain a word that an option does not know."""
    value = _VALUE.search(message)
    got = value[1].strip() if value else ""
    return f"{_place(message)}expected one of {', '.join(map(repr, words))}, got {got!r}.{closest(got, words)}"


def _moved(message: str) -> str:
    """Return the new names of options in an error that have moved from scorers to the evaluation."""
    found = [option for option in _MOVED if re.search(rf"(?<!evaluation\.)\b{option}\b", message)]
    return "".join(f" `{option}` is now `evaluation.{option}` (`--evaluation.{option}`)." for option in found)
