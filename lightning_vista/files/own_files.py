"""Files of our own formats: written in one step, sealed with a checksum, and checked when they are read.

A seal is a text of fixed length inside the file, `lightning-vista-sha256:` and 64 hex digits: the SHA-256 of the file
with zeros in place of the digits. So a file of any format can hold its own checksum, in a JSON entry, a YAML comment or
the metadata of a parquet or safetensors file, and is checked before anything in it is parsed.
"""

import errno
import hashlib
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from lightning_vista.files.csv_tables import csv_text

_MARK = "lightning-vista-sha256:"
#: The place for a seal, as it is written before `seal` fills in the digits.
EMPTY_SEAL = _MARK + 64 * "0"
_SEAL = re.compile(_MARK.encode() + rb"([0-9a-f]{64})")
#: Entry of JSON documents for their seal, and of the metadata of other formats.
SEAL_KEY = "seal"
VERSION_KEY = "version"


class DamagedFileError(ValueError):
    """A file of our own that has changed since it was written; the message names it and the remedy."""


@contextmanager
def written_whole(path: str | Path, sync: bool = True) -> Iterator[Path]:
    """Give a temporary path beside a file, and rename it to the file at the end.

    So the file is there as a whole or not at all, and an earlier one stays until then. After an exception nothing
    remains; after a kill, a hidden file that ends in `.part`.

    Args:
        path: File to write; its folder is created.
        sync: Whether to wait until the content is on the disk. Without it, a power cut may leave an empty file.

    Yields:
        The temporary path.

    Raises:
        OSError: If the file cannot be written; names it even where the system does not, as for a full disk. One about
            another file, from which the content comes, stays as it is.
    """
    target = Path(path)
    # File systems limit the bytes of a name; 200 characters may have 800.
    short = target.name.encode(errors="ignore")[:200].decode(errors="ignore")
    temporary = target.with_name(f".{short}.{uuid4().hex[:8]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if sync:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        own = {None, str(temporary), str(target), *map(str, target.parents)}
        if error.filename not in own and error.filename2 is None:
            raise
        raise named_error(error, target) from error
    finally:
        with suppress(OSError):  # on a broken disk this one would hide the error above
            temporary.unlink(missing_ok=True)


def named_error(error: OSError, path: Path) -> OSError:
    """Return an error of the system with the file that it is about; a full disk is reported without one.

    Args:
        error: The error.
        path: The file.
    """
    if error.errno is None:
        return OSError(f"{path}: {error}")
    hint = " (free some space, and run the same command again)" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return OSError(error.errno, f"{os.strerror(error.errno)}{hint}", str(path))


def write_whole(path: str | Path, content: str | bytes, sync: bool = True) -> None:
    """Write a file in one step, see `written_whole`.

    Args:
        path: File to write.
        content: Its bytes, or its text, which is written as UTF-8 with its own line ends.
        sync: Whether to wait until the content is on the disk.

    Raises:
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder) / "a" / "b.txt", "two")
        ...     (Path(folder) / "a" / "b.txt").read_text()
        'two'
    """
    with written_whole(path, sync) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_csv(path: str | Path, rows: Iterable[Sequence[Any]], line_end: str = "\n") -> None:
    """Write a CSV table without formulas in one step, see `csv_text`.

    Args:
        path: File to write.
        rows: The rows, the first of them with the names of the columns.
        line_end: End of each line.

    Raises:
        OSError: If the file cannot be written.
    """
    write_whole(path, csv_text(rows, line_end))


def seal(content: bytes) -> bytes:
    """Fill in the seal of a file.

    Args:
        content: Content with `EMPTY_SEAL` in it.

    Returns:
        Content of the same length.

    Example:
        >>> seal(b"# " + EMPTY_SEAL.encode())[:33]
        b'# lightning-vista-sha256:a22b2da6'
    """
    start = content.index(EMPTY_SEAL.encode()) + len(_MARK)
    view = memoryview(content)  # slices of bytes are copies, of files that may be large
    return b"".join((view[:start], hashlib.sha256(content).hexdigest().encode(), view[start + 64 :]))


def is_sealed(content: bytes, source: object, remedy: str) -> bool:
    """Check the seal of a file.

    Args:
        content: Content of the file.
        source: The file, for the error.
        remedy: What to do about a damaged file, as a sentence.

    Returns:
        Whether there is a seal; files of earlier releases and of other tools lack one.

    Raises:
        DamagedFileError: If the content is not what was sealed.
    """
    seals = list(_SEAL.finditer(content))
    view = memoryview(content)
    for match in seals:  # a text in the file may look like a seal too
        digest = hashlib.sha256(view[: match.start(1)])
        digest.update(64 * b"0")
        digest.update(view[match.end(1) :])
        if digest.hexdigest().encode() == match[1]:
            return True
    if seals:
        raise DamagedFileError(f"{source} is damaged: its content does not match its checksum. {remedy}")
    return False


def write_sealed(path: str | Path, content: str | bytes, sync: bool = True) -> None:
    """Seal a file that holds `EMPTY_SEAL`, and write it in one step."""
    write_whole(path, seal(content.encode() if isinstance(content, str) else content), sync)


def to_sealed_json(document: Mapping[str, Any], version: int, indent: int | None = 1) -> bytes:
    """Return a JSON document with its version first and its seal last.

    Args:
        document: The document, without these two. Dataclasses in it become objects.
        version: Version of the format.
        indent: Indentation, see `json.dumps`.

    Example:
        >>> from_sealed_json(to_sealed_json({"a": 1}, 2), "a.json", version=2, sealed_since=2, remedy="Remove it.")
        {'version': 2, 'a': 1}
    """
    content = io.BytesIO()
    _dump_sealed_json(content, document, version, indent)
    return content.getvalue()


def write_sealed_json(path: str | Path, document: Mapping[str, Any], version: int) -> None:
    """Write what `to_sealed_json` returns in one step, without ever holding it whole.

    Args:
        path: File to write.
        document: The document, see `to_sealed_json`.
        version: Version of the format.

    Raises:
        OSError: If the file cannot be written.
    """
    with written_whole(path) as temporary, temporary.open("wb") as file:
        _dump_sealed_json(file, document, version, indent=1)


def _dump_sealed_json(file: BinaryIO, document: Mapping[str, Any], version: int, indent: int | None) -> None:
    """Write a sealed document piece by piece: an index lists every video of a dataset."""
    whole = {VERSION_KEY: version, **document, SEAL_KEY: EMPTY_SEAL}
    encoder = json.JSONEncoder(indent=indent, ensure_ascii=False, default=asdict)
    digest, place, end = hashlib.sha256(), 0, 0
    for piece in chain(encoder.iterencode(whole), "\n"):
        content = piece.encode()
        if piece == f'"{EMPTY_SEAL}"':  # the last one counts: a text of the document may be the same
            place = end + 1 + len(_MARK)
        end += file.write(content)
        digest.update(content)
    file.seek(place)
    file.write(digest.hexdigest().encode())


def from_sealed_json(
    content: bytes,
    source: object,
    *,
    version: int,
    sealed_since: int = 1,
    remedy: str,
    object_hook: Callable[[dict[str, Any]], Any] | None = None,
) -> dict[str, Any]:
    """Return the document that `to_sealed_json` wrote, with its version.

    Args:
        content: Content of the file.
        source: The file, for the error.
        version: Newest version of the format.
        sealed_since: First version with a seal; older ones are read without.
        remedy: What to do about a file that cannot be read, as a sentence.
        object_hook: Function from each JSON object to what replaces it, see `json.loads`.

    Returns:
        The document, without the seal.

    Raises:
        DamagedFileError: If the file is damaged, or of a later version.
    """
    sealed = is_sealed(content, source, remedy)
    try:
        document = json.loads(content, object_hook=object_hook)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{source} is damaged: it is not JSON ({error}). {remedy}") from error
    found = document.pop(VERSION_KEY, None) if isinstance(document, dict) else None
    if type(found) is not int or not 1 <= found <= version:
        raise DamagedFileError(f"{source}: expected version {version}, got {found!r}. {remedy}")
    if found >= sealed_since and not sealed:
        raise DamagedFileError(f"{source} is damaged: it has no checksum. {remedy}")
    document.pop(SEAL_KEY, None)
    return {VERSION_KEY: found, **document}


def write_cached(path: str | Path, content: bytes) -> None:
    """Write a file of a cache with its seal behind the content, see `read_cached`."""
    write_sealed(path, content + b"\n" + EMPTY_SEAL.encode(), sync=False)


def read_cached(path: str | Path) -> bytes | None:
    """Return the content of a file that `write_cached` wrote.

    Args:
        path: File of a cache.

    Returns:
        The content; None without a file, or, with a warning, if it is damaged or has no seal.
    """
    try:
        content = Path(path).read_bytes()
        if is_sealed(content, path, "It is made again."):
            return content[: -len(EMPTY_SEAL) - 1]
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        warnings.warn(str(error), stacklevel=2)
        return None
    warnings.warn(f"{path} has no checksum. It is made again.", stacklevel=2)
    return None


def line_checksum(line: str) -> str:
    """Return the checksum of a line of a journal: the first 16 hex digits of its SHA-256.

    Example:
        >>> line_checksum("{}")
        '44136fa355b3678a'
    """
    return hashlib.sha256(line.encode()).hexdigest()[:16]


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
