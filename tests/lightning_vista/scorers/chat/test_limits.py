import asyncio
import math
import time
from typing import Any

import pytest
from chat_server import noting

from lightning_vista.scorers.chat.budget import Budget, BudgetError, Usage, image_tokens
from lightning_vista.scorers.chat.limits import AdaptiveLimit, Limits


def test_no_more_run_at_once_than_there_are_places() -> None:
    running = most = 0

    async def work(limit: AdaptiveLimit) -> None:
        nonlocal running, most
        async with limit.place():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1

    async def main() -> None:
        limit = AdaptiveLimit(3)
        await asyncio.gather(*(work(limit) for _ in range(20)))

    asyncio.run(main())
    assert (running, most) == (0, 3)


def test_one_burst_of_rate_limits_halves_the_places_once() -> None:
    limit = AdaptiveLimit(32)
    sent_at = time.monotonic()
    for _ in range(10):
        limit.slow_down(sent_at, wait=0)
    assert limit.current == 16
    limit.slow_down(time.monotonic(), wait=0)
    assert limit.current == 8
    for _ in range(8 * 2):
        limit.speed_up()
    assert 9 < limit.current < 10
    for _ in range(10_000):
        limit.speed_up()
    assert limit.current == 32
    for _ in range(10):
        limit.slow_down(time.monotonic(), wait=0)
    assert limit.current == 1


def test_after_a_rate_limit_nothing_is_sent_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(asyncio, "sleep", noting(waits))

    async def main() -> None:
        limit = AdaptiveLimit(4)
        limit.slow_down(time.monotonic(), wait=500)
        async with limit.place():
            assert 300 < max(waits) <= 500

    asyncio.run(main())


def test_a_place_is_given_back_after_a_failure() -> None:
    async def main() -> None:
        limit = AdaptiveLimit(1)
        for _ in range(3):
            with pytest.raises(RuntimeError):
                async with limit.place():
                    raise RuntimeError

    asyncio.run(asyncio.wait_for(main(), timeout=300))


def spend(limits: Limits, requests: int, tokens: int, used: Usage | None = None) -> tuple[Usage, int]:
    """What is used when requests, of which each takes half of what was set aside for it, are sent side by side."""
    budget, refused = Budget(limits, used or Usage()), 0

    async def one() -> None:
        nonlocal refused
        try:
            async with budget.reserve(2 * tokens, 0):
                await asyncio.sleep(0.001)
                budget.settle(tokens, 0)
        except BudgetError:
            refused += 1

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(requests)))

    asyncio.run(main())
    return budget.used, refused


def test_never_more_is_spent_than_allowed_and_never_much_less() -> None:
    limits = Limits(max_cost=1.0, input_price=1.0)
    used, refused = spend(limits, 50, 100_000)
    assert used.prompt_tokens == 900_000  # a tenth would need 200,000 to be set aside
    assert refused == 41
    used, refused = spend(limits, 50, 100_000, Usage(3, 500_000, 0))
    assert used.prompt_tokens == 900_000
    assert refused == 46


def test_requests_are_counted_with_those_of_before() -> None:
    used, refused = spend(Limits(max_requests=7), 10, 1, Usage(4, 0, 0))
    assert (used.requests, refused) == (7, 7)


@pytest.mark.parametrize(
    "settings",
    [
        {"concurrency": 0},
        {"timeout": -1},
        {"max_requests": 0},
        {"max_cost": 5},
        {"concurrency": 0.5},  # no place for any request: a hang
        {"attempts": 2.5},  # which no count of failures equals
        {"timeout": math.nan},
        {"max_cost": math.nan, "input_price": 1.0},
        {"input_price": -1.0, "output_price": 3.0, "max_cost": 1.0},
        {"output_price": math.nan},
    ],
)
def test_limits_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"limits\.{next(iter(settings))}"):
        Limits(**settings)


@pytest.mark.parametrize(
    ("height", "width", "tokens"), [(768, 768, 765), (2048, 4096, 1105), (4096, 8192, 1105), (300, 300, 255)]
)
def test_image_tokens_follow_the_published_rule(height: int, width: int, tokens: int) -> None:
    assert image_tokens(height, width, "high") == tokens
    assert image_tokens(height, width, "low") == 85
