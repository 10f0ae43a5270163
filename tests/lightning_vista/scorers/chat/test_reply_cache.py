import multiprocessing
import os
import signal
from pathlib import Path

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
