"""An endpoint of a chat model: its requests within the limits, again after failures, and never twice."""

import asyncio
import hashlib
import json
import math
import os
import threading
import time
import warnings
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from lightning_vista.files.redaction import HIDDEN, secrets_of, without_secrets
from lightning_vista.scorers.chat.advice import advise
from lightning_vista.scorers.chat.anthropic_provider import AnthropicProvider
from lightning_vista.scorers.chat.budget import Budget, text_tokens
from lightning_vista.scorers.chat.chat_model import ChatModel, Finish, Reply, Request
from lightning_vista.scorers.chat.gemini_provider import GeminiProvider
from lightning_vista.scorers.chat.limits import (
    AdaptiveLimit,
    EmptyReplyError,
    Limits,
    http_status,
    is_content_filter,
    is_passing,
    is_rate_limit,
    seconds_to_wait,
)
from lightning_vista.scorers.chat.openai_provider import OpenAIProvider
from lightning_vista.scorers.chat.provider import Provider, data_url
from lightning_vista.scorers.chat.reply_cache import ReplyCache

T = TypeVar("T")


class EventLoopThread:
    """An event loop in a thread, which runs coroutines for synchronous callers; `close` ends it.

    Lightning calls scorers synchronously, possibly inside a loop of its caller's (a notebook's). So the loop, and the
    connections that belong to it, live in a thread of their own.

    Example:
        >>> loop = EventLoopThread()
        >>> loop.run(asyncio.sleep(0, result=3))
        3
        >>> loop.close()
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chat", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; an interruption of the caller cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel running coroutines and end the thread."""
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


#: Reasons for the end of a reply as endpoints and proxies write them, in lower case; any other one is `stop`.
_FINISHES: dict[str, Finish] = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length", "incomplete"), "length"),
    "model_context_window_exceeded": "length",
    **dict.fromkeys(("content_filter", "safety", "refusal", "recitation", "prohibited_content"), "refusal"),
    **dict.fromkeys(("blocklist", "spii", "image_safety", "language"), "refusal"),
}
#: Ends of replies that the endpoint itself broke off, which may go better the next time.
_BROKEN_OFF = ("error", "abort", "cancelled", "other", "malformed_response")
#: The reply that stands for an error by which an endpoint reports that a filter declined the request.
_DECLINED = {"choices": [{"finish_reason": "content_filter", "message": {"content": ""}}]}


#: Format of requests -> its client.
PROVIDERS: dict[str, type[Provider]] = {
    "openai": OpenAIProvider,
    "anthropic": AnthropicProvider,
    "gemini": GeminiProvider,
}


class EndpointError(OSError):
    """A request that the endpoint did not answer, after all attempts."""


class NoLogprobsError(EndpointError):
    """An endpoint that gives no log-probabilities to a scorer that reads them."""

    @classmethod
    def of(cls, chat: ChatModel) -> "NoLogprobsError":
        """Return the error that names the model, and what to do."""
        return cls(
            f"{chat.model} at {chat.shown_url} gives no log-probabilities (`logprobs`), which this mode reads. Use an "
            "endpoint that does, such as vLLM, gpt-4o or gpt-4.1, or set `mode` to 'stages' or 'single'."
        )


class Endpoint:
    """A client that answers requests from the cache if possible, to be used on one event loop.

    Requests run concurrently within the limits. Temporary failures (rate limits, server faults, and lost, garbled or
    late replies) are sent again. A reply enters the cache before anyone sees it; a failure or a completion without a
    readable message never does, and one that an earlier release cached is requested again. Of equal concurrent requests
    only one is sent.

    Args:
        chat: Model and settings of the requests.
        key_variable: Name of the environment variable that holds the key; None for an endpoint without one.
        limits: Limits on the speed, duration, number and cost of requests.
        cache: Cache of replies; `close` closes it too.
        tokens_per_image: Number of tokens of an image, for estimates.

    Raises:
        PermissionError: If the environment does not hold a key, and the endpoint is the default one.
    """

    def __init__(
        self, chat: ChatModel, key_variable: str | None, limits: Limits, cache: ReplyCache, tokens_per_image: int
    ) -> None:
        self.chat, self.limits, self.cache = chat, limits, cache
        self.budget = Budget(limits, cache.usage(chat.shown_url, chat.model))
        self._key_variable, self._key = key_variable, _key(chat, key_variable)
        self._tokens_per_image = tokens_per_image
        self._limit = AdaptiveLimit(limits.concurrency)
        self._asked: dict[str, asyncio.Task[Reply]] = {}
        self._warned = False
        self._provider = PROVIDERS[chat.provider](chat, self._key, limits.timeout)
        self._failures: tuple[type[Exception], ...] = (*self._provider.errors, EmptyReplyError, TimeoutError)

    async def answer(self, request: Request) -> Reply:
        """Return the model's reply.

        Args:
            request: Request to answer.

        Returns:
            The reply, which may be cut off or a refusal.

        Raises:
            BudgetError: If the limits do not permit the request.
            EndpointError: If the endpoint does not answer.
        """
        identity = self.chat.identity(request)
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        reply = self._cached(key)
        if reply is None:
            if key not in self._asked:
                # The task of the first of equal requests; the others await it. It removes itself when it is done: a
                # reply is in the cache by then, and a failure is to be tried again.
                self._asked[key] = asyncio.create_task(self._fetch(key, identity, request))
                self._asked[key].add_done_callback(lambda _: self._asked.pop(key))
            reply = await self._asked[key]
        return reply

    async def close(self) -> None:
        """Close the connections and the cache."""
        await self._provider.close()
        self.cache.close()

    def _cached(self, key: str) -> Reply | None:
        """Return the reply in the cache, or None if there is none that can be read."""
        completion = self.cache.get(key)
        try:
            return None if completion is None else _reply(completion)
        except EmptyReplyError:
            return None

    async def _fetch(self, key: str, identity: Mapping[str, Any], request: Request) -> Reply:
        """Send a request until it is answered, and put the answer into the cache."""
        failures = 0
        while True:
            try:
                completion = await self._send(request)
                break
            except self._failures as error:
                failures += 1
                if is_content_filter(error):
                    completion = _DECLINED
                    break
                if not is_passing(error) or failures == self.limits.attempts:
                    raise self._failure(error, failures) from None  # the chained error's text might show the key
                wait = seconds_to_wait(error, failures)
            await asyncio.sleep(wait)  # outside of `_send`, so that others take its place among the running requests
        reply = _reply(completion)  # before it enters the cache, where an unreadable one would stay for ever
        self.cache.put(key, identity, completion, self._tokens(request, completion))
        if reply.finish == "length" and not reply.text.strip() and not self._warned:
            self._warned = True
            warnings.warn(
                f"A reply of {self.chat.model} reached the maximum number of tokens before its first word, probably in "
                "thought. Raise `max_tokens`, or lower the reasoning in `parameters`, such as {reasoning_effort: low}.",
                stacklevel=2,
            )
        return reply

    async def _send(self, request: Request) -> dict[str, Any]:
        """Send a request once, as soon as the limits permit it."""
        # First a place, then the budget: reservations are then held only by requests that run.
        async with self._limit.place(), self.budget.reserve(self._estimate(request), self.chat.most_reply_tokens):
            body = self.chat.body(request, data_url)
            sent_at = time.monotonic()
            try:
                # The client's timeout starts anew with every received byte; this one bounds the whole request.
                async with asyncio.timeout(self.limits.timeout):
                    completion = await self._provider.complete(body)
            except self._provider.errors as error:
                if is_rate_limit(error) and is_passing(error):
                    self._limit.slow_down(sent_at, seconds_to_wait(error, 1))
                raise
            except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested too deeply
                raise EmptyReplyError(f"expected JSON, got {type(error).__name__}: {error}") from error
            self._limit.speed_up()
            reply = _checked(completion)
            self.budget.settle(*self._tokens(request, reply))  # before the reservation ends, so that no gap opens
        return reply

    def _estimate(self, request: Request) -> int:
        return text_tokens(request) + request.images * self._tokens_per_image

    def _tokens(self, request: Request, completion: Mapping[str, Any]) -> tuple[int, int]:
        """Return the numbers of tokens of a request and its reply, estimated if the endpoint does not report them."""
        usage = completion.get("usage")
        reported = usage if isinstance(usage, Mapping) else {}
        prompt, said = (reported.get(name) for name in ("prompt_tokens", "completion_tokens"))
        estimates = self._estimate(request), math.ceil(len(_reply(completion).text) / 4)
        return _count(prompt) or estimates[0], _count(said) or estimates[1]

    def _failure(self, error: Exception, failures: int) -> EndpointError:
        what = f"{type(error).__name__}: {error}".replace(self._key, "<key>")
        for secret in secrets_of(self.chat.base_url):
            what = what.replace(secret, HIDDEN)
        what = without_secrets(what)
        status = http_status(error)
        if status == 400 and "logprobs" in self.chat.parameters and "logprobs" in what:
            return NoLogprobsError.of(self.chat)
        todo = advise(status, what, self._key_variable)
        times = "once" if failures == 1 else f"{failures} times"
        return EndpointError(f"{self.chat.model} at {self.chat.shown_url}: asked {times}, got {what}. {todo}")


def _key(chat: ChatModel, variable: str | None) -> str:
    """Return the key, or a stand-in for self-hosted endpoints, most of which do not check it."""
    key = os.environ.get(variable) if variable else None
    if not key and chat.is_default_endpoint:
        raise PermissionError(
            f"{chat.shown_url} needs a key. Set the environment variable {variable}, or give another `base_url`."
        )
    return key or "no-key"


def _checked(completion: object) -> dict[str, Any]:
    """Return a completion as JSON, or raise: some proxies send errors with the status of a success."""
    reply = {**completion} if isinstance(completion, Mapping) else {"text": completion}
    _reply(reply)
    return reply


def _reply(completion: Mapping[str, Any]) -> Reply:
    """Read a completion.

    Args:
        completion: Completion as the endpoint sent it.

    Returns:
        The reply; its thoughts in fields of their own, such as `reasoning_content`, are ignored.

    Raises:
        EmptyReplyError: If the completion does not hold a message that can be read.
    """
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    finish = str(choice.get("finish_reason")).lower() if isinstance(choice, Mapping) else ""
    if not isinstance(message, Mapping) or not message or finish in _BROKEN_OFF:
        raise EmptyReplyError(f"expected a chat completion, got {str(completion)[:200]}")
    if refusal := message.get("refusal") or _refusal(message.get("content")):
        return Reply(_encodable(str(refusal)), "refusal")
    text = _encodable(_text(message.get("content")))
    return Reply(text, _FINISHES.get(finish, "stop"), _first_token(choice))


def _first_token(choice: object) -> tuple[tuple[str, float], ...] | None:
    """Return the first tokens that a reply might have had, with their log-probabilities; None if there are none."""
    logprobs = choice.get("logprobs") if isinstance(choice, Mapping) else None
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    first = content[0] if isinstance(content, list) and content else None
    listed = first.get("top_logprobs") if isinstance(first, Mapping) else None
    pairs = [(each.get("token"), each.get("logprob")) for each in listed or () if isinstance(each, Mapping)]
    read = [
        (token, float(value)) for token, value in pairs if isinstance(token, str) and isinstance(value, int | float)
    ]
    return tuple((_encodable(token), value) for token, value in read if not math.isnan(value)) or None


def _text(content: object) -> str:
    """Return the text of a message: its content, or the text parts of that; parts of other types hold thoughts."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    texts = [part if isinstance(part, str) else _part(part) for part in parts]
    return "".join(text for text in texts if text)


def _refusal(content: object) -> object:
    """Return the words of a content whose only part declines to answer, or None."""
    parts = content if isinstance(content, list) else []
    declined = [part.get("refusal") for part in parts if isinstance(part, Mapping) and part.get("type") == "refusal"]
    return declined[0] if declined and not _text(content) else None


def _part(part: object) -> str | None:
    if not isinstance(part, Mapping) or not isinstance(part.get("type", "text"), str):
        raise EmptyReplyError(f"expected a text or parts of a text as content, got {str(part)[:200]}")
    if part.get("type", "text") not in ("text", "output_text"):
        return None
    text = part.get("text")
    if not isinstance(text, str):
        raise EmptyReplyError(f"expected `text` in a part of the content, got {str(part)[:200]}")
    return text


def _encodable(text: str) -> str:
    """Return a text without halves of characters, which a cut reply may hold and no file can."""
    return text.encode("utf-8", "replace").decode()


def _count(tokens: object) -> int:
    """Return a number of tokens, 0 if it is not one."""
    return int(tokens) if isinstance(tokens, int | float) and math.isfinite(tokens) and tokens > 0 else 0
