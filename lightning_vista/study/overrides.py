"""Overrides of a configuration by dotted keys."""

import copy
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import yaml

from lightning_vista.study.spec import Config, StudyError

#: Refused: the place of a callback in the list depends on the files that a run merges, so keys name its class instead.
_PLACES = "trainer.callbacks."


def override(config: Config, key: str, value: Any) -> None:
    """Set a value in nested dictionaries and lists.

    A key that begins with `callbacks.` addresses a callback of the trainer by its class:
    `callbacks.GradientRouting.mask_weight` sets one argument, `callbacks.GradientRouting` all of them. Among several
    callbacks of one class, `callbacks.Ablation#2.regions` addresses the second, `callbacks.Ablation#-1.regions` the
    last.

    Args:
        config: The configuration to change.
        key: Names joined by dots, list items by number. Missing dictionaries on the way are made.
        value: The new value.

    Raises:
        StudyError: If the configuration has no place for the key, or not exactly one callback that it addresses; if
            the key addresses a callback by its place in the list.

    Example:
        >>> config = {"trainer": {"callbacks": [{"class_path": "my.Timer", "init_args": {"steps": 1}}]}}
        >>> override(config, "callbacks.Timer.steps", 2)
        >>> override(config, "trainer.max_epochs", 3)
        >>> config["trainer"]
        {'callbacks': [{'class_path': 'my.Timer', 'init_args': {'steps': 2}}], 'max_epochs': 3}
    """
    if key.startswith(_PLACES):
        raise StudyError(
            f"`{key}`: expected the class of a callback, got its place in the list. Use {_by_class(config, key)!r}."
        )
    node: Any = config
    *way, last = key.split(".")
    if way and way[0] == "callbacks":
        _, callback, *rest = key.split(".")
        node = _find_callback(config, key, callback)
        *way, last = "init_args", *rest
    try:
        for name in way:
            node = node[int(name)] if isinstance(node, list) else node.setdefault(name, {})
        node[int(last) if isinstance(node, list) else last] = copy.deepcopy(value)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise StudyError(
            f"`{key}`: expected names of the configuration's keys and numbers of its list items, got no place for it. "
            "Check the key against the study's `configs`."
        ) from error


def parse_overrides(option: str, texts: Sequence[str]) -> Config:
    """Return the overrides that texts of the form `KEY=VALUE` name.

    Args:
        option: Name of the option, for the error.
        texts: The texts; their values are YAML.

    Raises:
        StudyError: If a text has another form, its value is not YAML, or a key is repeated.

    Example:
        >>> parse_overrides("--set", ["trainer.max_epochs=2", "model.name=a=b"])
        {'trainer.max_epochs': 2, 'model.name': 'a=b'}
    """
    found: Config = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise StudyError(f"`{option}`: expected KEY=VALUE, got {text!r}.")
        if key in found:
            raise StudyError(f"`{option}`: expected one value for {key}, got several. Remove all but one.")
        try:
            found[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise StudyError(
                f"`{option}`: expected a value in YAML for {key}, got {value!r}. Quote it within the shell's quotes."
            ) from error
    return found


def key_labels(keys: Sequence[str]) -> dict[str, str]:
    """Return the shortest ends of dotted keys that differ from each other.

    Args:
        keys: The keys, such as those of a grid.

    Returns:
        The label of each key.

    Example:
        >>> key_labels(["data.init_args.seed", "callbacks.Ablation.at"])
        {'data.init_args.seed': 'seed', 'callbacks.Ablation.at': 'at'}
        >>> list(key_labels(["callbacks.CoherenceTuning.steps", "callbacks.RelearningAttack.steps"]).values())
        ['CoherenceTuning.steps', 'RelearningAttack.steps']
    """
    labels = {}
    for key in keys:
        parts = key.split(".")
        ends = (".".join(parts[-length:]) for length in range(1, len(parts) + 1))
        labels[key] = next(end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1)
    return labels


def _find_callback(config: Config, key: str, name: str) -> Config:
    """Return the entry of the callback that a key addresses as `Class` or `Class#number`."""
    callbacks = _callbacks(config)
    class_name, numbered, number = name.partition("#")
    found = [place for place, callback in enumerate(callbacks) if callback_class(callback) == class_name]
    if not found:
        names = list(dict.fromkeys(map(callback_class, callbacks)))
        close = get_close_matches(class_name, names, n=1)
        raise StudyError(
            f"`{key}`: expected the class of one of the run's callbacks ({_join(names)}), got {class_name!r}."
            + (f" Did you mean {close[0]!r}?" if close else "")
        )
    numbers = [str(index) for index in (*range(1, len(found) + 1), *range(-len(found), 0))]
    if numbered and number not in numbers:
        raise StudyError(f"`{key}`: expected one of the numbers {', '.join(numbers)} after '#', got {number!r}.")
    if not numbered and len(found) > 1:
        forms = [key.replace(name, f"{name}#{index}", 1) for index in numbers[: len(found)]]
        raise StudyError(
            f"`{key}`: expected one callback of this class, got {len(found)} among the run's callbacks "
            f"({_join(map(callback_class, callbacks))}). Use one of {_join(forms)}."
        )
    index = int(number) if numbered else 1
    place = found[index - 1 if index > 0 else index]
    if isinstance(callbacks[place], str):  # LightningCLI also accepts a bare class path, which has no place for options
        callbacks[place] = {"class_path": callbacks[place]}
    entry: Config = callbacks[place]
    return entry


def _by_class(config: Config, key: str) -> str:
    """Return the form of a key by place that addresses the same callback by its class."""
    place, *rest = key.removeprefix(_PLACES).split(".")
    rest = rest[1:] if rest[:1] == ["init_args"] else rest
    try:
        callbacks = _callbacks(config)
        names = [callback_class(callback) for callback in callbacks]
        at = range(len(names))[int(place)]
    except (IndexError, ValueError):
        return ".".join(["callbacks", "<class>", *rest])
    number = f"#{names[: at + 1].count(names[at])}" if names.count(names[at]) > 1 else ""
    return ".".join(["callbacks", names[at] + number, *rest])


def _callbacks(config: Config) -> list[Any]:
    callbacks = (config.get("trainer") or {}).get("callbacks") or []
    return callbacks if isinstance(callbacks, list) else []


def callback_class(callback: Any) -> str:
    """Return the name of a callback's class, from its entry in a configuration.

    Args:
        callback: A dictionary with `class_path`, or a bare class path.

    Example:
        >>> callback_class({"class_path": "my.Timer"})
        'Timer'
    """
    path = callback.get("class_path", "") if isinstance(callback, dict) else callback
    return str(path).rpartition(".")[-1]


def _join(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
