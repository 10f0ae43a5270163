"""Stopping a command: by Ctrl-C, by SIGTERM, or with the process that started it."""

import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

#: Seconds that a stopped command has to put things away, before it is ended.
_PATIENCE = 60
#: Whether the handlers of `stop_signals` are installed, for processes that are forked meanwhile.
_active = False


class StopSignal(BaseException):
    """Ctrl-C or SIGTERM; not an `Exception`, and not the `KeyboardInterrupt` that Lightning turns into exit code 1.

    Args:
        number: Number of the signal.

    Attributes:
        resume: How to resume, as a sentence.

    Example:
        >>> StopSignal(signal.SIGTERM).exit_code, str(StopSignal(signal.SIGINT))
        (143, 'Stopped by Ctrl-C.')
    """

    def __init__(self, number: int, resume: str = "") -> None:
        super().__init__(number)
        self.number = number
        self.resume = resume

    @property
    def exit_code(self) -> int:
        """Exit code of the command, as shells use it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number

    def __str__(self) -> str:
        name = "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name
        return f"Stopped by {name}. {self.resume}".strip()


@contextmanager
def stop_signals(is_program: bool = False) -> Iterator[None]:
    """Raise `StopSignal` on Ctrl-C and SIGTERM, and restore the former handlers at the end.

    A second signal ends the process at once, as does a minute in which this context does not end. Processes that are
    forked meanwhile ignore Ctrl-C, which a terminal sends to all of them: their parent ends them. Outside the main
    thread, which alone gets signals, nothing happens.

    Args:
        is_program: Whether the process ends with the context, and so has to end within the minute, too.
    """
    global _active
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    timers: list[threading.Timer] = []

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, _end_now)
        # Python drops exceptions in finalizers, and libraries may wait for what never comes.
        timers.append(threading.Timer(_PATIENCE, os._exit, [128 + number]))
        timers[0].daemon = True
        timers[0].start()
        raise StopSignal(number)

    former: dict[int, Any] = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    _active = True
    try:
        yield
    finally:
        _active = False
        if not is_program:
            for timer in timers:
                timer.cancel()
        for each, handler in former.items():
            signal.signal(each, handler)


def _end_now(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _after_fork() -> None:
    """Give a forked process the handlers of a worker."""
    if _active:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def exit_with_parent(with_group: bool = False, parent: int | None = None) -> None:
    """End this process soon after the one that started it, even if that is killed; to be called in workers.

    Where a server forks processes (the default of Python 3.14), it is the one that asked for this process.

    Args:
        with_group: Whether to end all processes of the group of this one, which leads it.
        parent: Number of the process that started this one, where it may have ended already.
    """
    forked_by, asked_by = parent or os.getppid(), multiprocessing.parent_process()

    def watch() -> None:
        while os.getppid() == forked_by and (asked_by is None or asked_by.is_alive()):
            time.sleep(0.5)
        if with_group and hasattr(os, "killpg"):
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="exit with parent", daemon=True).start()


def reader_is_gone() -> bool:
    """Return whether nobody reads this process's output any more, as after `| head`; if so, the rest is dropped.

    Connections of other kinds break too, such as those to a server: they leave the output whole.
    """
    if not hasattr(select, "poll"):
        return False
    output = select.poll()
    output.register(1, select.POLLOUT)
    is_gone = any(event & select.POLLERR for _, event in output.poll(0))
    if is_gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python fails to write it at its end
    return is_gone


#: Words of a command -> how to resume it.
_RESUMING = {
    "fit": "Without a checkpoint, the same command starts again.",
    "test": "The same command resumes.",
    "predict": "The same command resumes.",
    "study": "The same command resumes: finished runs are not repeated.",
    "shards build": "The same command resumes.",
    "mini": "The same command finishes the dataset.",
}


def end_quietly(stop: StopSignal, arguments: Sequence[str]) -> NoReturn:
    """Print a line about a stopped command to stderr, in the first of several processes only, and end it.

    Args:
        stop: The signal.
        arguments: The command with its arguments.

    Raises:
        SystemExit: Always, with the exit code of the signal.
    """
    commands = (" ".join(arguments[:2]), *arguments[:1])
    known = next((_RESUMING[command] for command in commands if command in _RESUMING), "Run the same command again.")
    stop.resume = stop.resume or known
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"\nlightning-vista: {stop}", file=sys.stderr, flush=True)
    raise SystemExit(stop.exit_code)
