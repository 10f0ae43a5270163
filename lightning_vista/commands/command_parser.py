"""A parser of command lines that tells a mistake in one line, with the closest word."""

import argparse
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn


class CommandParser(argparse.ArgumentParser):
    """A parser of command lines whose errors are one line, name the closest option or command, and do not show usage.

    Example:
        >>> parser = CommandParser(prog="tool")
        >>> _ = parser.add_argument("--rescaling")
        >>> parser.parse(["--rescalling", "none"])
        Traceback (most recent call last):
        SystemExit: tool: `--rescalling`: unknown option. Did you mean '--rescaling'? `tool --help` lists all.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse a command line.

        Args:
            arguments: The words behind the program's name.

        Raises:
            SystemExit: With one line, if the command line is wrong.
        """
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            _deepest(self, arguments).refuse_option(unknown[0])
        return options

    def refuse_option(self, option: str) -> NoReturn:
        """Refuse an option or argument that the parser does not know.

        Raises:
            SystemExit: Always, with one line.
        """
        name = option.partition("=")[0]
        known = [text for text in self._option_string_actions if text.startswith("--")]
        what = "unknown option." if name.startswith("-") else "unexpected argument."
        self.error(f"`{name}`: {what}{closest(name, known)}")

    def error(self, message: str) -> NoReturn:
        """Refuse a command line.

        Raises:
            SystemExit: Always, with one line.
        """
        raise SystemExit(f"{self.prog}: {message} `{self.prog} --help` lists all.")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = list(map(str, action.choices))
            name = "/".join(action.option_strings) or action.metavar or action.dest
            self.error(f"`{name}`: expected one of {', '.join(choices)}, got {value!r}.{closest(str(value), choices)}")


def closest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'this'?` for the closest of some names, or nothing.

    Args:
        name: The misspelt name.
        known: The names that exist.

    Example:
        >>> closest("tset", ["test", "fit"])
        " Did you mean 'test'?"
    """
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def key_values(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Split texts of the form `KEY=VALUE`.

    Args:
        option: Name of the option, for the error.
        texts: The texts.

    Raises:
        ValueError: If a text has another form.

    Example:
        >>> key_values("--columns", ["video=clip"])
        {'video': 'clip'}
    """
    pairs = [text.partition("=") for text in texts]
    if wrong := [
        text for text, (key, equals, value) in zip(texts, pairs, strict=True) if not (key and equals and value)
    ]:
        raise ValueError(f"`{option}`: expected NAME=VALUE, got {wrong[0]!r}.")
    return {key: value for key, _, value in pairs}


def _deepest(parser: CommandParser, arguments: Sequence[str]) -> CommandParser:
    """Return the parser of the innermost command of a command line."""
    for argument in arguments:
        groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        chosen = next((group.choices[argument] for group in groups if argument in group.choices), None)
        parser = chosen if isinstance(chosen, CommandParser) else parser
    return parser
