"""Work spread over threads, or kept to one."""

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

    At most `4 * num_workers` results wait at any time, so results may be large; threads, because decoding and
    hashing leave Python's lock alone.

    Args:
        function: What to apply; an exception of it is raised here, at its item's turn.
        items: Its arguments.
        num_workers: The number of threads, at least 1.

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
                if len(waiting) >= 4 * num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: of thousands of small operations, waiting for threads is what takes long.

    On two busy cores the results of the whole benchmark with five models took 56 seconds, and 6 like this.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
