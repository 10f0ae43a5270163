"""An OpenAI-compatible endpoint on this machine, as ill-behaved as one likes, that notes what it was asked."""

import asyncio
import contextlib
import hashlib
import json
import random
import re
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from provider_formats import OPENAI, Format, check_path

Body = dict[str, Any]
#: What can go wrong before a reply has been given.
FAULTS = ("429", "500", "drop", "cut", "garbled", "html", "error", "latin-1", "deep", "digits", "late")
#: Replies that Python's JSON reader refuses with other errors than its own.
_GARBAGE = {"latin-1": b'{"choices": "caf\xe9"}', "deep": b"[" * 100_000, "digits": b"9" * 5000}
#: The status by which the server tells a client that its patience is over, see `replies_can_be_late`.
_LATE = 598


class ChatServer:
    """What the endpoint says, and what it was asked.

    Attributes:
        url: Its address, up to `/v1`.
        say: The model: the text, or the whole completion, for the body of a request.
        fault: What goes wrong with a request, given its body and how often it came before; None if nothing does.
        complain: The message of an error; by default what was asked, as some servers do.
        latency: Seconds before a reply.
        wait_for: The first replies wait until so many requests are there.
        pass_time: Lets a share of the client's timeout pass, see `skipping_time`; used by "stall" and "drip".
        retry_after: The header of a 429.
        format: The format that it speaks; the attributes here speak OpenAI's.
        keys: The `Authorization` and similar headers that came.
        received: How often each request came, by the hash of its body.
        answered: How often each was answered in full.
        bodies: Every body that came.
        most_at_once: The most requests that it worked on at the same time.
    """

    def __init__(self) -> None:
        self.url = ""
        self.format: Format = OPENAI
        self.say: Callable[[Body], str | Body] = say_scores
        self.fault: Callable[[Body, int], str | None] = lambda body, earlier: None
        self.complain: Callable[[Body], str] = last_text
        self.latency = 0.0
        self.wait_for = 0
        self.pass_time: Callable[[float], Awaitable[None]] | None = None
        self.retry_after = "0.05"
        self.keys: set[str] = set()
        self.received: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[Body] = []
        self.most_at_once = self._running = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(re.search(r"content-length: (\d+)", head, re.IGNORECASE)[1])  # type: ignore[index]
                check_path(self.format, head)
                self.keys.update(re.findall(r"(?:authorization|x-(?:goog-)?api-key): (.*?)\r\n", head, re.IGNORECASE))
                async with self._at_work():
                    await self._answer(await reader.readexactly(length), writer)
        writer.close()

    @asynccontextmanager
    async def _at_work(self) -> AsyncIterator[None]:
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        try:
            yield
        finally:
            self._running -= 1

    async def _answer(self, content: bytes, writer: asyncio.StreamWriter) -> None:
        body, name = self.format.read(json.loads(content)), hashlib.sha256(content).hexdigest()
        fault = self.fault(body, self.received[name])
        self.received[name] += 1
        self.bodies.append(body)
        await self._hold_back(fault)
        if fault == "drop":
            raise ConnectionError
        if fault in ("429", "500", "529", "401", "400", "413", "late"):
            status = _LATE if fault == "late" else int(fault)
            await self._send(writer, status, json.dumps(self.format.fail(status, self.complain(body))))
        elif fault == "quota":
            error = {"message": "You exceeded your current quota", "code": "insufficient_quota"}
            await self._send(writer, 429, json.dumps({"error": error}))
        elif fault == "filtered":
            error = {"message": "declined by a filter", "code": "content_filter"}
            await self._send(writer, 400, json.dumps({"error": error}))
        elif fault == "html":
            await self._send(writer, 200, "<html>Bad gateway</html>", "text/html")
        elif fault == "error":
            await self._send(writer, 200, json.dumps({"error": {"message": "overloaded"}}))
        elif fault in _GARBAGE:
            writer.write(_head(200, len(_GARBAGE[fault]), "application/json") + _GARBAGE[fault])
            await writer.drain()
        else:
            await self._reply(writer, json.dumps(self.format.write(completion(self.say(body)))), fault)
            if fault in (None, "slow"):
                self.answered[name] += 1

    async def _hold_back(self, fault: str | None) -> None:
        if self.latency:
            await asyncio.sleep(self.latency)
        while self.most_at_once < self.wait_for:
            await asyncio.sleep(0.001)
        if fault == "stall":
            await self._let_pass(1.0)
            await asyncio.sleep(86400)  # the end of the server cancels it

    async def _reply(self, writer: asyncio.StreamWriter, text: str, fault: str | None) -> None:
        if fault == "garbled":
            await self._send(writer, 200, text[: len(text) // 2])
        elif fault == "cut":
            writer.write(_head(200, len(text), "application/json") + text[: len(text) // 2].encode())
            await writer.drain()
            raise ConnectionError
        elif fault in ("slow", "drip"):
            writer.write(_head(200, len(text), "application/json"))
            for start in range(0, len(text), 40):
                await asyncio.sleep(0.005)
                writer.write(text[start : start + 40].encode())
                await writer.drain()
                if fault == "drip" and start <= 80:  # each piece comes in time, the whole does not
                    await self._let_pass(0.4)
        else:
            await self._send(writer, 200, text)

    async def _let_pass(self, share: float) -> None:
        if self.pass_time:
            await self.pass_time(share)

    async def _send(
        self, writer: asyncio.StreamWriter, status: int, text: str, content_type: str = "application/json"
    ) -> None:
        extra = f"Retry-After: {self.retry_after}\r\n" if status == 429 else ""
        writer.write(_head(status, len(text.encode()), content_type, extra) + text.encode())
        await writer.drain()


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """Serve while the context lasts."""
    server, ready, loop = ChatServer(), threading.Event(), asyncio.new_event_loop()
    done = asyncio.Event()

    async def main() -> None:
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=2**24)
        server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
        ready.set()
        await done.wait()
        listener.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    ready.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


@contextmanager
def skipping_time(server: ChatServer, timeout: float) -> Iterator[None]:
    """Let the server put the clock of the running event loop forward, so that no test waits for a long timeout.

    Args:
        server: The server that this loop asks, one request at a time: the others would be late as well.
        timeout: The client's timeout, in seconds.
    """
    loop, ahead = asyncio.get_running_loop(), 0.0
    now = loop.time

    async def put_forward(share: float) -> None:
        nonlocal ahead
        for skipped in (share * timeout, 0.0):
            for _ in range(20):  # what has come is read first; then what is late is given up
                await asyncio.sleep(0)
            ahead += skipped

    async def pass_time(share: float) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(put_forward(share), loop))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: now() + ahead)
        server.pass_time = pass_time
        yield
        server.pass_time = None


def noting(waits: list[float]) -> Callable[..., Awaitable[None]]:
    """A stand-in for `asyncio.sleep` that notes for how long it should wait, and does not."""
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    return note


def replies_can_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the fault "late" reach the client as a timeout of just that request, with no time in it.

    Timeouts that are short enough to wait for would strike other requests too when the machine is busy.
    """
    import openai

    post = openai.AsyncOpenAI.post

    async def post_in_time(*args: Any, **request: Any) -> Any:
        try:
            return await post(*args, **request)
        except openai.APIStatusError as error:
            if error.status_code == _LATE:
                raise TimeoutError from None
            raise

    monkeypatch.setattr(openai.AsyncOpenAI, "post", post_in_time)


def completion(said: str | Body) -> Body:
    """A chat completion with this text."""
    if not isinstance(said, str):
        return said
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


def last_text(body: Body) -> str:
    """The words of the last message."""
    content = body["messages"][-1]["content"]
    return str(content if isinstance(content, str) else next(part["text"] for part in content if "text" in part))


def asked_labels(body: Body) -> list[str]:
    """The labels that the last message wants scores of."""
    pairs = re.findall(r'^(\w+): <score>|"(\w+)": <score>', last_text(body), re.MULTILINE)
    return [plain or quoted for plain, quoted in pairs]


def say_scores(body: Body) -> str:
    """A model that follows its instructions: scores, drawn by the hash of what was said, where these are asked for."""
    labels = asked_labels(body)
    scores = {label: _hash(label, json.dumps(body["messages"])) % 6 for label in labels}
    if "response_format" in body or '"scores":' in last_text(body):
        return json.dumps({"frames": ["a frame"], "comparison": "none", "scores": scores})
    if labels:
        return "\n".join(f"{label}: {score}" for label, score in scores.items())
    return f"1. What frame {_hash(json.dumps(body['messages']))} shows."


def faults_now_and_then(share: float, kinds: tuple[str, ...] = FAULTS) -> Callable[[Body, int], str | None]:
    """Faults in a share of all requests, always the same ones."""

    def fault(body: Body, earlier: int) -> str | None:
        draw = random.Random(_hash(str(earlier), json.dumps(body)))
        return draw.choice(kinds) if draw.random() < share else None

    return fault


def _hash(*texts: str) -> int:
    return int.from_bytes(hashlib.sha256("\n".join(texts).encode()).digest()[:6], "big")


def _head(status: int, length: int, content_type: str, extra: str = "") -> bytes:
    lines = f"HTTP/1.1 {status} status\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{extra}\r\n"
    return lines.encode()
