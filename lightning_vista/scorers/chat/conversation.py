"""The conversation about one video and one problem set (ViSTa, section 4): prompts, turns and transcript.

A conversation is a generator: it yields a request, is sent the reply, and finally returns a verdict. So it is
independent of networks and weights, and any number of conversations can be held at once.
"""

import hashlib
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from string import Template
from typing import Literal, TypeAlias, TypeVar, get_args

from lightning_vista.options import check_word
from lightning_vista.scorers.chat.chat_model import Message, Reply, Request
from lightning_vista.scorers.chat.parsing import UnreadableReply, parse_scores, read_text
from lightning_vista.video import FrameClock
from lightning_vista.vista.batch import Candidates

PROMPTS = Path(__file__).with_name("prompts")


def fill_prompt(prompt: str, **values: object) -> str:
    """Fill the names in a prompt and return its text.

    Args:
        prompt: Stem of the prompt's file.
        **values: Values of its `$names`; an empty value does not leave a gap.

    Returns:
        The text.

    Example:
        >>> fill_prompt("again", problem="it is empty")[:45]
        'This reply cannot be used: it is empty. Answe'
    """
    return re.sub(r"\n{3,}", "\n\n", _template(prompt).substitute(values)).strip()


def prompts_hash() -> str:
    """Return the hash of all prompts, since other words may give other scores."""
    digest = hashlib.sha256()
    for path in sorted(PROMPTS.glob("*.txt")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def _template(prompt: str) -> Template:
    return Template((PROMPTS / f"{prompt}.txt").read_text(encoding="utf-8"))


ChatMode = Literal["stages", "single"]
T = TypeVar("T")
Turn: TypeAlias = tuple[Request, Reply]


@dataclass(frozen=True)
class Verdict:
    """The result of a conversation.

    Attributes:
        scores: Scores from 0 to 5, or log-probabilities, one per candidate; None if the conversation failed.
        reason: Reason of the failure, if any.
        turns: Every request with its reply.
    """

    scores: tuple[float, ...] | None
    reason: str | None = None
    turns: tuple[Turn, ...] = ()


Conversation: TypeAlias = Generator[Request, Reply, Verdict]
_Asking: TypeAlias = Callable[[list[Turn], tuple[bytes, ...], Candidates], Generator[Request, Reply, tuple[float, ...]]]


def converse(
    mode: ChatMode, frames: Sequence[bytes], candidates: Candidates, clock: FrameClock | None = None
) -> Conversation:
    """Start a conversation that asks which candidates describe a video.

    An unusable reply is requested once more; if that fails as well, the verdict does not hold scores.

    Args:
        mode: Course of the conversation. `stages` is the paper's: describe the frames; match the candidates' steps to
            these descriptions, without the frames; score. `single` asks for everything at once.
        frames: Frames as JPEG files.
        candidates: Descriptions to choose from, with a hint and an example.
        clock: Times of the frames, if known; models that read videos are told them.

    Returns:
        The conversation.

    Raises:
        ValueError: If `mode` is unknown.

    Example:
        >>> candidates = Candidates("toy/level_1/objects/a", ("ball", "cup"), ("We see a ball", "We see a cup"))
        >>> conversation = converse("single", [b"jpeg"], candidates)
        >>> next(conversation).images
        1
        >>> try:
        ...     _ = conversation.send(Reply('{"scores": {"ball": 5, "cup": 0}}'))
        ... except StopIteration as end:
        ...     end.value.scores
        (5.0, 0.0)
    """
    # Checked here and not in the generator below, whose first line runs only at the first `next`.
    check_word("mode", mode, get_args(ChatMode))
    return _converse(partial(_in_stages if mode == "stages" else _at_once, clock=clock), frames, candidates)


def _converse(ask: _Asking, frames: Sequence[bytes], candidates: Candidates) -> Conversation:
    """Hold a conversation and turn a reply that stays unreadable into a verdict without scores."""
    turns: list[Turn] = []
    try:
        scores = yield from ask(turns, tuple(frames), candidates)
    except UnreadableReply as fault:
        return Verdict(None, fault.reason, tuple(turns))
    return Verdict(scores, None, tuple(turns))


def in_rounds(
    conversations: Sequence[Conversation], answer: Callable[[Sequence[Request]], Sequence[Reply]]
) -> list[Verdict]:
    """Hold conversations concurrently with a model that answers many requests at once.

    Args:
        conversations: Conversations that have not started.
        answer: Function from requests to replies; equal requests are passed only once a round.

    Returns:
        Verdicts, in the order of the conversations.
    """
    verdicts: dict[int, Verdict] = {}
    waiting = {number: next(conversation) for number, conversation in enumerate(conversations)}
    while waiting:
        distinct = list(dict.fromkeys(waiting.values()))
        replies = dict(zip(distinct, answer(distinct), strict=True))
        asked, waiting = waiting, {}
        for number, request in asked.items():
            try:
                waiting[number] = conversations[number].send(replies[request])
            except StopIteration as end:
                verdicts[number] = end.value
    return [verdicts[number] for number in range(len(conversations))]


def _in_stages(
    turns: list[Turn], frames: tuple[bytes, ...], candidates: Candidates, clock: FrameClock | None
) -> Generator[Request, Reply, tuple[float, ...]]:
    """Ask in the paper's three stages; the second and third form one exchange, without the frames."""
    describe = Message("user", fill_prompt("describe", **_about(frames, candidates)), frames, clock)
    descriptions = yield from _ask(turns, Request((describe,)), read_text)
    match = Message("user", fill_prompt("match", descriptions=descriptions, candidates=_listed(candidates)))
    matches = yield from _ask(turns, Request((match,)), read_text)
    form = "\n".join(f"{label}: <score>" for label in candidates.labels)
    score = Message("user", fill_prompt("score", form=form))
    request = Request((match, Message("assistant", matches), score))
    return (yield from _ask(turns, request, partial(parse_scores, labels=candidates.labels)))


def _at_once(
    turns: list[Turn], frames: tuple[bytes, ...], candidates: Candidates, clock: FrameClock | None
) -> Generator[Request, Reply, tuple[float, ...]]:
    """Ask for descriptions, comparison and scores in one request."""
    form = ", ".join(f'"{label}": <score>' for label in candidates.labels)
    text = fill_prompt("single", **_about(frames, candidates), candidates=_listed(candidates), form=form)
    request = Request((Message("user", text, frames, clock),), scored_labels=candidates.labels)
    return (yield from _ask(turns, request, partial(parse_scores, labels=candidates.labels)))


def _ask(turns: list[Turn], request: Request, read: Callable[[Reply], T]) -> Generator[Request, Reply, T]:
    """Ask, a second time if the reply cannot be read, and record the turns."""
    reply = yield request
    turns.append((request, reply))
    try:
        return read(reply)
    except UnreadableReply as fault:
        said = Message("assistant", reply.text or "(no reply)")  # many chat templates refuse an empty turn
        again = Message("user", fill_prompt("again", problem=fault))
    request = Request((*request.messages, said, again), request.scored_labels)
    reply = yield request
    turns.append((request, reply))
    return read(reply)


def _about(frames: Sequence[bytes], candidates: Candidates) -> dict[str, object]:
    hint = candidates.hint or fill_prompt("hint")
    return {"num_frames": len(frames), "hint": hint, "example": candidates.example or ""}


def _listed(candidates: Candidates) -> str:
    pairs = zip(candidates.labels, candidates.descriptions, strict=True)
    return "\n".join(f"{label}: {in_one_line(description)}" for label, description in pairs)


def in_one_line(description: str) -> str:
    """Return a description in one line, with single spaces."""
    return " ".join(description.split())


def transcript(verdict: Verdict) -> str:
    """Return the text of a conversation, in which repeated messages appear once."""
    return "\n\n".join(_said(verdict))


def _said(verdict: Verdict) -> Iterable[str]:
    told: set[Message] = set()
    for request, reply in verdict.turns:
        answer = Message("assistant", reply.text)
        yield from (_shown(message) for message in request.messages if message not in told)
        ended = "" if reply.finish == "stop" else f"\n[ended: {reply.finish}]"
        yield _shown(answer) + ended + _listed_tokens(reply)
        told |= {*request.messages, answer}


def _listed_tokens(reply: Reply) -> str:
    """Return the first tokens that a reply might have had, with their log-probabilities."""
    tokens = ", ".join(f"{token!r} {logarithm:.4g}" for token, logarithm in reply.first_token or ())
    return f"\n[log-probabilities: {tokens}]" if tokens else ""


def _shown(message: Message) -> str:
    images = f"\n[{len(message.images)} frames]" if message.images else ""
    shown = f"{images.strip()}\n{message.text}" if message.images_first and images else f"{message.text}{images}"
    return f"--- {message.role}\n{shown}"
