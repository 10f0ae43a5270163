"""Client of Gemini's own format, since its OpenAI-compatible route cannot set the resolution of frames."""

from collections.abc import Mapping
from typing import Any, ClassVar

from lightning_vista.optional import require
from lightning_vista.scorers.chat.chat_model import ChatModel
from lightning_vista.scorers.chat.provider import Provider, chat_completion, split_data_url

#: OpenAI's names of settings -> Gemini's.
_NAMES = {"max_completion_tokens": "max_output_tokens", "max_tokens": "max_output_tokens"}


class GeminiProvider(Provider):
    """A client of Gemini's models through Google's library.

    `detail` becomes `media_resolution`, and a schema `response_json_schema`. Other parameters are fields of the
    library's `GenerateContentConfig`, such as `thinking_config`. Thoughts are not part of the reply.
    """

    # A key of Gemini gives no log-probabilities, and a video is sampled anew there, at one frame per second.
    unsupported: ClassVar[Mapping[str, Any]] = {"frames_as": "images", "mode": "stages"}

    def __init__(self, chat: ChatModel, key: str, timeout: float) -> None:
        super().__init__(chat, key, timeout)
        genai, httpx2 = require("google.genai", extra="vlm"), require("httpx2", extra="vlm")
        self._settings = genai.types.GenerateContentConfig
        _check_settings(self._settings, _config(chat.parameters, chat.detail))
        self.errors = (genai.errors.APIError, genai.errors.UnknownApiResponseError, httpx2.HTTPError)
        self._http = httpx2.AsyncClient(timeout=timeout)
        # With a client given, the library neither looks for another one nor sends a failed request again by itself.
        options = {
            "base_url": chat.base_url,
            "api_version": "v1beta",
            "timeout": int(timeout * 1000),
            "httpx_async_client": self._http,
        }
        self.client = genai.Client(api_key=key, vertexai=False, http_options=options)

    async def complete(self, body: dict[str, Any]) -> object:
        """Send a request once and return the reply in OpenAI's form."""
        contents = [_turn(message) for message in body["messages"]]
        config = self._settings(**_config(body, self.chat.detail))
        response = await self.client.aio.models.generate_content(model=body["model"], contents=contents, config=config)
        return _completion(response.model_dump(mode="json", exclude_none=True))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _check_settings(settings: Any, config: Mapping[str, Any]) -> None:
    """Refuse settings that Google's library does not know, before a request: its own error lists them in many lines."""
    try:
        settings(**config)
    except ValueError as error:  # pydantic's, which `errors` takes apart
        faults: list[dict[str, Any]] = getattr(error, "errors", list)()
        shown = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults) or str(error)
        raise ValueError(
            f"`parameters`: expected fields of GenerateContentConfig, got {shown}. Remove or correct them."
        ) from error


def _config(body: Mapping[str, Any], detail: str) -> dict[str, Any]:
    """Return the settings of a request, of a reply without tools."""
    apart = ("model", "messages", "response_format")
    config = {_NAMES.get(name, name): value for name, value in body.items() if name not in apart}
    if detail != "auto":
        config["media_resolution"] = f"MEDIA_RESOLUTION_{detail.upper()}"
    if "response_format" in body:
        config["response_mime_type"] = "application/json"
        config["response_json_schema"] = body["response_format"]["json_schema"]["schema"]
    return config


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message["content"]
    parts = [{"text": content}] if isinstance(content, str) else [_part(part) for part in content]
    return {"role": "model" if message["role"] == "assistant" else "user", "parts": parts}


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"text": part["text"]}
    mime_type, data = split_data_url(part["image_url"]["url"])
    return {"inline_data": {"mime_type": mime_type, "data": data}}


def _completion(response: Mapping[str, Any]) -> object:
    """Return a reply in OpenAI's form; a request that a filter declined has a reply without candidates."""
    usage = response.get("usage_metadata", {})
    said = usage.get("candidates_token_count", 0) + usage.get("thoughts_token_count", 0)
    tokens = usage.get("prompt_token_count"), said
    if response.get("prompt_feedback", {}).get("block_reason"):
        return chat_completion("", "content_filter", *tokens)
    if not response.get("candidates"):
        return response
    candidate = response["candidates"][0]
    parts = candidate.get("content", {}).get("parts", [])
    text = "".join(part.get("text", "") for part in parts if not part.get("thought"))
    return chat_completion(text, candidate.get("finish_reason"), *tokens)
