"""Commands of `lightning-vista` in a process of their own that is stopped at a chosen moment."""

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

#: Imported once by the server that processes are forked from, so that they start with the work; polars, whose threads
#: do not survive a fork, is only imported there, never used.
_PRELOADED = [
    "lightning", "lightning_vista.cli", "lightning_vista.scorers", "lightning_vista.datamodules",
    "lightning_vista.callbacks", "lightning_vista.mini.build", "lightning_vista.models", "lightning_vista.reports",
    "lightning_vista.study.running", "lightning_vista.oversight", "lightning_vista.vista.shards", "drifting_model",
]  # fmt: skip
#: Seconds after which a process that has not ended, or that was left behind, counts as hanging.
_PATIENCE = 120.0


class Ended(NamedTuple):
    """The end of a command."""

    exit_code: int | None
    errors: str
    orphans: list[int]
    seconds: float


def run_command(
    arguments: Sequence[str],
    folder: Path,
    stop: signal.Signals | None = None,
    delay: float = 0.0,
    limit: int | None = None,
) -> Ended:
    """Run a command in a folder, and stop it after some seconds.

    Args:
        arguments: Its arguments.
        folder: The folder, which exists.
        stop: A signal to send, unless the command has ended by then.
        delay: Number of seconds before the signal.
        limit: Number of bytes that no file may exceed, which stands in for a full disk.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    errors = folder / ".stderr"
    errors.unlink(missing_ok=True)
    process = context.Process(target=_do, args=(list(arguments), str(folder), str(errors), limit))
    process.start()
    while not errors.exists() and process.is_alive():  # the server takes a while the first time
        time.sleep(0.005)
    start = time.monotonic()
    process.join(delay if stop is not None else 5 * _PATIENCE)
    if stop is not None and process.is_alive() and process.pid is not None:
        os.kill(process.pid, stop)
        process.join(_PATIENCE)
    seconds = time.monotonic() - start
    code = process.exitcode
    orphans = _left_behind(process.pid or 0)
    for pid in [*orphans, *([process.pid] if code is None and process.pid is not None else [])]:
        os.kill(pid, signal.SIGKILL)
    process.join()
    text = errors.read_text(encoding="utf-8", errors="replace") if errors.exists() else ""
    return Ended(code, text, orphans, seconds)


def _do(arguments: list[str], folder: str, errors: str, limit: int | None) -> None:
    os.setsid()
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # Python ignores the signal, so that writing fails
    os.chdir(folder)
    for descriptor, name in ((1, os.devnull), (2, errors)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    from lightning_vista.cli import main

    main(arguments)
    os._exit(0)  # a signal that comes later finds a finished command


def _left_behind(session: int) -> list[int]:
    """Return the processes of a session that stay; torch's and ours notice within seconds that their parent is gone."""
    end = time.monotonic() + 30
    while (left := _members(session)) and time.monotonic() < end:
        time.sleep(0.2)
    return left


def _members(session: int) -> list[int]:
    members = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            members.append(int(path.name))
    return members
