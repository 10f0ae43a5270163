"""Every reply that was paid for, in one SQLite file."""

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
    """Replies by the hash of what was asked; several processes of one machine may share it.

    A reply is in the file before `put` returns, so a kill loses none that has arrived.

    Args:
        path: The file, on a disk of this machine; its folder is made.
    """

    def __init__(self, path: str | Path) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # Opened on the main thread and then used on that of the event loop alone.
        self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")  # readers and a writer side by side
        self._connection.execute("PRAGMA synchronous=NORMAL")  # survives a kill; a power cut costs the last replies
        self._connection.execute(_TABLE)

    def get(self, key: str) -> dict[str, Any] | None:
        """The reply to a request, if there is one."""
        row = self._connection.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, request: Mapping[str, Any], reply: Mapping[str, Any], tokens: tuple[int, int]) -> None:
        """Keep a reply.

        Args:
            key: The hash of the request.
            request: What was asked: `endpoint`, `model`, and the rest without the images.
            reply: What came, as it came.
            tokens: Those of the request and of the reply.
        """
        texts = (json.dumps(part, ensure_ascii=False) for part in (request, reply))
        row = (key, request["endpoint"], request["model"], *texts, *tokens, time.time())
        self._connection.execute(f"INSERT OR REPLACE INTO replies VALUES ({', '.join('?' * len(row))})", row)

    def usage(self, endpoint: str, model: str) -> Usage:
        """What has been asked of a model, as far as it was answered."""
        columns = "COUNT(*), TOTAL(prompt_tokens), TOTAL(completion_tokens)"
        query = f"SELECT {columns} FROM replies WHERE endpoint = ? AND model = ?"
        return Usage(*map(int, self._connection.execute(query, (endpoint, model)).fetchone()))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
