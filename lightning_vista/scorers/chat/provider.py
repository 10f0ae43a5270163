"""The base of clients of chat models: one client for each format of requests."""

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from lightning_vista.scorers.chat.chat_model import ChatModel


class Provider(ABC):
    """A client that sends one request to an endpoint and returns the reply.

    Requests and replies have the form of OpenAI's chat completions, in which they are hashed and cached; a subclass
    translates them into its provider's format. Repetition, limits and the cache are left to `Endpoint`.

    Args:
        chat: Model and settings of the requests.
        key: Key of the endpoint.
        timeout: Maximum duration of a request in seconds.

    Attributes:
        client: The library's client, set by the subclass.
        errors: Exceptions of the client library that mean that a request was not answered.
        unsupported: Option of `ChatScorer` that the format cannot express -> the value that leaves it out.
    """

    client: Any
    errors: tuple[type[Exception], ...]
    unsupported: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, chat: ChatModel, key: str, timeout: float) -> None:
        self.chat, self.key, self.timeout = chat, key, timeout

    @abstractmethod
    async def complete(self, body: dict[str, Any]) -> object:
        """Send a request once.

        Args:
            body: Request in OpenAI's form, with images as data URLs, see `ChatModel.body`.

        Returns:
            Chat completion in OpenAI's form; anything else if the endpoint sent something else.
        """

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    @classmethod
    def check(cls, chat: ChatModel) -> None:
        """Check that the provider's format can express every setting.

        Args:
            chat: Model and settings of the requests.

        Raises:
            ValueError: If it cannot; the message lists all such settings.
        """
        given = {
            "detail": chat.detail,
            "frames_as": chat.frames_as,
            "seed": chat.parameters.get("seed"),
            "mode": "likelihood" if "logprobs" in chat.parameters else "stages",
        }
        faults = [
            f"`{option}`: expected {value!r} with provider {chat.provider!r}, got {given[option]!r}."
            for option, value in cls.unsupported.items()
            if given[option] != value
        ]
        if faults:
            raise ValueError(" ".join(faults))


def data_url(picture: bytes) -> str:
    """Return the data URL of a JPEG image or an mp4 video.

    Example:
        >>> data_url(bytes([255, 216]))
        'data:image/jpeg;base64,/9g='
    """
    kind = "video/mp4" if picture[4:8] == b"ftyp" else "image/jpeg"
    return f"data:{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def split_data_url(url: str) -> tuple[str, str]:
    """Return the media type and the base64 text of a data URL.

    Example:
        >>> split_data_url("data:image/jpeg;base64,/9g=")
        ('image/jpeg', '/9g=')
    """
    head, _, content = url.partition(";base64,")
    return head.removeprefix("data:"), content


def chat_completion(text: str, finish: object, prompt_tokens: object, completion_tokens: object) -> dict[str, Any]:
    """Return a chat completion in OpenAI's form.

    Args:
        text: Words of the reply.
        finish: Reason for its end, in the provider's words.
        prompt_tokens: Number of tokens of the request.
        completion_tokens: Number of tokens of the reply, with its thoughts.
    """
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return {"object": "chat.completion", "choices": [choice], "usage": usage}
