"""How fast an endpoint may be asked, and when a failed request is sent again."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from lightning_vista.optional import require


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


FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
#: An endpoint that asks to wait for longer, in seconds, has nothing more to give today.
_LONGEST_ASKED = 600.0


class EmptyReplyError(ValueError):
    """A reply that says it went well but holds no message."""


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed later: rate limits, faults of the server, lost or garbled replies."""
    openai = require("openai", extra="vlm")
    if isinstance(error, openai.APIStatusError):
        if (_retry_after(error) or 0.0) > _LONGEST_ASKED:
            return False
        # An account without money meets the same status as one that is too fast.
        return error.code != "insufficient_quota" and (error.status_code in (408, 409, 429) or error.status_code >= 500)
    lost = (openai.APIConnectionError, openai.APIResponseValidationError)
    return isinstance(error, (*lost, json.JSONDecodeError, EmptyReplyError, TimeoutError))


def is_rate_limit(error: Exception) -> bool:
    """Whether the endpoint was asked too fast."""
    return getattr(error, "status_code", None) == 429


def is_content_filter(error: Exception) -> bool:
    """Whether a filter before the model declined the request, which some endpoints report as an error."""
    return getattr(error, "code", None) in ("content_filter", "content_policy_violation")


def seconds_to_wait(error: Exception, failures: int) -> float:
    """How long to wait: what the endpoint asks for, else twice as long each time.

    Args:
        error: The failure.
        failures: How often the request has failed, this time included.

    Returns:
        Seconds, with some chance in them, so that requests that failed together do not come back together.
    """
    asked = _retry_after(error)
    if asked is not None:
        return asked
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (failures - 1)) * random.uniform(0.75, 1.25)


def _retry_after(error: Exception) -> float | None:
    """The header `Retry-After`, in seconds or as a date."""
    value = getattr(getattr(error, "response", None), "headers", {}).get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
