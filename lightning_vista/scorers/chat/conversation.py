"""The conversation about one video and one problem set (ViSTa, section 4), whoever it is held with.

A conversation is a generator: it yields a request, is sent the reply, and returns a verdict in the end. So it knows
nothing of networks or weights, and any number of conversations can be held at once.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, TypeVar

from lightning_vista.scorers.chat.messages import Message, Reply, Request
from lightning_vista.scorers.chat.parsing import UnreadableReply, read_scores, read_text
from lightning_vista.scorers.chat.templates import fill
from lightning_vista.vista.batch import Candidates

Mode = Literal["stages", "single"]
T = TypeVar("T")
Turn: TypeAlias = tuple[Request, Reply]


@dataclass(frozen=True)
class Verdict:
    """What came of a conversation.

    Attributes:
        scores: One from 0 to 5 for each candidate; None if there are none.
        reason: Why there are none.
        turns: Every request with its reply.
    """

    scores: tuple[float, ...] | None
    reason: str | None = None
    turns: tuple[Turn, ...] = ()


Conversation: TypeAlias = Generator[Request, Reply, Verdict]


def converse(mode: Mode, frames: Sequence[bytes], candidates: Candidates) -> Conversation:
    """Ask which candidates describe a video.

    A reply that cannot be used is asked for once more; if that fails too, the verdict has no scores.

    Args:
        mode: `stages` is the paper's: describe the frames, match the candidates' steps to the descriptions without
            the frames, score. `single` asks for everything at once.
        frames: The frames as JPEG files.
        candidates: The descriptions to choose from, with a hint and an example.

    Returns:
        The conversation.

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
    turns: list[Turn] = []
    ask = _in_stages if mode == "stages" else _at_once
    try:
        scores = yield from ask(turns, tuple(frames), candidates)
    except UnreadableReply as fault:
        return Verdict(None, fault.reason, tuple(turns))
    return Verdict(scores, None, tuple(turns))


def in_rounds(
    conversations: Sequence[Conversation], answer: Callable[[Sequence[Request]], Sequence[Reply]]
) -> list[Verdict]:
    """Hold conversations side by side with a model that answers many requests at once.

    Args:
        conversations: Fresh ones.
        answer: Gives a reply to each request; equal ones are asked only once a round.

    Returns:
        The verdict of each.
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
    turns: list[Turn], frames: tuple[bytes, ...], candidates: Candidates
) -> Generator[Request, Reply, tuple[float, ...]]:
    """The paper's three stages; the second and third are one exchange of which the frames are no part."""
    describe = Message("user", fill("describe", **_about(frames, candidates)), frames)
    descriptions = yield from _ask(turns, Request((describe,)), read_text)
    match = Message("user", fill("match", descriptions=descriptions, candidates=_listed(candidates)))
    matches = yield from _ask(turns, Request((match,)), read_text)
    form = "\n".join(f"{label}: <score>" for label in candidates.labels)
    score = Message("user", fill("score", form=form))
    request = Request((match, Message("assistant", matches), score))
    return (yield from _ask(turns, request, partial(read_scores, labels=candidates.labels)))


def _at_once(
    turns: list[Turn], frames: tuple[bytes, ...], candidates: Candidates
) -> Generator[Request, Reply, tuple[float, ...]]:
    form = ", ".join(f'"{label}": <score>' for label in candidates.labels)
    text = fill("single", **_about(frames, candidates), candidates=_listed(candidates), form=form)
    request = Request((Message("user", text, frames),), scored_labels=candidates.labels)
    return (yield from _ask(turns, request, partial(read_scores, labels=candidates.labels)))


def _ask(turns: list[Turn], request: Request, read: Callable[[Reply], T]) -> Generator[Request, Reply, T]:
    """Ask, once more if need be, and note what was said."""
    reply = yield request
    turns.append((request, reply))
    try:
        return read(reply)
    except UnreadableReply as fault:
        said = Message("assistant", reply.text or "(no reply)")  # many chat templates refuse an empty turn
        again = Message("user", fill("again", problem=fault))
    request = Request((*request.messages, said, again), request.scored_labels)
    reply = yield request
    turns.append((request, reply))
    return read(reply)


def _about(frames: Sequence[bytes], candidates: Candidates) -> dict[str, object]:
    hint = candidates.hint or fill("hint")
    return {"num_frames": len(frames), "hint": hint, "example": candidates.example or ""}


def _listed(candidates: Candidates) -> str:
    pairs = zip(candidates.labels, candidates.descriptions, strict=True)
    return "\n".join(f"{label}: {' '.join(description.split())}" for label, description in pairs)
