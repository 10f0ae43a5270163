"""Messages, requests and replies of a chat model, and their JSON."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args

import torch

from lightning_vista.files.redaction import address_identity, settings_without_secrets, without_secrets
from lightning_vista.options import check_word
from lightning_vista.video import FrameClock, encode_mp4
from lightning_vista.video.encoding import decode_jpeg

T = TypeVar("T")
P = TypeVar("P")

Role = Literal["user", "assistant"]
Finish = Literal["stop", "length", "refusal"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: Speaker: `user` or `assistant`.
        text: Words of the message.
        images: JPEG files, in order.
        clock: Times of the images, if they are frames of a video and the times are known.
        images_first: Whether the images come before the text, so that questions about one video begin alike.

    Raises:
        ValueError: If the role is unknown.
    """

    role: Role
    text: str
    images: tuple[bytes, ...] = ()
    clock: FrameClock | None = None
    images_first: bool = False

    def __post_init__(self) -> None:
        check_word("role", self.role, get_args(Role))

    def parts(self) -> tuple[str | bytes, ...]:
        """Return the text and the JPEG files in the order in which every model gets them: text first, as in the paper.

        Example:
            >>> Message("user", "Which one?", (b"jpeg",)).parts()
            ('Which one?', b'jpeg')
        """
        return tuple(self.arranged(self.text, self.images))

    def arranged(self, text: T, pictures: Sequence[P]) -> list[T | P]:
        """Return a model's own forms of the text and of the images in that order.

        Args:
            text: Form of the text.
            pictures: Forms of the images, or of the one video that they make.
        """
        return [*pictures, text] if self.images_first else [text, *pictures]


@dataclass(frozen=True)
class Request:
    """A conversation that awaits the model's next message.

    Attributes:
        messages: Messages so far; the last one is the user's.
        scored_labels: Labels whose scores the reply should hold as JSON, for models that can follow a schema; empty for
            a reply in free text.
    """

    messages: tuple[Message, ...]
    scored_labels: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """Number of images in the request."""
        return sum(len(message.images) for message in self.messages)


@dataclass(frozen=True)
class Reply:
    """A reply of the model.

    Attributes:
        text: Words of the reply, possibly empty.
        finish: End of the reply: `stop` (by itself), `length` (cut off at the maximum length) or `refusal` (declined by
            the model or a filter).
        first_token: Most likely first tokens of the reply with their log-probabilities (natural logarithm), as the
            endpoint lists them; None if it gives none.

    Raises:
        ValueError: If `finish` is unknown.
    """

    text: str
    finish: Finish = "stop"
    first_token: tuple[tuple[str, float], ...] | None = None

    def __post_init__(self) -> None:
        check_word("finish", self.finish, get_args(Finish))


Detail = Literal["low", "high", "auto"]
SentAs = Literal["images", "video"]
#: Highest score that a chat scorer asks for; the lowest is 0.
HIGHEST = 5
ProviderName = Literal["openai", "anthropic", "gemini"]
#: Provider -> the address of its own endpoint, and the environment variable that usually holds its key.
HOMES: dict[str, tuple[str, str]] = {
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": ("https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    "gemini": ("https://generativelanguage.googleapis.com", "GEMINI_API_KEY"),
}
#: Assumed size of a reply without a given limit; more than the descriptions of 16 frames need.
_USUAL_REPLY_TOKENS = 2000


@dataclass(frozen=True)
class ChatModel:
    """A model at an endpoint, with all settings that its replies depend on.

    Attributes:
        model: Name of the model at the endpoint.
        base_url: Address of the endpoint; the provider's own if empty.
        detail: Resolution at which the model sees images: `low`, `high` or `auto`.
        json_schema: Whether replies in JSON are constrained to a schema.
        parameters: Further fields of every request, such as `temperature`.
        repeat: Number that distinguishes repetitions of the same request.
        frames_as: Form of the frames of a video: `images`, or `video` for one mp4 at the frames' mean rate.
        provider: Format of the requests that the endpoint reads.

    Raises:
        ValueError: If `detail`, `frames_as` or `provider` is unknown, or a parameter cannot be sent.

    Example:
        >>> request = Request((Message("user", "Hello"),))
        >>> ChatModel("gpt-4o", parameters={"temperature": 0.7}).body(request, image_url=str)
        {'model': 'gpt-4o', 'messages': [{'role': 'user', 'content': 'Hello'}], 'temperature': 0.7}
    """

    model: str
    base_url: str = ""
    detail: Detail = "auto"
    json_schema: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)
    repeat: int = 0
    frames_as: SentAs = "images"
    provider: ProviderName = "openai"

    def __post_init__(self) -> None:
        check_word("provider", self.provider, tuple(HOMES))
        check_word("detail", self.detail, get_args(Detail))
        check_word("frames_as", self.frames_as, get_args(SentAs))
        _check_parameters(self.parameters)
        object.__setattr__(self, "base_url", (self.base_url or HOMES[self.provider][0]).rstrip("/"))

    @property
    def is_default_endpoint(self) -> bool:
        """Say whether the endpoint is the provider's own."""
        return self.base_url == HOMES[self.provider][0]

    @property
    def shown_url(self) -> str:
        """Address of the endpoint without passwords and keys, for files and messages."""
        return without_secrets(self.base_url)

    @property
    def most_reply_tokens(self) -> int:
        """Maximum number of tokens of a reply; the usual number where no maximum is set."""
        given = (self.parameters.get(name) for name in ("max_completion_tokens", "max_tokens"))
        return int(next((tokens for tokens in given if tokens), _USUAL_REPLY_TOKENS))

    def body(self, request: Request, image_url: Callable[[bytes], str]) -> dict[str, Any]:
        """Return the JSON of a request.

        Args:
            request: Request to send.
            image_url: Function from a JPEG image, or an mp4 video, to the URL that stands for it.

        Returns:
            Body of the request in OpenAI's form, which other providers' clients translate.
        """
        messages = [self._message(message, image_url) for message in request.messages]
        body: dict[str, Any] = {"model": self.model, "messages": messages, **self.parameters}
        if self.json_schema and request.scored_labels:
            body["response_format"] = scores_schema(request.scored_labels)
        return body

    def identity(self, request: Request) -> dict[str, Any]:
        """Return everything that a reply depends on, with hashes in place of images.

        Args:
            request: Request to identify.

        Returns:
            JSON values; their hash is the key of the reply in the cache.
        """
        body = self.body(request, lambda image: f"sha256:{hashlib.sha256(image).hexdigest()}")
        body |= {key: settings_without_secrets(value, key) for key, value in self.parameters.items()}
        provider = {} if self.provider == "openai" else {"provider": self.provider, "detail": self.detail}
        return {"endpoint": self.shown_url, **self.hidden_address(), "repeat": self.repeat, **provider, **body}

    def hidden_address(self) -> dict[str, str]:
        """Return a hash that tells endpoints apart whose addresses differ only where `shown_url` hides them."""
        address = address_identity(self.base_url)
        if address == self.shown_url:
            return {}
        return {"endpoint_sha256": hashlib.sha256(address.encode()).hexdigest()}

    def _message(self, message: Message, image_url: Callable[[bytes], str]) -> dict[str, Any]:
        if not message.images:
            return {"role": message.role, "content": message.text}
        if self.frames_as == "video":
            pictures = [{"type": "video_url", "video_url": {"url": image_url(_film(message.images, message.clock))}}]
        else:
            shown = [{"url": image_url(image), "detail": self.detail} for image in message.images]
            pictures = [{"type": "image_url", "image_url": image} for image in shown]
        return {"role": message.role, "content": message.arranged({"type": "text", "text": message.text}, pictures)}


def _check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse fields that cannot be sent, or whose reply could not be read: it would be paid, and requested again."""
    for name in ("model", "messages", "stream"):
        if parameters.get(name) or (name in parameters and name != "stream"):
            raise ValueError(f"`parameters.{name}`: expected no such field, got one. Remove it: scorers set it.")
    for name in ("max_completion_tokens", "max_tokens"):
        value = parameters.get(name)
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"`{name}`: expected a whole number of at least 1, got {value!r}.")
    for name, value in parameters.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"`{name}`: expected JSON, got {value!r:.80} ({error}). Quote texts and dates.") from error


@lru_cache(maxsize=64)  # a body is built for its identity, and again to be sent
def _film(images: tuple[bytes, ...], clock: FrameClock | None) -> bytes:
    """Return the mp4 of frames, at their mean rate, so that they are shown at their own times."""
    if clock is None:
        raise ValueError("`times`: expected the times of the frames, got none. Give them, or set frames_as='images'.")
    frames = torch.stack([decode_jpeg(image) for image in images]).permute(0, 2, 3, 1).contiguous()
    return encode_mp4(frames.numpy(), Fraction(clock.mean_rate).limit_denominator(1000), crf=18)


def scores_schema(labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the `response_format` of a reply that describes, compares and scores, in that order.

    Args:
        labels: Labels to score.

    Returns:
        A strict JSON schema.

    Example:
        >>> scores_schema(("ball", "cup"))["json_schema"]["schema"]["properties"]["scores"]["required"]
        ['ball', 'cup']
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
