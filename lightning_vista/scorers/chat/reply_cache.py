"""A cache of all paid replies in one SQLite file."""

import json
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_vista.scorers.chat.budget import Usage

_TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, endpoint TEXT, model TEXT, request TEXT, reply TEXT,
    prompt_tokens INTEGER, completion_tokens INTEGER, time REAL
)
"""


class ReplyCache:
    """Replies by the hash of their request; several processes of one machine may share the file.

    A reply is in the file before `put` returns, so a kill does not lose replies that have arrived.

    Args:
        path: File on a local disk; its folder is created.

    Example:
        >>> cache = ReplyCache(":memory:")
        >>> cache.put("key", {"endpoint": "e", "model": "m"}, {"choices": []}, tokens=(10, 2))
        >>> cache.get("key"), cache.usage("e", "m")
        ({'choices': []}, Usage(requests=1, prompt_tokens=10, completion_tokens=2))
        >>> cache.close()
    """

    def __init__(self, path: str | Path) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # Opened on the main thread, but from then on used only on the event loop's thread, so the check is off.
        # isolation_level=None commits every statement at once. SQLite's locks need a local disk.
        self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
        self._connection.text_factory = bytes  # so that damaged text reaches `get`, which can tell
        self._connection.execute("PRAGMA journal_mode=WAL")  # lets readers and one writer work concurrently
        self._connection.execute("PRAGMA synchronous=NORMAL")  # survives a kill; a power cut costs the last replies
        self._connection.execute(_TABLE)

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the reply to a request, or None if there is none that can be read."""
        row = self._connection.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        try:
            reply = None if row is None else json.loads(row[0])
        except (TypeError, ValueError):
            return None
        return reply if isinstance(reply, dict) else None

    def put(self, key: str, request: Mapping[str, Any], reply: Mapping[str, Any], tokens: tuple[int, int]) -> None:
        """Keep a reply.

        Args:
            key: Hash of the request.
            request: Request without its images, with `endpoint` and `model`.
            reply: Reply as the endpoint sent it.
            tokens: Numbers of tokens of the request and of the reply.
        """
        texts = (json.dumps(part) for part in (request, reply))  # in ASCII: halves of characters have no other form
        row = (key, request["endpoint"], request["model"], *texts, *tokens, time.time())
        self._connection.execute(f"INSERT OR REPLACE INTO replies VALUES ({', '.join('?' * len(row))})", row)

    def usage(self, endpoint: str, model: str) -> Usage:
        """Return the answered requests to a model, and their tokens."""
        columns = "COUNT(*), TOTAL(prompt_tokens), TOTAL(completion_tokens)"
        query = f"SELECT {columns} FROM replies WHERE endpoint = ? AND model = ?"
        return Usage(*map(int, self._connection.execute(query, (endpoint, model)).fetchone()))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
