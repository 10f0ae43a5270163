"""Client of Anthropic's Messages format, since its OpenAI-compatible route ignores schemas and hides refusals."""

from collections.abc import Mapping
from typing import Any, ClassVar

from lightning_vista.optional import require
from lightning_vista.scorers.chat.chat_model import ChatModel
from lightning_vista.scorers.chat.provider import Provider, chat_completion, split_data_url


class AnthropicProvider(Provider):
    """A client of Anthropic's models, or of another endpoint that speaks their format.

    `max_completion_tokens` is sent as `max_tokens`, which the format requires, and a schema as `output_config`. Other
    parameters, such as `thinking`, are sent as they are. Thoughts are not part of the reply.
    """

    unsupported: ClassVar[Mapping[str, Any]] = {"detail": "auto", "frames_as": "images", "seed": None, "mode": "stages"}

    def __init__(self, chat: ChatModel, key: str, timeout: float) -> None:
        super().__init__(chat, key, timeout)
        anthropic = require("anthropic", extra="vlm")
        self.errors = (anthropic.AnthropicError,)
        self.client = anthropic.AsyncAnthropic(base_url=chat.base_url, api_key=key, max_retries=0, timeout=timeout)

    @classmethod
    def check(cls, chat: ChatModel) -> None:
        """Check that the format can express every setting, and that the required length of a reply is given."""
        super().check(chat)
        if not {"max_tokens", "max_completion_tokens"} & {*chat.parameters}:
            raise ValueError(
                "`max_tokens`: expected a number with provider 'anthropic', got None. Set it to 4096, say."
            )

    async def complete(self, body: dict[str, Any]) -> object:
        """Send a request once and return the reply in OpenAI's form."""
        message = await self.client.post("/v1/messages", cast_to=object, body=_translated(body))
        return _completion(message) if isinstance(message, Mapping) else message


def _translated(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request in Anthropic's form."""
    sent = {**body, "messages": [_turn(message) for message in body["messages"]]}
    if (length := sent.pop("max_completion_tokens", None)) is not None:
        sent["max_tokens"] = length
    if (form := sent.pop("response_format", None)) is not None:
        schema = {"type": "json_schema", "schema": form["json_schema"]["schema"]}
        sent["output_config"] = {**sent.get("output_config", {}), "format": schema}
    return sent


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message["content"]
    return {**message, "content": content if isinstance(content, str) else [_block(part) for part in content]}


def _block(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {**part}
    media_type, data = split_data_url(part["image_url"]["url"])
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def _completion(message: Mapping[str, Any]) -> object:
    """Return a reply in OpenAI's form; what is not a reply stays as it is."""
    blocks, usage = message.get("content"), message.get("usage")
    if message.get("type") != "message" or not isinstance(blocks, list):
        return message
    if not all(isinstance(block, Mapping) for block in blocks):
        return message
    text = "".join(str(block.get("text") or "") for block in blocks if block.get("type") == "text")
    reported = usage.items() if isinstance(usage, Mapping) else ()
    counts = {name: count for name, count in reported if isinstance(count, int)}
    # Tokens of a cached prefix are counted apart from the others.
    parts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    asked = sum(counts.get(part, 0) for part in parts)
    return chat_completion(text, message.get("stop_reason"), asked, counts.get("output_tokens"))
