"""Thread pools with bounded memory, pools of processes that leave none behind, and work on a single torch thread."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

import torch

from lightning_vista.processes.stopping import exit_with_parent

T = TypeVar("T")
R = TypeVar("R")


def count_workers(num_workers: int | None) -> int:
    """Return the number of threads that an option asks for: the number of cores for None and 0.

    Args:
        num_workers: Value of the option.

    Raises:
        ValueError: If it is negative.

    Example:
        >>> count_workers(3)
        3
    """
    if num_workers is not None and num_workers < 0:
        raise ValueError(f"`workers`: expected at least 1, or 0 for one per core, got {num_workers}.")
    return num_workers or os.cpu_count() or 1


def ordered_map(function: Callable[[T], R], items: Iterable[T], num_workers: int) -> Iterator[R]:
    """Apply a function to items in threads and yield the results in the order of the items.

    At most `4 * num_workers` results wait at any time, so results may be large. Threads are enough for decoding and
    hashing, which release Python's global interpreter lock.

    Args:
        function: Function to apply. An exception that it raises is raised here when its item's turn comes.
        items: Arguments of the function, one per call.
        num_workers: Number of threads, at least 1.

    Yields:
        `function(item)` for each item.

    Example:
        >>> list(ordered_map(abs, [-2, 1, -3], num_workers=2))
        [2, 1, 3]
    """
    with ThreadPoolExecutor(num_workers) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                # A slow item holds up those behind it. Four results per thread keep the other threads busy
                # meanwhile, and still bound the memory of results that nobody has taken yet.
                if len(waiting) >= 4 * num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # After an exception, or when the caller stops iterating, the pool would otherwise finish the queue first.
            for future in waiting:
                future.cancel()


def process_map(function: Callable[[T], R], items: Iterable[T], num_workers: int, chunksize: int = 1) -> Iterator[R]:
    """Apply a function to items in processes and yield the results in the order of the items.

    The processes end with the iteration, whatever ends it, and with this process, even if it is killed.

    Args:
        function: Function of a module to apply.
        items: Arguments of the function, one per call.
        num_workers: Number of processes.
        chunksize: Number of items that go to a process at once.

    Yields:
        `function(item)` for each item.

    Raises:
        ChildProcessError: If a process is killed.
    """
    # Forked on Linux, like Lightning's data loaders: importing everything again takes longer than most work.
    context = get_context("fork" if sys.platform == "linux" else None)
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=exit_with_parent)
    is_done = False
    try:
        yield from pool.map(function, items, chunksize=chunksize)
        is_done = True
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "A worker process was killed, perhaps for lack of memory. Run the same command again; fewer workers need "
            "less memory."
        ) from error
    finally:
        # By hand: shutting down would wait until all that was given to the processes is done.
        for process in [] if is_done else list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread, for work that consists of thousands of small operations.

    Such work spends most of its time waiting for other threads. On two busy cores the results of the whole benchmark
    with five models took 56 seconds, and 6 seconds with one thread.

    Example:
        >>> with one_thread():
        ...     torch.get_num_threads()
        1
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
