"""Processes that do the runs of a study. They persist, since importing Lightning for each run would cost seconds."""

import multiprocessing
import os
import shutil
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lightning_vista.files.redaction import without_secrets
from lightning_vista.processes.stopping import exit_with_parent
from lightning_vista.study.runs import Run

#: Runs one command of `lightning-vista` and returns what it logged.
RunOne = Callable[[Sequence[str]], Mapping[str, float]]
#: A run is "missing" if a file, an address, a key or a package that it needs is missing.
Outcome: TypeAlias = Literal["finished", "missing", "failed"]


def do_runs(runs: Iterable[Run], run_one: RunOne, jobs: int) -> Iterator[tuple[Run, Outcome]]:
    """Do runs in at most `jobs` processes at once.

    Args:
        runs: The runs.
        run_one: Function that runs one command of `lightning-vista` and returns the logged metrics. It must be defined
            in a module, since it is sent to other processes.
        jobs: Number of processes, which share the cores.

    Yields:
        Each run with its outcome, in the order in which they end. A process that dies fails its own run only.
    """
    waiting = deque(runs)
    threads = max((os.cpu_count() or 1) // jobs, 1)
    busy: dict[Any, _Worker] = {}
    idle: list[_Worker] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                worker = idle.pop() if idle else _Worker(run_one, threads)
                worker.give(waiting.popleft())
                busy[worker.connection] = worker
            for connection in wait(list(busy)):
                worker = busy.pop(connection)
                outcome = worker.outcome()
                if outcome is not None:
                    idle.append(worker)
                yield worker.run, outcome or "failed"
    finally:
        for worker in [*busy.values(), *idle]:
            worker.end()


class _Worker:
    """A process that does one run after another."""

    run: Run

    def __init__(self, run_one: RunOne, threads: int) -> None:
        # A forked process would inherit the locks of torch's threads in any state, and could hang.
        context = multiprocessing.get_context("spawn")
        self.connection, others = context.Pipe()
        self.process = context.Process(target=_serve, args=(others, run_one, threads))
        self.process.start()
        others.close()  # the only other end is in the process now, so the connection ends with it

    def give(self, run: Run) -> None:
        self.run = run
        self.connection.send(run)

    def end(self) -> None:
        """End the process and those that it has started; its run is done again from the beginning."""
        self.process.kill()
        if self.process.pid is not None and hasattr(os, "killpg"):
            with suppress(ProcessLookupError):  # it has no group yet
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()

    def outcome(self) -> Outcome | None:
        """Return the outcome of the run, or None if the process died during it."""
        try:
            outcome: Outcome = self.connection.recv()
        except EOFError:
            return None
        return outcome


def _serve(connection: Connection, run_one: RunOne, threads: int) -> None:
    # In a group of its own: Ctrl-C, which a terminal sends to a whole group, is for the study, which ends all of this.
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    exit_with_parent(with_group=True)
    # Read by torch, which the first run imports. A number that the user has set stays.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    with suppress(EOFError):  # the study ended or was killed
        while True:
            connection.send(_do(connection.recv(), run_one))


def _do(run: Run, run_one: RunOne) -> Outcome:
    """Do a run from the beginning, whatever an earlier attempt left in its folder."""
    # Only a folder with both of these files is ours to delete. A killed run leaves no list of what it wrote, and any
    # file of it could change the next attempt, so all files go: docs/reliability.md says so.
    if all((run.folder / name).exists() for name in ("run.yaml", "commands.txt")):
        shutil.rmtree(run.folder)
    run.write()
    _print_to(run.folder / "log.txt")
    start = time.monotonic()
    metrics: dict[str, float] = {}
    try:
        for arguments in run.arguments:
            metrics |= run_one(arguments)
    except (Exception, SystemExit) as error:
        print(without_secrets(traceback.format_exc()), file=sys.stderr, flush=True)
        return "missing" if isinstance(error, OSError | ImportError) else "failed"
    run.finish(metrics, time.monotonic() - start)
    return "finished"


def _print_to(path: Path) -> None:
    """Redirect the output of this process to a file, including that of C libraries and of child processes."""
    sys.stdout.flush()
    with path.open("wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
