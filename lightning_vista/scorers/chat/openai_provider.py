"""Client of OpenAI, and of the many servers and services that speak its format."""

from typing import Any

from lightning_vista.optional import require
from lightning_vista.scorers.chat.chat_model import ChatModel
from lightning_vista.scorers.chat.provider import Provider


class OpenAIProvider(Provider):
    """A client of chat completions in OpenAI's format, such as those of vLLM, ollama and OpenRouter."""

    def __init__(self, chat: ChatModel, key: str, timeout: float) -> None:
        super().__init__(chat, key, timeout)
        openai = require("openai", extra="vlm")
        self.errors = (openai.OpenAIError,)
        # Retries are the endpoint's, because the adaptive limit must learn of every rate limit. The client's would hide
        # them.
        self.client = openai.AsyncOpenAI(base_url=chat.base_url, api_key=key, max_retries=0, timeout=timeout)

    async def complete(self, body: dict[str, Any]) -> object:
        """Send a request once and return the completion as it came."""
        # Not `chat.completions.create`, which walks through all messages and images to check the names of their
        # fields, and builds objects of the reply: half of our own time between two requests.
        completion: object = await self.client.post("/chat/completions", cast_to=object, body=body)
        return completion
