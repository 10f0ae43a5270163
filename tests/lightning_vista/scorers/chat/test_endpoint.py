import asyncio
import email.utils
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chat_server import (
    FAULTS,
    ChatServer,
    chat_server,
    completion,
    faults_now_and_then,
    noting,
    replies_can_be_late,
    skipping_time,
)

from lightning_vista.scorers.chat import limits as asking
from lightning_vista.scorers.chat.budget import BudgetError
from lightning_vista.scorers.chat.chat_model import ChatModel, Finish, Message, Reply, Request
from lightning_vista.scorers.chat.endpoint import Endpoint, EndpointError
from lightning_vista.scorers.chat.limits import Limits
from lightning_vista.scorers.chat.reply_cache import ReplyCache

KEY = "sk-very-secret"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.01)
    replies_can_be_late(monkeypatch)
    with chat_server() as server:
        server.say = lambda body: f"reply to {body['messages'][-1]['content']}"
        yield server


def text_request(text: str) -> Request:
    return Request((Message("user", text),))


def ask(
    server: ChatServer,
    requests: list[Request],
    folder: Path,
    chat: ChatModel | None = None,
    limits: Limits | None = None,
) -> list[Reply | BaseException]:
    """The replies to requests that are asked side by side, or what went wrong with each."""
    limits = limits or Limits(timeout=600)

    async def main() -> list[Reply | BaseException]:
        endpoint = Endpoint(
            replace(chat or ChatModel("m"), base_url=server.url),
            "TEST_KEY",
            limits,
            ReplyCache(folder / "replies.sqlite"),
            tokens_per_image=100,
        )
        try:
            with skipping_time(server, limits.timeout):
                return await asyncio.gather(*map(endpoint.answer, requests), return_exceptions=True)
        finally:
            await endpoint.close()

    return asyncio.run(main())


def cached(folder: Path) -> int:
    with sqlite3.connect(folder / "replies.sqlite") as connection:
        return int(connection.execute("SELECT COUNT(*) FROM replies").fetchone()[0])


@pytest.mark.parametrize("fault", [*FAULTS, "slow", "stall", "drip"])
def test_every_passing_fault_is_waited_out(server: ChatServer, tmp_path: Path, fault: str) -> None:
    server.fault = lambda body, earlier: fault if earlier < 2 else None
    assert ask(server, [text_request("a")], tmp_path) == [Reply("reply to a")]
    assert sum(server.received.values()) == (1 if fault == "slow" else 3)
    assert list(server.answered.values()) == [1]
    assert cached(tmp_path) == 1


@pytest.mark.parametrize(
    ("fault", "times", "message"),
    [
        ("500", 3, "asked 3 times, got InternalServerError.*Run the same command again"),
        ("stall", 3, "asked 3 times, got (TimeoutError|APITimeoutError)"),
        ("401", 1, "asked once, got AuthenticationError.*Check the key in TEST_KEY"),
        ("400", 1, "asked once, got BadRequestError.*json_schema: false"),
        ("429", 1, "asked once, got RateLimitError"),
        ("quota", 1, "exceeded your current quota"),
    ],
)
def test_lasting_faults_are_an_error_and_never_cached(
    server: ChatServer, tmp_path: Path, fault: str, times: int, message: str
) -> None:
    server.fault, server.retry_after = lambda body, earlier: fault, "3600"
    (error,) = ask(server, [text_request("a")], tmp_path, limits=Limits(timeout=600, attempts=3))
    assert isinstance(error, EndpointError)
    with pytest.raises(EndpointError, match=message):
        raise error
    assert sum(server.received.values()) == times
    assert cached(tmp_path) == 0
    server.fault = lambda body, earlier: None
    assert ask(server, [text_request("a")], tmp_path) == [Reply("reply to a")]


def test_refusals_and_truncated_replies_are_replies_too(server: ChatServer, tmp_path: Path) -> None:
    def say(body: dict[str, object]) -> dict[str, object]:
        result = completion("cut o")
        (choice,) = result["choices"]
        text = str(body["messages"])
        if "long" in text:
            choice["finish_reason"] = "length"
        elif "filtered" in text:
            choice |= {"finish_reason": "content_filter", "message": {"role": "assistant", "content": None}}
        else:
            choice["message"] = {"role": "assistant", "content": None, "refusal": "No."}
        return result

    server.say = say
    server.fault = lambda body, earlier: "filtered" if "before" in str(body) else None
    requests = [text_request(text) for text in ("long", "filtered", "refused", "declined before the model")]
    replies = [Reply("cut o", "length"), Reply("", "refusal"), Reply("No.", "refusal"), Reply("", "refusal")]
    assert ask(server, requests, tmp_path) == replies
    assert ask(server, requests, tmp_path) == replies
    assert sum(server.received.values()) == 4


def test_what_was_answered_is_not_asked_again(server: ChatServer, tmp_path: Path) -> None:
    requests = [text_request(text) for text in "abab"]
    replies = ask(server, requests, tmp_path)
    assert replies == [Reply(f"reply to {text}") for text in "abab"]
    assert ask(server, requests, tmp_path) == replies
    assert list(server.received.values()) == [1, 1]


def test_everything_that_can_change_a_reply_is_part_of_its_key(server: ChatServer, tmp_path: Path) -> None:
    base = ChatModel("m", parameters={"temperature": 0.7})
    image = Request((Message("user", "a", (b"image",)),), ("x", "y"))
    variants = [
        (base, image),
        (replace(base, model="n"), image),
        (replace(base, parameters={"temperature": 0.0}), image),
        (replace(base, parameters={"temperature": 0.7, "seed": 1}), image),
        (replace(base, detail="low"), image),
        (replace(base, json_schema=False), image),
        (replace(base, repeat=1), image),
        (base, replace(image, scored_labels=("y", "x"))),
        (base, Request((Message("user", "a", (b"another",)),), ("x", "y"))),
        (base, Request((Message("user", "a", (b"image", b"image")),), ("x", "y"))),
        (base, Request((Message("user", "b", (b"image",)),), ("x", "y"))),
        (base, Request((*image.messages, Message("assistant", "b"), Message("user", "c")), ("x", "y"))),
    ]
    for count in (len(variants), len(variants)):
        for chat, request in variants:
            ask(server, [request], tmp_path, chat)
        assert sum(server.received.values()) == count
    with chat_server() as other:
        ask(other, [image], tmp_path, base)
        assert sum(other.received.values()) == 1


def test_a_request_looks_as_the_interface_wants_it(server: ChatServer, tmp_path: Path) -> None:
    chat = ChatModel("m", detail="low", parameters={"temperature": 0.7, "top_k": 5})
    ask(server, [Request((Message("user", "look", (b"\xff\xd8",)),), ("x",))], tmp_path, chat)
    (body,) = server.bodies
    image = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9g=", "detail": "low"}}
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "look"}, image]}]
    assert (body["model"], body["temperature"], body["top_k"]) == ("m", 0.7, 5)
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["scores"]["required"] == ["x"]
    assert list(schema["properties"])[-1] == "scores"  # reasons before scores


def test_the_key_is_sent_and_kept_nowhere(server: ChatServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    ask(server, [text_request("a")], tmp_path)
    server.fault = lambda body, earlier: "401"
    (error,) = ask(server, [text_request(f"My key is {KEY}")], tmp_path)  # a server may repeat what it gets
    assert server.keys == {f"Bearer {KEY}"}
    assert KEY not in caplog.text
    assert KEY not in str(error)
    assert error.__cause__ is None  # type: ignore[union-attr]
    assert not [path for path in tmp_path.iterdir() if KEY.encode() in path.read_bytes()]


def test_without_a_key_only_other_endpoints_are_asked(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_KEY")
    assert ask(server, [text_request("a")], tmp_path) == [Reply("reply to a")]
    cache = ReplyCache(tmp_path / "replies.sqlite")
    with pytest.raises(PermissionError, match="Set the environment variable TEST_KEY"):
        Endpoint(ChatModel("m"), "TEST_KEY", Limits(), cache, 100)
    cache.close()


def test_rate_limits_lower_what_runs_at_once(server: ChatServer, tmp_path: Path) -> None:
    server.latency, server.retry_after, server.wait_for = 0.02, "0.01", 17
    server.fault = lambda body, earlier: "429" if server._running > 4 else None
    requests = [text_request(str(number)) for number in range(100)]
    replies = ask(server, requests, tmp_path, limits=Limits(concurrency=32, attempts=20))
    assert replies == [Reply(f"reply to {number}") for number in range(100)]
    assert server.most_at_once > 16
    assert sum(server.received.values()) < 6 * 100  # it learns: about 200, where a limit that stays sends thousands


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_obeyed(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_date: bool
) -> None:
    server.retry_after = email.utils.formatdate(time.time() + 500, usegmt=True) if as_date else "500"
    server.fault = lambda body, earlier: "429" if not earlier else None
    waits: list[float] = []
    monkeypatch.setattr(asyncio, "sleep", noting(waits))
    assert ask(server, [text_request("a")], tmp_path) == [Reply("reply to a")]
    assert 300 < max(waits) <= 500


def test_a_budget_stops_and_a_larger_one_resumes(server: ChatServer, tmp_path: Path) -> None:
    requests = [text_request(f"{number:4000}") for number in range(20)]  # 1,000 tokens each
    replies = ask(server, requests, tmp_path, limits=Limits(max_requests=7))
    assert sum(isinstance(reply, Reply) for reply in replies) == 7
    assert all(isinstance(reply, Reply | BudgetError) for reply in replies)
    again = ask(server, requests, tmp_path, limits=Limits(max_requests=7))
    assert sum(isinstance(reply, Reply) for reply in again) == 7  # those of before, from the cache
    assert sum(server.received.values()) == 7
    # The server says 1,000 tokens in and 100 out: 0.2 cents by these prices.
    limits = Limits(max_cost=0.0305, input_price=1.0, output_price=10.0)
    ask(server, requests, tmp_path, ChatModel("m", parameters={"max_tokens": 100}), limits)
    assert sum(server.received.values()) == 7 + 8  # other parameters, other requests; 7 * 0.2 cents had been spent


def test_many_requests_at_an_endpoint_that_fails_all_the_time(server: ChatServer, tmp_path: Path) -> None:
    server.fault = faults_now_and_then(0.3, ("429", "500", "drop", "cut", "garbled", "html", "error", "slow"))
    requests = [text_request(str(number)) for number in range(300)]
    replies = ask(server, requests, tmp_path, limits=Limits(attempts=30))
    assert replies == [Reply(f"reply to {number}") for number in range(300)]
    assert set(server.answered.values()) == {1}
    assert len(server.answered) == 300


def test_a_part_that_declines_is_a_refusal(server: ChatServer, tmp_path: Path) -> None:
    server.say = lambda body: saying(content=[{"type": "refusal", "refusal": "I cannot."}])
    assert ask(server, [text_request("a")], tmp_path) == [Reply("I cannot.", "refusal")]


def saying(**message: object) -> dict[str, object]:
    result = completion("")
    result["choices"][0]["message"] = {"role": "assistant", **message}
    return result


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "b?"}]},
    {"type": "reasoning", "text": "b?"},
    {"type": "text", "text": "a: "},
    "4",
    {"type": "output_text", "text": "!"},
]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": PARTS}, "a: 4!"),
        ({"content": []}, ""),
        ({"content": {"type": "text", "text": "a"}}, "a"),
        ({"content": "a: 4", "reasoning_content": "a: 3", "reasoning": "a: 2"}, "a: 4"),
        ({"content": None, "reasoning_content": "a: 3"}, ""),
        ({"content": "half \ud83d"}, "half ?"),
    ],
)
def test_every_form_of_a_message_is_read_and_kept(
    server: ChatServer, tmp_path: Path, message: dict[str, object], text: str
) -> None:
    server.say = lambda body: saying(**message)
    for _ in range(2):
        assert ask(server, [text_request("a")], tmp_path) == [Reply(text)]
    assert sum(server.received.values()) == 1


@pytest.mark.parametrize(
    "unreadable",
    [
        saying(content=3),
        saying(content=[3]),
        saying(content=[{"type": "text"}]),
        saying(content=[{"type": "text", "text": {"value": "a"}}]),
        {**completion("a"), "choices": [None]},
        {**completion("a"), "choices": {"0": "a"}},
        {**completion("a"), "choices": [{"message": "a"}]},
        {**completion("a"), "choices": [{"message": {"content": "a: 4"}, "finish_reason": "error"}]},
    ],
)
def test_what_cannot_be_read_is_asked_again_and_never_cached(
    server: ChatServer, tmp_path: Path, unreadable: dict[str, object]
) -> None:
    server.say = lambda body: unreadable
    (error,) = ask(server, [text_request("a")], tmp_path, limits=Limits(timeout=600, attempts=2))
    assert isinstance(error, EndpointError)
    assert sum(server.received.values()) == 2
    assert cached(tmp_path) == 0
    server.say = lambda body: "good"
    assert ask(server, [text_request("a")], tmp_path) == [Reply("good")]


@pytest.mark.parametrize(
    "damage", ["{", '"text"', "{}", '{"choices": [{"message": {"content": 3}}]}', b"\xff\xfe\x00", None, 3]
)
def test_a_cached_reply_that_cannot_be_read_is_fetched_again(
    server: ChatServer, tmp_path: Path, damage: object
) -> None:
    ask(server, [text_request("a")], tmp_path)
    with sqlite3.connect(tmp_path / "replies.sqlite") as connection:
        connection.execute("UPDATE replies SET reply = CAST(? AS TEXT)", (damage,))
    with pytest.warns(UserWarning, match=r"replies\.sqlite: 1 damaged replies( so far)?\. Their requests"):
        assert ask(server, [text_request("a")], tmp_path) == [Reply("reply to a")]
    assert ask(server, [text_request("a")], tmp_path) == [Reply("reply to a")]
    assert sum(server.received.values()) == 2


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "refusal"),
        ("end_turn", "stop"),
        (None, "stop"),
    ],
)
def test_proxies_name_the_end_of_a_reply_in_their_own_words(
    server: ChatServer, tmp_path: Path, reason: str | None, finish: Finish
) -> None:
    result = completion("a")
    result["choices"][0]["finish_reason"] = reason
    server.say = lambda body: result
    assert ask(server, [text_request("a")], tmp_path) == [Reply("a", finish)]


@pytest.mark.parametrize("usage", [[], "many", {"prompt_tokens": "3"}, {"completion_tokens": None}, None])
def test_a_strange_account_of_tokens_is_replaced_by_an_estimate(
    server: ChatServer, tmp_path: Path, usage: object
) -> None:
    server.say = lambda body: {**completion("a"), "usage": usage}
    assert ask(server, [text_request("a")], tmp_path) == [Reply("a")]
