"""What is said in a conversation with a chat model."""

from dataclasses import dataclass
from typing import Literal

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
