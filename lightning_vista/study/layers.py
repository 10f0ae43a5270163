"""Configurations as nested dictionaries and lists: laid over each other, changed in places, filled in."""

import copy
from collections.abc import Mapping
from typing import Any

Config = dict[str, Any]


class StudyError(ValueError):
    """A study is not described as it should be, or some of its runs failed."""


def merge(base: Config, other: Mapping[str, Any]) -> Config:
    """Lay one configuration over another: dictionaries are joined, anything else is replaced.

    As on the command line, a list `<key>+` is appended to that of `<key>`.

    Args:
        base: The configuration below.
        other: The one above, which wins.

    Returns:
        The joint configuration; options of another class than that of `other` are left out.

    Example:
        >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
        {'a': {'b': 3, 'c': 2}}
        >>> merge({"a": [1]}, {"a+": [2]})
        {'a': [1, 2]}
    """
    is_other_class = base.get("class_path") != other.get("class_path", base.get("class_path"))
    merged = {} if is_other_class else copy.deepcopy(base)
    for key, value in other.items():
        if key.endswith("+"):
            merged[key[:-1]] = [*merged.get(key[:-1], []), *value]
        else:
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, dict) else {}, value) if isinstance(value, dict) else value
    return copy.deepcopy(merged)


def override(config: Config, key: str, value: Any) -> None:
    """Set a value in nested dictionaries and lists.

    Args:
        config: What is changed.
        key: Names joined by dots; items of lists by number. Dictionaries that are missing on the way are made.
        value: The new value.

    Raises:
        StudyError: If the way leads through something else, or to a list item that is not there.

    Example:
        >>> config = {"trainer": {"callbacks": [{"weight": 1}]}}
        >>> override(config, "trainer.callbacks.0.weight", 0)
        >>> config
        {'trainer': {'callbacks': [{'weight': 0}]}}
    """
    *way, last = key.split(".")
    node: Any = config
    try:
        for name in way:
            node = node[int(name)] if isinstance(node, list) else node.setdefault(name, {})
        node[int(last) if isinstance(node, list) else last] = copy.deepcopy(value)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise StudyError(
            f"The config has no place for {key!r}; expected names of its keys and numbers of items."
        ) from error


def fill(value: Any, words: Mapping[str, str]) -> Any:
    """Replace words in all strings of nested dictionaries and lists.

    Args:
        value: Whatever YAML may hold.
        words: What is replaced, with what replaces it.

    Returns:
        The same with the words replaced.

    Example:
        >>> fill({"path": ["{folder}/a"], "number": 1}, {"{folder}": "runs"})
        {'path': ['runs/a'], 'number': 1}
    """
    if isinstance(value, str):
        for word, replacement in words.items():
            value = value.replace(word, replacement)
        return value
    if isinstance(value, dict):
        return {key: fill(item, words) for key, item in value.items()}
    return [fill(item, words) for item in value] if isinstance(value, list) else value
