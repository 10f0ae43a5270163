"""Thread pools with bounded memory, and work on a single torch thread."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


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
