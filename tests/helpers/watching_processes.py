"""A process that starts another one, which is to end with it; both are forked by a server."""

import multiprocessing
import os
import time
from multiprocessing.connection import Connection

from lightning_vista.processes.stopping import exit_with_parent


def watch_parent(connection: Connection) -> None:
    exit_with_parent()
    connection.send(os.getpid())
    time.sleep(600)


def start_watching(connection: Connection) -> None:
    multiprocessing.get_context("forkserver").Process(target=watch_parent, args=(connection,)).start()
    time.sleep(600)
