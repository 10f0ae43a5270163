"""Reading of remote files: again after failures, from where the last attempt stopped, and never for ever.

fsspec's own HTTP reader allows 300 seconds for a whole file, takes the whole file for the part that it asked for where
a server ignores ranges, and calls a server's fault a missing file.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import fsspec
from fsspec.asyn import AsyncFileSystem, sync
from fsspec.implementations.http import HTTPFileSystem

from lightning_vista.files.redaction import without_secrets

#: Bytes that are asked for at once where a file system reads only whole parts.
_PART = 8_000_000
#: Bytes that have to arrive within `read_timeout`; a server that drips single bytes has stalled too.
_LEAST = 1_000
#: Bytes after which an attempt counts as progress, so that the count of failures starts anew.
_PROGRESS = 65_536
#: Bytes a second below which a part has stalled where only its whole duration can be bounded.
_SLOWEST = 20_000
_LONGEST_WAIT = 30.0
#: Statuses of HTTP that another attempt may change.
_PASSING = frozenset((408, 421, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529))
_FINAL = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotImplementedError,
    TypeError,
    ValueError,
    ImportError,
)

Sink = Callable[[bytes], object]


class RemoteError(OSError):
    """A remote file that cannot be read after all attempts; the message names its address."""


class _PassingError(OSError):
    """A failure that may pass."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True)
class Retries:
    """Patience with a remote server.

    Attributes:
        attempts: Number of attempts in a row without progress, at least 1. The wait between them doubles from half a
            second to half a minute.
        read_timeout: Seconds for the answer to begin, and for the next kilobyte to arrive. The whole may take any time.

    Raises:
        ValueError: If a value is outside these ranges.

    Example:
        >>> Retries().read_timeout
        60.0
    """

    attempts: int = 6
    read_timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"`attempts`: expected at least 1, got {self.attempts}.")
        if not self.read_timeout > 0:
            raise ValueError(f"`read_timeout`: expected seconds above 0, got {self.read_timeout}.")


class RemoteFiles:
    """The files of a remote file system of fsspec.

    Args:
        files: File system of fsspec.
        retries: Patience with the server.
    """

    def __init__(self, files: Any, retries: Retries) -> None:  # fsspec has no types
        self._files = files
        self._retries = retries

    def info(self, path: str) -> dict[str, Any]:
        """Return what the server tells about a file: `size`, and fields that tell its versions apart.

        Args:
            path: Path in the file system.

        Raises:
            FileNotFoundError: If the file does not exist.
            RemoteError: If the server cannot be read.
        """

        def ask() -> dict[str, Any]:
            if isinstance(self._files, HTTPFileSystem):
                found: dict[str, Any] = _run(self._files, _http_info, path, self._retries.read_timeout)
                return found
            self._files.invalidate_cache(path)  # the file system may remember an outdated listing
            if isinstance(self._files, AsyncFileSystem):
                listed: dict[str, Any] = _run(self._files, self._files._info, path, timeout=self._retries.read_timeout)
                return listed
            info: dict[str, Any] = self._files.info(path)
            return info

        found: list[dict[str, Any]] = []
        self._persist(path, lambda: found.append(ask()), lambda: 0)
        return found[-1]

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a file, or a part of it.

        Args:
            path: Path in the file system.
            start: First byte.
            length: Number of bytes; fewer come where the file ends before. None for all.

        Raises:
            FileNotFoundError: If the file does not exist.
            RemoteError: If the server cannot be read.
        """
        parts: list[bytes] = []
        self.receive(path, parts.append, start, None if length is None else start + length, whole=length is None)
        return b"".join(parts)

    def receive(self, path: str, sink: Sink, start: int = 0, stop: int | None = None, whole: bool = True) -> None:
        """Hand a file, or a part of it, to a function as it arrives.

        Args:
            path: Path in the file system.
            sink: Function that takes the bytes, in order, each once.
            start: First byte.
            stop: End of the part; None for the end of the file.
            whole: Whether the file ends at `stop`, so that an earlier end is a failure.

        Raises:
            FileNotFoundError: If the file does not exist.
            RemoteError: If the server cannot be read.
        """
        received = 0

        def take(content: bytes) -> None:
            nonlocal received
            sink(content)
            received += len(content)

        def step() -> None:
            if stop is not None and start + received >= stop:
                return
            if isinstance(self._files, HTTPFileSystem):
                span = (start + received, stop)
                is_range = not whole or span[0] > 0
                _run(self._files, _http_receive, path, span, is_range, take, self._retries.read_timeout)
            else:
                self._receive_parts(path, start + received, stop, take)
            if whole and stop is not None and start + received < stop:
                raise _PassingError(f"only {start + received:,} of {stop:,} bytes arrived")

        self._persist(path, step, lambda: received)

    def _receive_parts(self, path: str, start: int, stop: int | None, take: Sink) -> None:
        """Receive a file part by part, from a file system that reads only whole parts."""
        if stop is None:
            stop = self._files.info(path)["size"]
        for first in range(start, stop, _PART):
            last = min(first + _PART, stop)
            content = self._part(path, first, last)
            take(content)
            if len(content) < last - first:
                return

    def _part(self, path: str, first: int, last: int) -> bytes:
        content: bytes
        if isinstance(self._files, AsyncFileSystem):
            timeout = self._retries.read_timeout + (last - first) / _SLOWEST
            read = partial(self._files._cat_file, start=first, end=last)  # their order differs between file systems
            content = _run(self._files, read, path, timeout=timeout)
        else:
            content = self._files.cat_file(path, start=first, end=last)
        if len(content) > last - first:
            raise _PassingError(f"{last - first:,} bytes were wanted, {len(content):,} came")
        return content

    def _persist(self, path: str, step: Callable[[], object], progress: Callable[[], int]) -> None:
        """Repeat a step after failures that may pass, with longer and longer waits."""
        failures, before = 0, 0
        while True:
            try:
                step()
                return
            except Exception as error:  # libraries have their own classes; those that are final are named
                _raise_final(path, error)
                failures = 1 if progress() - before >= _PROGRESS else failures + 1
                before = progress()
                if failures >= self._retries.attempts:
                    raise RemoteError(
                        f"{without_secrets(path)}: {failures} attempt(s) in a row failed, the last with "
                        f"{_described(error)}. Run the same command again when the server answers."
                    ) from None  # the chained error may show a password
                wait = min(_LONGEST_WAIT, 0.5 * 2 ** (failures - 1)) * random.uniform(0.5, 1)  # no secret
                time.sleep(max(wait, min(getattr(error, "wait", None) or 0, _LONGEST_WAIT)))


def connect(url: str, retries: Retries) -> tuple[Any, str]:
    """Return the fsspec file system of an address, and the path in it.

    Args:
        url: Address.
        retries: Patience with the server.

    Raises:
        ValueError: If fsspec does not know the kind of address, or lacks its package.
    """
    options: dict[str, Any] = {}
    if url.startswith(("s3://", "s3a://")):
        timeouts = {"connect_timeout": retries.read_timeout, "read_timeout": retries.read_timeout}
        options = {"config_kwargs": {**timeouts, "retries": {"max_attempts": 1}}}  # they are counted here
    try:
        files, root = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        message = f"`url`: expected an address that fsspec can open, got {without_secrets(url)!r}: {error}"
        raise ValueError(without_secrets(message)) from None
    return files, root


def join_path(root: str, name: str) -> str:
    """Return the path of a file in a folder; a query, such as a signature, stays at the end.

    Example:
        >>> join_path("https://host/shards?sig=1", "index.json"), join_path("bucket/shards", "index.json")
        ('https://host/shards/index.json?sig=1', 'bucket/shards/index.json')
    """
    folder, mark, query = root.partition("?") if root.startswith(("http://", "https://")) else (root, "", "")
    return f"{folder.rstrip('/')}/{name}{mark}{query}"


def _run(files: Any, function: Any, *args: Any, timeout: float | None = None) -> Any:
    """Run a coroutine of a file system in fsspec's own thread."""
    if function in (_http_info, _http_receive):
        args = (files, *args)
    return sync(files.loop, function, *args, timeout=timeout)


def _raise_final(path: str, error: Exception) -> None:
    """Raise an error that no attempt will change, without passwords."""
    shown = without_secrets(path)
    if isinstance(error, FileNotFoundError):
        raise FileNotFoundError(f"{shown} does not exist.") from None
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        raise PermissionError(f"{shown} may not be read: {_described(error)}. Check the address and its key.") from None
    if isinstance(error, _FINAL):
        raise RemoteError(f"{shown}: {_described(error)}") from None


def _described(error: Exception) -> str:
    if isinstance(error, _PassingError | ValueError):
        return without_secrets(str(error))
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return without_secrets(f"{type(error).__name__}: {error}")


async def _http_info(files: HTTPFileSystem, url: str, timeout: float) -> dict[str, Any]:
    """Return size and version of a file from the headers of HTTP."""
    response = await _answer(files, "HEAD", url, {}, timeout)
    async with response:
        if response.status in (403, 405, 501):  # addresses signed for GET, and servers without HEAD
            response.close()
            response = await _answer(files, "GET", url, {"Range": "bytes=0-0"}, timeout)
    async with response:
        _check_status(response)
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if response.status != 206:
            total = "" if response.headers.get("Content-Encoding") else response.headers.get("Content-Length", "")
        response.close()  # without the content
        names = ("ETag", "Content-MD5", "Digest", "Last-Modified")
        versions = {name: response.headers[name] for name in names if response.headers.get(name)}
        return {"name": url, "size": int(total) if total.isdigit() else None, **versions}


async def _http_receive(
    files: HTTPFileSystem, url: str, span: tuple[int, int | None], is_range: bool, take: Sink, timeout: float
) -> None:
    """Receive a part of a file over HTTP, also from a server that sends the whole file instead."""
    start, stop = span
    headers = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if is_range else {}
    response = await _answer(files, "GET", url, headers, timeout)
    async with response:
        if response.status == 416:  # the file ends before
            return
        _check_status(response)
        place = _first_byte(response) if response.status == 206 else 0
        if place > start:
            raise _PassingError(f"bytes from {start:,} on were wanted, those from {place:,} on came")
        while stop is None or place < stop:
            content = await _some(response.content, timeout)
            if not content:
                break
            begin, end = max(0, start - place), None if stop is None else stop - place
            if content[begin:end]:
                take(content[begin:end])
            place += len(content)
        else:
            response.close()  # whatever else a server without ranges would send
        _check_end(response, place, stop)


async def _answer(files: HTTPFileSystem, method: str, url: str, headers: dict[str, str], timeout: float) -> Any:
    """Send a request and return the answer once it begins."""
    import aiohttp

    session = await files.set_session()
    options = {**files.kwargs}
    given = {**options.pop("headers", {}), "Accept-Encoding": "identity", **headers}
    limit = aiohttp.ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout)
    async with asyncio.timeout(timeout):
        return await session.request(
            method, files.encode_url(url), headers=given, allow_redirects=True, timeout=limit, **options
        )


def _check_status(response: Any) -> None:
    status = response.status
    if status in (404, 410):
        raise FileNotFoundError(status)
    if status in (401, 403, 407, 451):
        raise PermissionError(f"HTTP status {status}")
    if status in _PASSING:
        wait = response.headers.get("Retry-After", "")
        raise _PassingError(f"HTTP status {status}", float(wait) if wait.isdigit() else None)
    if status not in (200, 206):
        _refuse(status)


def _refuse(status: int) -> NoReturn:
    raise ValueError(f"expected a file, got HTTP status {status}. Check the address.")


def _first_byte(response: Any) -> int:
    """Return the place of the first byte of an answer with a part of a file."""
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0].strip()
    if not first.isdigit():
        raise _PassingError(f"an answer with a part of the file does not say which: {first!r:.40}")
    return int(first)


async def _some(content: Any, timeout: float) -> bytes:
    """Return the next bytes, a kilobyte at least; none at the end."""
    parts: list[bytes] = []
    async with asyncio.timeout(timeout):
        while sum(map(len, parts)) < _LEAST:
            part = await content.readany()
            if not part:
                break
            parts.append(part)
    return b"".join(parts)


def _check_end(response: Any, place: int, stop: int | None) -> None:
    """Refuse an answer that ends too soon. The library notices only what the headers of the answer's form announce."""
    last = response.headers.get("Content-Range", "").partition("/")[0].rpartition("-")[2]
    length = response.headers.get("Content-Length", "") if response.status == 200 else ""
    if last.isdigit():
        end: int | None = int(last) + 1
    elif length.isdigit():
        end = int(length)
    else:
        end = None if response.headers.get("Transfer-Encoding") else stop
    if end is not None and place < (end if stop is None else min(end, stop)):
        raise _PassingError(f"the answer ended at byte {place:,}")
