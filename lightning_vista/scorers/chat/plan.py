"""What a run would ask, before it asks."""

from collections.abc import Iterable
from dataclasses import dataclass

from lightning_vista.scorers.chat.budget import text_tokens
from lightning_vista.scorers.chat.conversation import Mode, converse
from lightning_vista.scorers.chat.limits import Limits
from lightning_vista.scorers.chat.messages import Reply, Request
from lightning_vista.vista.batch import Candidates

#: Tokens of a reply: for each frame that it describes, and for each candidate that it compares.
_PER_FRAME, _PER_CANDIDATE = 40, 80


@dataclass(frozen=True)
class Plan:
    """The size of a run, as far as it can be told before: requests exactly, if no reply fails, and tokens roughly.

    Attributes:
        requests: Requests, each different from all others.
        images: Images in them.
        prompt_tokens: Tokens of the requests.
        completion_tokens: Tokens of the replies.
    """

    requests: int
    images: int
    prompt_tokens: int
    completion_tokens: int

    def summary(self, limits: Limits) -> str:
        """The plan in words, with its price where that is known."""
        tokens = f"about {self.prompt_tokens:,} tokens in and {self.completion_tokens:,} out"
        cost = limits.cost(self.prompt_tokens, self.completion_tokens)
        return f"{self.requests:,} requests, {self.images:,} images, {tokens}" + (f", ${cost:,.2f}" if cost else "")


def plan(
    mode: Mode, num_frames: int, tokens_per_image: int, videos: Iterable[tuple[str, Iterable[Candidates]]]
) -> Plan:
    """Walk through all conversations with replies of the usual length.

    Args:
        mode: See `converse`.
        num_frames: Of each video.
        tokens_per_image: See `image_tokens`.
        videos: Each video's path with the candidates of its problem sets.

    Returns:
        What they add up to; what a video is asked twice counts once.
    """
    requests = images = prompt = completion = 0
    for video, sets in videos:
        frames = [video.encode()] * num_frames
        distinct = {request: reply for candidates in sets for request, reply in _walk(mode, frames, candidates)}
        requests += len(distinct)
        images += sum(request.images for request in distinct)
        prompt += sum(text_tokens(request) + request.images * tokens_per_image for request in distinct)
        completion += sum(distinct.values())
    return Plan(requests, images, prompt, completion)


def _walk(mode: Mode, frames: list[bytes], candidates: Candidates) -> Iterable[tuple[Request, int]]:
    """Each request of a conversation that goes well, with the tokens of its reply."""
    conversation = converse(mode, frames, candidates)
    describing, comparing = _PER_FRAME * len(frames), _PER_CANDIDATE * len(candidates.labels)
    stages = [describing, comparing, 8 * len(candidates.labels)] if mode == "stages" else [describing + comparing]
    request = next(conversation)
    for number, tokens in enumerate(stages):
        yield request, tokens
        if number + 1 < len(stages):
            request = conversation.send(Reply("word" * tokens))
    conversation.close()
