"""A cache of all paid replies in one SQLite file."""

import hashlib
import json
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_vista.files.own_files import DamagedFileError
from lightning_vista.scorers.chat.budget import Usage

_TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, endpoint TEXT, model TEXT, request TEXT, reply TEXT,
    prompt_tokens INTEGER, completion_tokens INTEGER, time REAL, sha256 TEXT
)
"""
_COLUMNS = "key, endpoint, model, request, reply, prompt_tokens, completion_tokens, time"
#: Version of the table, in SQLite's `user_version`; from 2 on, replies have checksums.
_VERSION = 2


class ReplyCache:
    """Replies by the hash of their request; several processes of one machine may share the file.

    A reply is in the file before `put` returns, so a kill does not lose replies that have arrived. Each row holds its
    checksum; a damaged row counts as absent, with a warning, so its request is sent again. The rows of a file of an
    earlier release get theirs when it is first opened.

    Args:
        path: File on a local disk; its folder is created.

    Attributes:
        damaged: Number of damaged rows that were found so far.

    Raises:
        DamagedFileError: Here or in any method, if SQLite cannot read the file.

    Example:
        >>> cache = ReplyCache(":memory:")
        >>> cache.put("key", {"endpoint": "e", "model": "m"}, {"choices": []}, tokens=(10, 2))
        >>> cache.get("key"), cache.usage("e", "m")
        ({'choices': []}, Usage(requests=1, prompt_tokens=10, completion_tokens=2))
        >>> cache.close()
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.damaged = 0
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with self._named():
            # Opened on the main thread, but from then on used only on the event loop's thread, so the check is off.
            # isolation_level=None commits every statement at once. SQLite's locks need a local disk.
            self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
        try:
            with self._named():
                self._open()
        except BaseException:
            self._connection.close()
            raise

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the reply to a request, or None if there is none that can be read."""
        with self._named():
            query = f"SELECT {_COLUMNS}, sha256 FROM replies WHERE key = ?"
            row = self._connection.execute(query, (key,)).fetchone()
        if row is None:
            return None
        *values, checksum = row
        try:
            reply = json.loads(values[4]) if checksum == _checksum(values).encode() else None
        except (TypeError, ValueError, RecursionError):
            reply = None
        if isinstance(reply, dict):
            return reply
        self.damaged += 1
        warnings.warn(
            f"{self.path}: {self.damaged} damaged replies so far. Their requests are sent again.", stacklevel=2
        )
        return None

    def put(self, key: str, request: Mapping[str, Any], reply: Mapping[str, Any], tokens: tuple[int, int]) -> None:
        """Keep a reply.

        Args:
            key: Hash of the request.
            request: Request without its images, with `endpoint` and `model`.
            reply: Reply as the endpoint sent it.
            tokens: Numbers of tokens of the request and of the reply.
        """
        texts = (json.dumps(part) for part in (request, reply))  # in ASCII: halves of characters have no other form
        row = [key, request["endpoint"], request["model"], *texts, *tokens, time.time()]
        with self._named():
            self._insert([*row, _checksum(row)])

    def usage(self, endpoint: str, model: str) -> Usage:
        """Return the answered requests to a model, and their tokens; damaged replies do not count."""
        requests = prompt_tokens = completion_tokens = damaged = 0
        query = f"SELECT {_COLUMNS}, sha256 FROM replies WHERE endpoint = ? AND model = ?"
        with self._named():
            for *row, checksum in self._connection.execute(query, (endpoint, model)):
                if checksum != _checksum(row).encode():
                    damaged += 1
                    continue
                requests += 1
                prompt_tokens += row[5]
                completion_tokens += row[6]
        if damaged:
            warnings.warn(f"{self.path}: {damaged} damaged replies. Their requests are sent again.", stacklevel=2)
        return Usage(requests, prompt_tokens, completion_tokens)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _open(self) -> None:
        execute = self._connection.execute
        self._connection.text_factory = bytes  # so that damaged text reaches `get`, which can tell
        execute("PRAGMA journal_mode=WAL")  # lets readers and one writer work concurrently
        execute("PRAGMA synchronous=NORMAL")  # survives a kill; a power cut costs the last replies
        execute("PRAGMA cell_size_check=ON")  # so that damaged pages are errors
        execute("BEGIN IMMEDIATE")  # of several processes that open an old file, one adds the checksums
        try:
            execute(_TABLE)
            (version,) = execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise DamagedFileError(
                    f"{self.path}: expected version {_VERSION}, got {version}. Name another file, or move it away."
                )
            if version < _VERSION:
                self._add_checksums()
                execute(f"PRAGMA user_version = {_VERSION}")
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise

    def _add_checksums(self) -> None:
        if b"sha256" not in [column[1] for column in self._connection.execute("PRAGMA table_info(replies)")]:
            self._connection.execute("ALTER TABLE replies ADD COLUMN sha256 TEXT")
        for row in self._connection.execute(f"SELECT {_COLUMNS} FROM replies").fetchall():
            self._insert([*(value.decode() if isinstance(value, bytes) else value for value in row), _checksum(row)])

    def _insert(self, row: list[Any]) -> None:
        self._connection.execute(f"INSERT OR REPLACE INTO replies VALUES ({', '.join('?' * len(row))})", row)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the file and the remedy in SQLite's errors."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if any(word in str(error) for word in ("full", "disk I/O", "locked", "readonly", "unable to open")):
                raise OSError(f"{self.path}: {error}. Run the same command again once that has changed.") from error
            raise DamagedFileError(
                f"{self.path} cannot be read ({error}). Move it away, and its replies are asked for again; the command "
                "`sqlite3 FILE .recover` may save them."
            ) from error


def _checksum(row: Sequence[Any]) -> str:
    """Return the SHA-256 of a row; texts may come as bytes."""
    values = [value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in row]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
