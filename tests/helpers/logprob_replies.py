"""Replies of an endpoint that gives log-probabilities."""

import hashlib
import math

from chat_server import Body


def saying(tokens: dict[str, float] | None, **choice: object) -> Body:
    """A completion whose first token has these probabilities."""
    listed = [{"token": token, "logprob": math.log(share), "bytes": None} for token, share in (tokens or {}).items()]
    content = [{**listed[0], "top_logprobs": listed}] if listed else []
    said = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "Yes"}}
    return {"choices": [said | {"logprobs": {"content": content} if tokens else None} | choice]}


def text_of(body: Body) -> str:
    """The words of a request, which come after its frames."""
    *pictures, words = body["messages"][0]["content"]
    assert pictures
    assert all(part["type"] in ("image_url", "video_url") for part in pictures)
    return str(words["text"])


def draw(body: Body) -> dict[str, float]:
    """Probabilities of the tokens that the question allows, by the hash of its words."""
    text = text_of(body)
    digest = hashlib.sha256(text.encode()).digest()
    if "Answer Yes or No" in text:
        return {"Yes": (1 + digest[0]) / 600, "No": 0.5}
    if "letter only" in text:
        return {letter: (1 + digest[number]) / 4000 for number, letter in enumerate("ABCDEFGH")}
    return {str(score): (1 + digest[score]) / 2000 for score in range(6)}
