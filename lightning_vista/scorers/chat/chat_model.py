"""Messages to a chat model, and how a request to it is written."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lightning_vista.options import check_word

Role = Literal["user", "assistant"]
Finish = Literal["stop", "length", "refusal"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: Who says it.
        text: The words; they come before the images.
        images: JPEG files, in order.
    """

    role: Role
    text: str
    images: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        check_word("role", self.role, get_args(Role))


@dataclass(frozen=True)
class Request:
    """A conversation that waits for the model's next message.

    Attributes:
        messages: What has been said; the last one is the user's.
        scored_labels: Labels whose scores the reply should hold as JSON, where the model can be made to reply in a
            schema; none for a reply in free text.
    """

    messages: tuple[Message, ...]
    scored_labels: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """How many images it holds."""
        return sum(len(message.images) for message in self.messages)


@dataclass(frozen=True)
class Reply:
    """What the model says.

    Attributes:
        text: Its words; empty if it said nothing.
        finish: How it ended: by itself, at the length that was allowed, or because it, or a filter, declined.
    """

    text: str
    finish: Finish = "stop"

    def __post_init__(self) -> None:
        check_word("finish", self.finish, get_args(Finish))


Detail = Literal["low", "high", "auto"]
#: The highest score that a chat scorer asks for; the lowest is 0.
HIGHEST = 5
DEFAULT_ENDPOINT = "https://api.openai.com/v1"
#: The size of a reply where no other limit is given: more than 16 described frames take.
_USUAL_REPLY_TOKENS = 2000


@dataclass(frozen=True)
class ChatModel:
    """A model at an OpenAI-compatible endpoint; every attribute is part of what its replies depend on.

    Attributes:
        model: Its name at the endpoint.
        base_url: The address of the endpoint, up to `/v1`.
        detail: How closely it looks at images.
        json_schema: Whether replies that should be JSON are held to a schema.
        parameters: Further fields of every request, such as `temperature`.
        repeat: Tells repetitions of the same request apart.
    """

    model: str
    base_url: str = DEFAULT_ENDPOINT
    detail: Detail = "auto"
    json_schema: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)
    repeat: int = 0

    def __post_init__(self) -> None:
        check_word("detail", self.detail, get_args(Detail))

    @property
    def is_default_endpoint(self) -> bool:
        """Whether it is OpenAI's own."""
        return self.base_url == DEFAULT_ENDPOINT

    @property
    def most_reply_tokens(self) -> int:
        """How long a reply may get, or usually gets."""
        given = (self.parameters.get(name) for name in ("max_completion_tokens", "max_tokens"))
        return int(next((tokens for tokens in given if tokens), _USUAL_REPLY_TOKENS))

    def body(self, request: Request, image_url: Callable[[bytes], str]) -> dict[str, Any]:
        """The JSON of a request.

        Args:
            request: What is asked.
            image_url: What stands for a JPEG image.

        Returns:
            What the endpoint is sent.
        """
        messages = [self._message(message, image_url) for message in request.messages]
        body: dict[str, Any] = {"model": self.model, "messages": messages, **self.parameters}
        if self.json_schema and request.scored_labels:
            body["response_format"] = scores_schema(request.scored_labels)
        return body

    def identity(self, request: Request) -> dict[str, Any]:
        """Everything that a reply depends on, with hashes in place of images."""
        body = self.body(request, lambda image: f"sha256:{hashlib.sha256(image).hexdigest()}")
        return {"endpoint": self.base_url, "repeat": self.repeat, **body}

    def _message(self, message: Message, image_url: Callable[[bytes], str]) -> dict[str, Any]:
        if not message.images:
            return {"role": message.role, "content": message.text}
        urls = ({"url": image_url(image), "detail": self.detail} for image in message.images)
        images = [{"type": "image_url", "image_url": url} for url in urls]
        return {"role": message.role, "content": [{"type": "text", "text": message.text}, *images]}


def scores_schema(labels: tuple[str, ...]) -> dict[str, Any]:
    """The `response_format` of a reply that describes, compares and scores, in that order.

    Args:
        labels: Each gets a score.

    Returns:
        A strict JSON schema.
    """
    score = {"type": "integer", "enum": list(range(HIGHEST + 1))}
    schema = _object(
        {
            "frames": {"type": "array", "items": {"type": "string"}},
            "comparison": {"type": "string"},
            "scores": _object(dict.fromkeys(labels, score)),
        }
    )
    return {"type": "json_schema", "json_schema": {"name": "scores", "strict": True, "schema": schema}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    closed = {"additionalProperties": False, "required": list(properties)}
    return {"type": "object", "properties": properties, **closed}
