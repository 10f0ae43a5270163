"""How fast an endpoint may be asked, and how much may be spent on it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What bounds the requests of one process; none of it changes an answer, so a run may go on with other limits.

    Attributes:
        concurrency: The most requests at once; rate limits of the endpoint lower it for a while.
        timeout: Seconds that one request may take in all.
        attempts: How often a request is sent before its failure ends the run.
        max_requests: The most requests that may be sent; those in the cache of replies count.
        max_cost: The most dollars that may be spent, by the prices below; replies in the cache count.
        input_price: Dollars per million tokens of requests.
        output_price: Dollars per million tokens of replies.

    Raises:
        ValueError: If a limit is not positive, or `max_cost` comes without prices.
    """

    concurrency: int = 32
    timeout: float = 120.0
    attempts: int = 8
    max_requests: int | None = None
    max_cost: float | None = None
    input_price: float = 0.0
    output_price: float = 0.0

    def __post_init__(self) -> None:
        for name in ("concurrency", "timeout", "attempts", "max_requests", "max_cost"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"limits.{name}: expected a positive number, got {value}.")
        if self.max_cost is not None and not self.input_price + self.output_price:
            raise ValueError("limits.max_cost needs input_price and output_price, in dollars per million tokens.")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Dollars for some tokens.

        Example:
            >>> Limits(input_price=2.5, output_price=10).cost(1_000_000, 500_000)
            7.5
        """
        return (prompt_tokens * self.input_price + completion_tokens * self.output_price) / 1e6


class AdaptiveLimit:
    """How many requests may run at once: half as many after a rate limit, then slowly more again.

    Args:
        most: The most that may run.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.current = float(most)
        self._running = 0
        self._closed_until = self._slowed_at = float("-inf")
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place among those that run, and hold it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._running < int(self.current))
            self._running += 1
        try:
            await asyncio.sleep(max(0.0, self._closed_until - time.monotonic()))
            yield
        finally:
            self._running -= 1
            async with self._changed:
                self._changed.notify_all()

    def speed_up(self) -> None:
        """A request went well: one place more when as many have as there are places."""
        self.current = min(self.most, self.current + 1 / self.current)

    def slow_down(self, sent_at: float, wait: float) -> None:
        """A request met a rate limit.

        Args:
            sent_at: When it was sent (`time.monotonic`): requests that met the same limit slow down only once.
            wait: For how many seconds nothing at all should be sent.
        """
        now = time.monotonic()
        self._closed_until = max(self._closed_until, now + wait)
        if sent_at > self._slowed_at:
            self.current = max(1.0, self.current / 2)
            self._slowed_at = now
