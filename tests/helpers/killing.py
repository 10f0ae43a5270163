"""Kills work at a chosen moment, as a power cut or a scheduler would."""

import os
import signal
import time
from collections.abc import Callable


def killed_after(seconds: float, work: Callable[[], object]) -> bool:
    """Do the work in a forked process and kill that after some seconds; whether it was killed before it ended.

    A fork, since a new process would spend seconds on imports before there is anything to interrupt.
    """
    process = os.fork()
    if process == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise RuntimeError("the work itself failed")
    return False
