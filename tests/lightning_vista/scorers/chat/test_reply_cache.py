import multiprocessing
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from lightning_vista.files.own_files import DamagedFileError
from lightning_vista.scorers.chat.budget import Usage
from lightning_vista.scorers.chat.reply_cache import ReplyCache

REQUEST = {"endpoint": "http://a/v1", "model": "m", "messages": []}


def test_replies_are_kept_with_what_they_cost(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "replies.sqlite"
    cache = ReplyCache(path)
    assert cache.get("a") is None
    cache.put("a", REQUEST, {"text": "ünï"}, (10, 1))
    cache.put("b", REQUEST, {}, (20, 2))
    cache.put("c", REQUEST | {"model": "other"}, {}, (40, 4))
    cache.put("b", REQUEST, {}, (30, 3))
    cache.close()
    again = ReplyCache(path)
    assert again.get("a") == {"text": "ünï"}
    assert again.usage("http://a/v1", "m") == Usage(2, 40, 4)
    assert again.usage("http://b/v1", "m") == Usage(0, 0, 0)
    again.close()


def put_and_die(path: str, name: str) -> None:
    """Keep replies and be killed right after."""
    cache = ReplyCache(path)
    for number in range(50):
        cache.put(f"{name}{number}", REQUEST, {"number": number}, (1, 1))
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_share_it_and_a_kill_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    ReplyCache(path).close()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=put_and_die, args=(str(path), name)) for name in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    cache = ReplyCache(path)
    assert cache.usage("http://a/v1", "m").requests == 100
    assert cache.get("b49") == {"number": 49}
    cache.close()


def test_a_damaged_row_is_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    cache = ReplyCache(path)
    for key in "ab":
        cache.put(key, REQUEST, {"score": 3}, (10, 1))
    cache.close()
    connection = sqlite3.connect(path)
    connection.execute("""UPDATE replies SET reply = '{"score": 4}' WHERE key = 'a'""")
    connection.commit()
    connection.close()
    cache = ReplyCache(path)
    with pytest.warns(UserWarning, match=r"replies\.sqlite: 1 damaged replies"):
        assert cache.get("a") is None
    with pytest.warns(UserWarning, match="Their requests are sent again"):
        assert cache.usage("http://a/v1", "m") == Usage(1, 10, 1)
    assert cache.damaged == 1
    cache.put("a", REQUEST, {"score": 3}, (10, 1))
    assert cache.get("a") == {"score": 3}
    cache.close()


def test_a_file_of_an_earlier_release_gets_its_checksums(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE replies (key TEXT PRIMARY KEY, endpoint TEXT, model TEXT, request TEXT, reply TEXT, "
        "prompt_tokens INTEGER, completion_tokens INTEGER, time REAL)"
    )
    row = ("a", "http://a/v1", "m", "{}", '{"score": 3}', 10, 1, 0.5)
    connection.execute("INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    for _ in range(2):
        cache = ReplyCache(path)
        assert cache.get("a") == {"score": 3}
        assert cache.usage("http://a/v1", "m") == Usage(1, 10, 1)
        cache.close()


@pytest.mark.parametrize("content", [b"not a database, for all its length" * 100, b"SQLite format 3\0" + bytes(4000)])
def test_a_file_that_sqlite_cannot_read_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"replies\.sqlite cannot be read .* Move it away"):
        ReplyCache(path)
    assert path.read_bytes() == content
