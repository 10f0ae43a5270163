"""The formats of Anthropic and Gemini as their servers read and write them, for `chat_server`."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """How a server reads requests and writes replies, in terms of OpenAI's.

    Attributes:
        path: What the path of a request must match.
        read: OpenAI's form of a request.
        write: The form of a reply, from OpenAI's.
        fail: The body of an error of a status, with a message.
    """

    path: str
    read: Callable[[Body], Body]
    write: Callable[[Body], Body]
    fail: Callable[[int, str], Body]


def _openai_error(status: int, message: str) -> Body:
    return {"error": {"message": message, "code": None}}


OPENAI = Format(r"/v1/chat/completions$", lambda body: body, lambda reply: reply, _openai_error)


def _url(media_type: str, data: str) -> Body:
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}", "detail": "auto"}}


def _from_anthropic(body: Body) -> Body:
    assert isinstance(body["max_tokens"], int)
    assert not {"seed", "response_format", "max_completion_tokens"} & {*body}
    read = {**body, "messages": [{**turn, "content": _from_blocks(turn["content"])} for turn in body["messages"]]}
    if "output_config" in body:
        form = body["output_config"]["format"]
        assert form["type"] == "json_schema"
        read["response_format"] = {"json_schema": {"schema": form["schema"]}}
    return read


def _from_blocks(content: str | list[Body]) -> str | list[Body]:
    if isinstance(content, str):
        return content
    read = []
    for block in content:
        if block["type"] == "text":
            read.append(block)
        else:
            assert block["type"] == "image"
            assert block["source"]["type"] == "base64"
            read.append(_url(block["source"]["media_type"], block["source"]["data"]))
    return read


def _to_anthropic(reply: Body) -> Body:
    (choice,) = reply["choices"]
    blocks = [{"type": "thinking", "thinking": "ball: 3", "signature": "s"}]
    blocks += [{"type": "text", "text": choice["message"]["content"]}] if choice["message"]["content"] else []
    reasons = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
    usage = {"input_tokens": 900, "cache_read_input_tokens": 100, "output_tokens": 100}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": blocks,
        "stop_reason": reasons[choice["finish_reason"]],
        "usage": usage,
    }


def _anthropic_error(status: int, message: str) -> Body:
    return {"type": "error", "error": {"type": "an_error", "message": message}, "request_id": "r"}


ANTHROPIC = Format(r"/v1/messages$", _from_anthropic, _to_anthropic, _anthropic_error)


def _camel(value: Any) -> Any:
    """Names of fields as documented; the server also takes them as `snake_case`, which Google's library mixes in."""
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    names = {name: re.sub(r"_(\w)", lambda found: found[1].upper(), name) for name in value}
    return {names[name]: each if names[name] == "responseJsonSchema" else _camel(each) for name, each in value.items()}


def _usual_base64(text: str) -> str:
    """In the usual alphabet: Google's library writes the one for addresses, and its servers read both."""
    return text.replace("-", "+").replace("_", "/")


def _from_gemini(sent: Body) -> Body:
    body = _camel(sent)
    config = body.get("generationConfig", {})
    assert {*body} <= {"contents", "generationConfig"}
    messages = []
    for turn in body["contents"]:
        parts = [
            {"type": "text", "text": part["text"]}
            if "text" in part
            else _url(part["inlineData"]["mimeType"], _usual_base64(part["inlineData"]["data"]))
            for part in turn["parts"]
        ]
        content = parts[0]["text"] if len(parts) == 1 else parts
        messages.append({"role": {"user": "user", "model": "assistant"}[turn["role"]], "content": content})
    read: Body = {"model": "m", "messages": messages, "config": config, "temperature": config.get("temperature")}
    if "responseJsonSchema" in config:
        assert config["responseMimeType"] == "application/json"
        read["response_format"] = {"json_schema": {"schema": config["responseJsonSchema"]}}
    return read


def _to_gemini(reply: Body) -> Body:
    (choice,) = reply["choices"]
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 60, "thoughtsTokenCount": 40, "totalTokenCount": 1100}
    if choice["finish_reason"] == "content_filter":
        return {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage}
    parts = [{"text": "ball: 3", "thought": True}, {"text": choice["message"]["content"]}]
    reason = {"stop": "STOP", "length": "MAX_TOKENS"}[choice["finish_reason"]]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}


def _gemini_error(status: int, message: str) -> Body:
    wait = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.01s"}
    return {"error": {"code": status, "message": message, "status": "A_STATUS", "details": [wait]}}


GEMINI = Format(r"/v1beta/models/tiny:generateContent$", _from_gemini, _to_gemini, _gemini_error)
FORMATS = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI}


def check_path(format: Format, head: str) -> None:
    """Refuse a request to another path."""
    path = head.split(" ", 2)[1].partition("?")[0]
    if not re.search(format.path, path):
        raise AssertionError(f"a request to {path}, not to {format.path}: {json.dumps(head[:300])}")
