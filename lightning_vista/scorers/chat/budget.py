"""Budgets of chat scorers, and estimates of what a run would cost."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass
from typing import get_args

from lightning_vista.options import check_word
from lightning_vista.scorers.chat.chat_model import Detail, Reply, Request
from lightning_vista.scorers.chat.conversation import ChatMode
from lightning_vista.scorers.chat.limits import Limits
from lightning_vista.scorers.chat.questions import LETTERS, LogprobMode, start_conversation
from lightning_vista.vista.batch import Candidates

#: Tokens of which one answers any question.
_ANY = tuple((token, 0.0) for token in ("Yes", "0", *LETTERS))


class BudgetError(ValueError):
    """A request that `max_requests` or `max_cost` does not permit."""


@dataclass
class Usage:
    """The requests sent so far, and their tokens.

    Attributes:
        requests: Number of requests that were sent.
        prompt_tokens: Number of tokens of the answered requests.
        completion_tokens: Number of tokens of the replies.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Budget:
    """An account of requests and tokens that refuses a request before it would exceed a limit.

    Args:
        limits: Limits on requests and cost.
        used: Usage of earlier runs.
    """

    def __init__(self, limits: Limits, used: Usage) -> None:
        self.limits = limits
        self.used = used
        self._reserved: list[float] = []
        self._changed = asyncio.Condition()

    @property
    def spent(self) -> float:
        """Dollars spent so far."""
        return self.limits.cost(self.used.prompt_tokens, self.used.completion_tokens)

    @asynccontextmanager
    async def reserve(self, prompt_tokens: int, completion_tokens: int) -> AsyncIterator[None]:
        """Reserve the greatest possible cost of a request while it runs; `settle` books the actual cost.

        Args:
            prompt_tokens: Estimated number of tokens of the request.
            completion_tokens: Largest number of tokens of the reply.

        Raises:
            BudgetError: If the request does not fit into the budget although no other request is running.
        """
        cost, most = self.limits.cost(prompt_tokens, completion_tokens), self.limits.max_cost
        async with self._changed:
            # Reservations are upper bounds. While others run, their actual cost may turn out low enough for this
            # request, so it waits; once none runs, what is left is exact and the decision is final.
            await self._changed.wait_for(lambda: most is None or not self._reserved or self._total(cost) <= most)
            if most is not None and self._total(cost) > most:
                raise BudgetError(f"{_stopped('max_cost', most)} ${self.spent:.4f} is spent.")
            if self.limits.max_requests is not None and self.used.requests >= self.limits.max_requests:
                raise BudgetError(f"{_stopped('max_requests', self.limits.max_requests)} All of them are used.")
            self.used.requests += 1
            self._reserved.append(cost)
        try:
            yield
        finally:
            async with self._changed:
                self._reserved.remove(cost)
                self._changed.notify_all()

    def settle(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Book the tokens of an answered request."""
        self.used.prompt_tokens += prompt_tokens
        self.used.completion_tokens += completion_tokens

    def _total(self, cost: float) -> float:
        return self.spent + sum(self._reserved) + cost


def text_tokens(request: Request) -> int:
    """Estimate the number of tokens of a request's words, at four characters per token."""
    return sum(math.ceil(len(message.text) / 4) for message in request.messages)


def image_tokens(height: int, width: int, detail: Detail) -> int:
    """Return the number of tokens of an image by GPT-4o's rule, which is an estimate for other models.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        detail: `low` has a flat price. For `high` and `auto` the image is shrunk to 2048 pixels, then its shorter edge
            to 768 pixels, and each tile of 512x512 pixels has a price.

    Returns:
        Number of tokens.

    Raises:
        ValueError: If `detail` is unknown.

    Example:
        >>> image_tokens(512, 512, "low"), image_tokens(512, 512, "high"), image_tokens(1024, 1024, "high")
        (85, 255, 765)
    """
    check_word("detail", detail, get_args(Detail))
    if detail == "low":
        return 85
    scale = min(1.0, 2048 / max(height, width))
    scale *= min(1.0, 768 / (min(height, width) * scale))
    return 85 + 170 * math.ceil(height * scale / 512) * math.ceil(width * scale / 512)


def _stopped(limit: str, value: float) -> str:
    return (
        f"`limits.{limit}` of {value} does not permit another request. Raise it and run the same command again; "
        "answered requests are not sent again."
    )


#: Usual number of tokens of a reply: for each frame that it describes, and for each candidate that it compares.
_PER_FRAME, _PER_CANDIDATE = 40, 80


@dataclass(frozen=True)
class Plan:
    """The predicted size of a run: the exact number of requests if no reply fails, and roughly the tokens.

    Attributes:
        requests: Number of distinct requests.
        images: Number of images in them.
        prompt_tokens: Number of tokens of the requests.
        completion_tokens: Number of tokens of the replies.
    """

    requests: int
    images: int
    prompt_tokens: int
    completion_tokens: int

    def repeated(self, times: int) -> "Plan":
        """Return the size of so many runs, such as those of the controls of frame order.

        Example:
            >>> Plan(4, 8, 1200, 300).repeated(5)
            Plan(requests=20, images=40, prompt_tokens=6000, completion_tokens=1500)
        """
        return Plan(*(times * number for number in astuple(self)))

    def summary(self, limits: Limits) -> str:
        """Return the plan in words, with its price if the limits state prices.

        Example:
            >>> Plan(4, 8, 1200, 300).summary(Limits())
            '4 requests, 8 images, about 1,200 tokens in and 300 out'
        """
        tokens = f"about {self.prompt_tokens:,} tokens in and {self.completion_tokens:,} out"
        cost = limits.cost(self.prompt_tokens, self.completion_tokens)
        return f"{self.requests:,} requests, {self.images:,} images, {tokens}" + (f", ${cost:,.2f}" if cost else "")


def plan(
    mode: ChatMode | LogprobMode,
    num_frames: int,
    tokens_per_image: int,
    videos: Iterable[tuple[str, Iterable[Candidates]]],
) -> Plan:
    """Add up the requests of all conversations, assuming replies of the usual length.

    Args:
        mode: Course of the conversations, see `start_conversation`.
        num_frames: Number of frames of each video.
        tokens_per_image: Number of tokens of a frame, see `image_tokens`.
        videos: Path of each video with the candidates of its problem sets.

    Returns:
        The total; equal requests about one video count once.

    Raises:
        ValueError: If `mode` is unknown.
    """
    check_word("mode", mode, get_args(ChatMode) + get_args(LogprobMode))
    requests = images = prompt = completion = 0
    for video, sets in videos:
        frames = [video.encode()] * num_frames
        distinct = {request: reply for candidates in sets for request, reply in _walk(mode, frames, candidates)}
        requests += len(distinct)
        images += sum(request.images for request in distinct)
        prompt += sum(text_tokens(request) + request.images * tokens_per_image for request in distinct)
        completion += sum(distinct.values())
    return Plan(requests, images, prompt, completion)


def _walk(mode: ChatMode | LogprobMode, frames: list[bytes], candidates: Candidates) -> Iterable[tuple[Request, int]]:
    """Yield each request of a conversation without failures, with the number of tokens of its reply."""
    conversation = start_conversation(mode, frames, candidates)
    describing, comparing = _PER_FRAME * len(frames), _PER_CANDIDATE * len(candidates.labels)
    stages = {
        "stages": [describing, comparing, 8 * len(candidates.labels)],
        "single": [describing + comparing],
        "choice": [1],
    }.get(mode, [1] * len(candidates.labels))
    request = next(conversation)
    for number, tokens in enumerate(stages):
        yield request, tokens
        if number + 1 < len(stages):
            request = conversation.send(Reply("word" * tokens, first_token=_ANY))
    conversation.close()
