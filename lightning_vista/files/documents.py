"""YAML and JSON from anywhere: plain data only, within limits, and with errors that say what is wrong."""

import errno
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import yaml

#: The most that a document may be: its bytes, its nesting, and its values after all aliases are followed.
MAX_BYTES, MAX_DEPTH, MAX_VALUES = 50_000_000, 50, 1_000_000
#: YAML's tags of plain data, and of merged mappings (`<<`).
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge")}
_KINDS = {"timestamp": "a date", "binary": "binary data", "set": "a set", "omap": "an ordered map", "pairs": "pairs"}
#: Halves of characters, which no file can hold, and characters that end texts or paths in other programs.
_UNUSABLE = re.compile("[\ud800-\udfff\0]")


class DocumentError(ValueError):
    """A document that is not plain data within the limits; the message says where."""


def parse_yaml(text: str, max_bytes: int = MAX_BYTES) -> Any:
    """Return the plain data of a YAML document: mappings, lists, texts, numbers, true, false and null.

    Args:
        text: The document.
        max_bytes: Largest number of bytes.

    Returns:
        The data.

    Raises:
        DocumentError: If the text is not YAML, is too large, too deep or too long when its aliases are followed; if a
            mapping repeats a key; or if there is anything else than plain data, such as a date.

    Example:
        >>> parse_yaml("a: [1, two]")
        {'a': [1, 'two']}
    """
    return _parse(text, max_bytes, _load_yaml)


def parse_json(text: str | bytes, max_bytes: int = MAX_BYTES) -> Any:
    """Return the data of a JSON document.

    Args:
        text: The document.
        max_bytes: Largest number of bytes.

    Returns:
        The data.

    Raises:
        DocumentError: If the text is not JSON, is too large or too deep; if an object repeats a key; or if a number is
            not finite.

    Example:
        >>> parse_json('{"a": [1]}')
        {'a': [1]}
    """
    return _parse(text, max_bytes, partial(json.loads, object_pairs_hook=_unique, parse_constant=_refuse_constant))


def read_yaml(path: str | Path, max_bytes: int = MAX_BYTES) -> Any:
    """Return the plain data of a YAML file, see `parse_yaml`.

    Args:
        path: The file.
        max_bytes: Largest number of bytes.

    Returns:
        The data.

    Raises:
        DocumentError: If the file is not such data; names it.
        OSError: If the file cannot be read.
    """
    try:
        return parse_yaml(read_document(path, max_bytes), max_bytes)
    except DocumentError as error:
        raise DocumentError(f"{path} cannot be read: {error}.") from error


def read_document(path: str | Path, max_bytes: int = MAX_BYTES) -> str:
    """Return the text of a UTF-8 file, whose size is checked before it is read.

    Args:
        path: The file.
        max_bytes: Largest number of bytes.

    Raises:
        DocumentError: If the file is too large, or not UTF-8.
        OSError: If the file cannot be read.
    """
    with Path(path).open("rb") as file:
        content = file.read(max_bytes + 1)  # not by its status: a pipe has no size
    _check_size(content, max_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8: {error}") from error


def check_regular(path: Path) -> None:
    """Check that a path is that of a regular file, or of a link to one: reading a pipe would wait forever.

    Args:
        path: The file, which may come from anywhere.

    Raises:
        DocumentError: If there is anything else.
        FileNotFoundError: If there is nothing.
    """
    if path.is_file():
        return
    if path.exists():
        raise DocumentError(f"{path}: expected a regular file, got a folder, a pipe or a device. Replace it")
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def read_inside(path: Path, folder: Path) -> bytes:
    """Return the content of a regular file in a folder that somebody else may have made.

    Args:
        path: The file.
        folder: The folder, of whose files links must not lead out: the content may be published.

    Raises:
        DocumentError: If there is anything else, or a link that leaves the folder.
        FileNotFoundError: If there is nothing.
    """
    check_regular(path)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DocumentError(f"{path}: expected a file inside {folder}, got a link that leaves it. Copy the file there")
    return path.read_bytes()


def _parse(text: str | bytes, max_bytes: int, load: Callable[[Any], Any]) -> Any:
    """Return the data that a function loads, within the limits."""
    _check_size(text, max_bytes)
    try:
        data = load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        message = " ".join(str(error).split())
        raise DocumentError(message.replace(' in "<unicode string>"', "")) from error
    _check_values(data)
    return data


def _load_yaml(text: str) -> Any:
    _check_events(text)
    return yaml.load(text, Loader=_PlainLoader)


def _check_size(text: str | bytes, max_bytes: int) -> None:
    if len(text) > max_bytes:
        raise DocumentError(f"expected at most {max_bytes:,} bytes, got more. Divide the file")


def _check_events(text: str) -> None:
    """Check a YAML document before it is built: nested brackets overflow the stack, aliases of aliases the memory."""
    depth = 0
    counts = _Counts()
    for event in yaml.parse(text, Loader=_PlainLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise DocumentError(f"expected at most {MAX_DEPTH} levels, got more{_place(event)}")
        if counts.add(event) > MAX_VALUES:
            raise DocumentError(f"expected at most {MAX_VALUES:,} values, got more, with aliases{_place(event)}")


class _Counts:
    """The number of values of a document so far, with its aliases followed, and that of every anchored value."""

    def __init__(self) -> None:
        self._total = 0
        self._open: list[tuple[str | None, int]] = []  # the anchor of a collection, and the total before it
        self._anchored: dict[str, int] = {}

    def add(self, event: yaml.Event) -> int:
        """Count an event, and return the total."""
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, self._total))
            self._total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(*self._open.pop())
        elif isinstance(event, yaml.ScalarEvent):
            self._total += 1
            self._close(event.anchor, self._total - 1)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchored:
                raise DocumentError(f"alias *{event.anchor} stands for nothing, or contains itself{_place(event)}")
            self._total += self._anchored[event.anchor]
        return self._total

    def _close(self, anchor: str | None, before: int) -> None:
        if anchor is not None:
            self._anchored[anchor] = self._total - before


def _place(event: yaml.Event) -> str:
    mark = event.start_mark
    return "" if mark is None else f", line {mark.line + 1}"


def _check_values(data: Any) -> None:
    """Check the nesting and the texts of a document that has been built, without following it recursively."""
    waiting: list[tuple[Any, int]] = [(data, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise DocumentError(f"expected at most {MAX_DEPTH} levels, got more")
        if isinstance(value, dict):
            waiting += [(each, depth + 1) for pair in value.items() for each in pair]
        elif isinstance(value, list):
            waiting += [(each, depth + 1) for each in value]
        elif isinstance(value, str) and _UNUSABLE.search(value):
            raise DocumentError(f"expected whole characters, got half of one or a null byte in {value!r:.60}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse repeated keys, of which Python would silently keep the last."""
    repeated = sorted(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    if repeated:
        raise DocumentError(f"key(s) given more than once: {', '.join(repeated)} in {dict(pairs)!r:.80}")
    return dict(pairs)


def _refuse_constant(name: str) -> NoReturn:
    raise DocumentError(f"expected finite numbers, got {name}")


class _PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C where PyYAML has it
    """A YAML loader that builds plain data only, and refuses repeated keys, of which YAML would keep the last."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in _PLAIN:
            name = node.tag.removeprefix("tag:yaml.org,2002:")
            is_text = isinstance(node, yaml.ScalarNode)
            shown = f" {node.value!r:.40} (quote it, if it is a text)" if is_text else ""
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"expected text, numbers, lists and mappings, got {_KINDS.get(name, name)}{shown}",
                node.start_mark,
            )
        return super().construct_object(node, deep)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        # Before `<<` is merged: there a key of the mapping itself replaces the merged one, as YAML says.
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if not _merges(key)]
        problem = None
        if collections := [key for key in keys if isinstance(key, dict | list)]:
            problem = f"expected texts as keys, got {collections[0]!r:.60}"
        elif repeated := [str(key) for key, count in Counter(keys).items() if count > 1]:
            problem = f"key(s) given more than once: {', '.join(sorted(repeated))}"
        if problem is not None:
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def _merges(key: yaml.Node) -> bool:
    return key.tag == "tag:yaml.org,2002:merge"
