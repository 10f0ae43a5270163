"""Anthropic's and Gemini's formats, with their client libraries, against servers on this machine that speak them."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_runs import evaluate
from chat_server import FAULTS, ChatServer, chat_server, completion, faults_now_and_then
from provider_formats import FORMATS

from lightning_vista.scorers import ChatScorer
from lightning_vista.scorers.chat import limits as asking
from lightning_vista.scorers.chat.chat_model import ChatModel, Message, ProviderName, Reply, Request
from lightning_vista.scorers.chat.conversation import ChatMode
from lightning_vista.scorers.chat.endpoint import Endpoint, EndpointError
from lightning_vista.scorers.chat.limits import Limits
from lightning_vista.scorers.chat.reply_cache import ReplyCache
from lightning_vista.vista.tables import read_scores

KEY = "sk-very-secret"
OTHERS: list[ProviderName] = ["anthropic", "gemini"]
#: A failure that these libraries pass on as a timeout has no short form here, see `replies_can_be_late`.
SHORT_FAULTS = tuple(fault for fault in FAULTS if fault != "late")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.01)
    with chat_server() as server:
        yield server


def address(server: ChatServer, provider: ProviderName) -> str:
    server.format = FORMATS[provider]
    return server.url if provider == "openai" else server.url.removesuffix("/v1")


def scorer(server: ChatServer, provider: ProviderName, **settings: Any) -> ChatScorer:
    chosen: dict[str, Any] = {"num_frames": 3, "size": 16, "max_tokens": 500, "limits": Limits(timeout=600)}
    return ChatScorer("tiny", address(server, provider), provider=provider, **(chosen | settings))


def ask(
    server: ChatServer,
    provider: ProviderName,
    request: Request,
    folder: Path,
    limits: Limits | None = None,
    **more: Any,
) -> Reply:
    parameters = {"max_completion_tokens": 500} | more.pop("parameters", {})
    chat = ChatModel("tiny", address(server, provider), provider=provider, parameters=parameters, **more)

    async def main() -> Reply:
        cache = ReplyCache(folder / "replies.sqlite")
        endpoint = Endpoint(chat, f"{provider.upper()}_API_KEY", limits or Limits(timeout=600), cache, 100)
        try:
            return await endpoint.answer(request)
        finally:
            await endpoint.close()

    return asyncio.run(main())


def text_request(text: str) -> Request:
    return Request((Message("user", text),))


@pytest.mark.parametrize("mode", ["stages", "single"])
@pytest.mark.parametrize("provider", OTHERS)
def test_a_model_scores_the_same_through_every_format(
    server: ChatServer, shards: Path, tmp_path: Path, provider: ProviderName, mode: ChatMode
) -> None:
    """The model's scores are drawn by the hash of the whole conversation, so the format has kept all of it."""
    tables = []
    for name in ("openai", provider):
        key = f"{name.upper()}_API_KEY"
        evaluate(scorer(server, name, mode=mode, key_variable=key), shards, tmp_path / name)
        tables.append(read_scores(tmp_path / name).rows)
    assert tables[0]["score"].null_count() == 0
    assert tables[0].equals(tables[1])
    assert {key.removeprefix("Bearer ") for key in server.keys} == {KEY}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize("provider", OTHERS)
def test_a_provider_s_key_goes_to_no_other_address(
    server: ChatServer, shards: Path, tmp_path: Path, provider: ProviderName
) -> None:
    evaluate(scorer(server, provider, mode="single"), shards, tmp_path)
    assert {key.removeprefix("Bearer ") for key in server.keys} == {"no-key"}


@pytest.mark.parametrize("provider", OTHERS)
def test_an_endpoint_that_fails_now_and_then_loses_nothing(
    server: ChatServer, shards: Path, tmp_path: Path, provider: ProviderName
) -> None:
    server.fault = faults_now_and_then(0.3, SHORT_FAULTS)
    evaluate(scorer(server, provider, mode="single", limits=Limits(attempts=20, timeout=600)), shards, tmp_path)
    assert read_scores(tmp_path).rows["score"].null_count() == 0
    assert (len(server.answered), set(server.answered.values())) == (14, {1})


@pytest.mark.parametrize("fault", [*SHORT_FAULTS, "529"])
@pytest.mark.parametrize("provider", OTHERS)
def test_every_passing_fault_is_waited_out(
    server: ChatServer, tmp_path: Path, provider: ProviderName, fault: str
) -> None:
    server.say = lambda body: "good"
    server.fault = lambda body, earlier: fault if earlier < 2 else None
    assert ask(server, provider, text_request("a"), tmp_path) == Reply("good")
    assert list(server.received.values()) == [3]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("stop", Reply("b")), ("length", Reply("b", "length")), ("content_filter", Reply("", "refusal"))],
)
@pytest.mark.parametrize("provider", OTHERS)
def test_thoughts_are_left_out_and_ends_are_known(
    server: ChatServer, tmp_path: Path, provider: ProviderName, reason: str, expected: Reply
) -> None:
    result = completion(expected.text)
    result["choices"][0]["finish_reason"] = reason
    server.say = lambda body: result
    for _ in range(2):
        assert ask(server, provider, text_request("a"), tmp_path) == expected
    assert list(server.received.values()) == [1]
    cache = ReplyCache(tmp_path / "replies.sqlite")
    usage = cache.usage(address(server, provider), "tiny")
    cache.close()
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens) == (1, 1000, 100)


@pytest.mark.parametrize("provider", OTHERS)
def test_the_key_is_in_no_error(server: ChatServer, tmp_path: Path, provider: ProviderName) -> None:
    server.fault = lambda body, earlier: "401"
    server.complain = lambda body: f"wrong key {KEY}"
    with pytest.raises(
        EndpointError, match=rf"asked once.*<key>.*Check the key in {provider.upper()}_API_KEY"
    ) as error:
        ask(server, provider, text_request("a"), tmp_path)
    assert KEY not in str(error.value)
    assert error.value.__cause__ is None


def test_settings_reach_gemini_under_its_own_names(server: ChatServer, tmp_path: Path) -> None:
    parameters = {"temperature": 0.7, "seed": 3, "thinking_config": {"thinking_budget": 64}}
    ask(server, "gemini", text_request("a"), tmp_path, detail="low", parameters=parameters)
    (body,) = server.bodies
    assert body["config"] == {
        "temperature": 0.7,
        "seed": 3,
        "maxOutputTokens": 500,
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
        "thinkingConfig": {"thinkingBudget": 64},
    }
    with pytest.raises(
        ValueError, match=r"`parameters`: expected fields of GenerateContentConfig, got reasoning_effort: "
    ):
        ask(server, "gemini", text_request("a"), tmp_path, parameters={"reasoning_effort": "low"})


def test_settings_reach_anthropic_as_they_are(server: ChatServer, tmp_path: Path) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    ask(server, "anthropic", text_request("a"), tmp_path, parameters={"temperature": 1.0, "thinking": thinking})
    (body,) = server.bodies
    assert (body["max_tokens"], body["temperature"], body["thinking"]) == (500, 1.0, thinking)


def test_a_reply_of_one_format_is_not_taken_for_that_of_another(server: ChatServer, tmp_path: Path) -> None:
    for detail in ("low", "high"):
        ask(server, "gemini", text_request("a"), tmp_path, detail=detail)
    assert len(server.bodies) == 2
    models = [ChatModel("m", "http://a", provider=provider) for provider in ("openai", *OTHERS)]
    assert len({str(model.identity(text_request("a"))) for model in models}) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"provider": "anthropic"}, "`max_tokens`: expected a number with provider 'anthropic', got None"),
        (
            {"provider": "anthropic", "seed": 1, "detail": "low"},
            "`detail`: expected 'auto' with provider 'anthropic', got 'low'. `seed`: expected None",
        ),
        ({"provider": "gemini", "mode": "likelihood"}, "`mode`: expected 'stages' with provider 'gemini'"),
        ({"provider": "gemini", "frames_as": "video"}, "`frames_as`: expected 'images' with provider 'gemini'"),
        ({"provider": "gemeni"}, "`provider`: expected one of .*Did you mean 'gemini'"),
    ],
)
def test_what_a_format_cannot_express_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChatScorer("tiny", **settings)


@pytest.mark.parametrize("blocks", [["text"], [None], "text"])
def test_strange_blocks_of_anthropic_s_format_are_requested_again(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: object
) -> None:
    address(server, "anthropic")
    reply = {"type": "message", "content": blocks, "usage": {"input_tokens": "12"}}
    server.format = replace(server.format, write=lambda body: reply)
    monkeypatch.setitem(FORMATS, "anthropic", server.format)
    with pytest.raises(EndpointError, match="asked 2 times, got EmptyReplyError"):
        ask(server, "anthropic", text_request("a"), tmp_path, Limits(timeout=600, attempts=2))
    reply["content"] = [{"type": "text", "text": None}, {"type": "text", "text": "b"}]
    assert ask(server, "anthropic", text_request("a"), tmp_path) == Reply("b")


@pytest.mark.parametrize("provider", OTHERS)
def test_the_providers_own_endpoint_needs_a_key(
    provider: ProviderName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"{provider.upper()}_API_KEY"
    monkeypatch.delenv(variable, raising=False)
    chat = ChatScorer("tiny", provider=provider, max_tokens=9, cache=str(tmp_path / "replies.sqlite"))
    with pytest.raises(PermissionError, match=f"https://.* needs a key. Set the environment variable {variable}"):
        chat.hold([])


@pytest.mark.parametrize(
    ("status", "said", "advice"),
    [
        ("400", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
         "instead.", "Set `max_tokens` of the scorer"),
        ("400", "[{'type': 'extra_forbidden', 'loc': ('body', 'max_completion_tokens')}]", "parameters: {max_tokens"),
        ("400", "At most 1 image(s) may be provided in one request.", "Lower `num_frames`; a vLLM server"),
        ("400", "messages.0.content: too many images: 120", "Lower `num_frames`"),
        ("400", "image exceeds 5 MB maximum: 6291456 bytes", "lower `size`, `num_frames` or `jpeg_quality`"),
        ("413", "Request exceeds the maximum size", "lower `size`"),
        ("400", "This model's maximum context length is 8192 tokens.", "lower `num_frames` or `size`"),
        ("400", "`max_tokens` must be greater than `thinking.budget_tokens`.", "above their budget"),
        ("400", "'temperature' does not support 0.7 with this model.", "`temperature: null`"),
        ("400", "Invalid parameter: 'response_format' of type 'json_schema' is not supported", "`json_schema: false`"),
        ("400", "Unrecognized request argument supplied: reasoning_effort", "Change the reasoning in `parameters`"),
        ("400", "something else", "Check the fields it names"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("provider", ["openai", *OTHERS])
def test_a_refused_request_names_the_option_that_helps(
    server: ChatServer, tmp_path: Path, provider: ProviderName, status: str, said: str, advice: str
) -> None:
    server.fault, server.complain = lambda body, earlier: status, lambda body: said
    with pytest.raises(EndpointError, match="asked once") as error:
        ask(server, provider, text_request("a"), tmp_path)
    assert advice in str(error.value)


def test_a_reasoning_model_that_only_thinks_is_warned_of(server: ChatServer, tmp_path: Path) -> None:
    result = completion("")
    result["choices"][0]["finish_reason"] = "length"
    server.say = lambda body: result
    with pytest.warns(UserWarning, match="before its first word, probably in thought. Raise `max_tokens`"):
        assert ask(server, "openai", text_request("a"), tmp_path) == Reply("", "length")
