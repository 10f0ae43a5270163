"""Limits on requests to an endpoint, and the rules for sending a failed request again."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class Limits:
    """The limits on the requests of one process; they do not change replies, so a run may resume with other limits.

    Attributes:
        concurrency: Maximum number of concurrent requests; rate limits of the endpoint lower it temporarily.
        timeout: Maximum duration of a request in seconds.
        attempts: Number of attempts before a failing request ends the run.
        max_requests: Maximum number of requests; those in the cache of replies count.
        max_cost: Maximum cost in dollars, by the prices below; replies in the cache count.
        input_price: Price of a million tokens of requests in dollars.
        output_price: Price of a million tokens of replies in dollars.

    Raises:
        ValueError: If a limit is not positive, a count not whole, a price negative, or `max_cost` comes without prices.
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
            if value is not None and not value > 0:  # nor NaN, which no number exceeds
                raise ValueError(f"`limits.{name}`: expected a positive number, got {value}.")
            if name in ("concurrency", "attempts", "max_requests") and value is not None and value % 1:
                raise ValueError(f"`limits.{name}`: expected a whole number, got {value}.")
        for name in ("input_price", "output_price"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"`limits.{name}`: expected dollars, at least 0, got {getattr(self, name)}.")
        if self.max_cost is not None and not self.input_price + self.output_price:
            raise ValueError(
                "`limits.max_cost`: expected prices to compute the cost, got none. Give `input_price` and "
                "`output_price`, in dollars per million tokens."
            )

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of some tokens in dollars.

        Args:
            prompt_tokens: Number of tokens of requests.
            completion_tokens: Number of tokens of replies.

        Example:
            >>> Limits(input_price=2.5, output_price=10).cost(1_000_000, 500_000)
            7.5
        """
        return (prompt_tokens * self.input_price + completion_tokens * self.output_price) / 1e6


class AdaptiveLimit:
    """An adaptive limit of concurrent requests: halved after a rate limit, then slowly raised again.

    This is the additive increase and multiplicative decrease of TCP.

    Args:
        most: Maximum number of concurrent requests.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.current = float(most)
        self._running = 0
        self._closed_until = self._slowed_at = float("-inf")
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place among the running requests, and hold it."""
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
        """Record a success; as many successes as there are places add one place."""
        self.current = min(self.most, self.current + 1 / self.current)

    def slow_down(self, sent_at: float, wait: float) -> None:
        """Record a rate limit.

        Args:
            sent_at: Time at which the request was sent (`time.monotonic`).
            wait: Number of seconds for which no request should be sent.
        """
        # All requests in flight meet the same rate limit. Only those sent after the last halving halve again;
        # otherwise one limit would throw 32 requests down to 1.
        now = time.monotonic()
        self._closed_until = max(self._closed_until, now + wait)
        if sent_at > self._slowed_at:
            self.current = max(1.0, self.current / 2)
            self._slowed_at = now


FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
#: Longest wait in seconds that an endpoint may ask for; with a longer one, its quota of the day is used up.
_LONGEST_ASKED = 600.0


class EmptyReplyError(ValueError):
    """A reply with the status of a success, but without a message."""


#: How Google writes the seconds to wait, as in `{'retryDelay': '37s'}`.
_GOOGLES_WAIT = re.compile(r"'retryDelay': '([\d.]+)s'")
#: Status by which Anthropic says that it is overloaded.
_OVERLOADED = 529


def http_status(error: Exception) -> int | None:
    """Return the HTTP status in an error of any client library; None if no answer came."""
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    return status if isinstance(status, int) else None


def is_passing(error: Exception) -> bool:
    """Tell whether the same request may succeed later: rate limits, server faults, lost or garbled replies."""
    status = http_status(error)
    if status is None or status < 400:
        return True
    if (_retry_after(error) or 0.0) > _LONGEST_ASKED:
        return False
    # An account without money gets status 429 as well, like one that is too fast.
    return getattr(error, "code", None) != "insufficient_quota" and (status in (408, 409, 429) or status >= 500)


def is_rate_limit(error: Exception) -> bool:
    """Tell whether the endpoint refused a request because of its rate limit."""
    return http_status(error) in (429, _OVERLOADED)


def is_content_filter(error: Exception) -> bool:
    """Tell whether a filter before the model declined the request, which some endpoints report as an error."""
    return getattr(error, "code", None) in ("content_filter", "content_policy_violation")


def seconds_to_wait(error: Exception, failures: int) -> float:
    """Return the seconds to wait: as many as the endpoint asks for, otherwise twice as many after each failure.

    Args:
        error: Failure of the request.
        failures: Number of failures of the request, including this one.

    Returns:
        Seconds, with a random share, so that requests that failed together are not sent again together.
    """
    asked = _retry_after(error)
    if asked is not None:
        return asked
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (failures - 1)) * random.uniform(0.75, 1.25)


def _retry_after(error: Exception) -> float | None:
    """Return the seconds in the header `Retry-After`, which may hold a number or a date, or in Google's details."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    value = headers.get("retry-after")
    if value is None:
        found = _GOOGLES_WAIT.search(str(getattr(error, "details", "")))
        return float(found[1]) if found else None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
