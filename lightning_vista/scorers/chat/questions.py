"""Questions whose answers are read from log-probabilities: by chat models behind endpoints, and by local models.

The frames come first and the claim last, so that all questions about one video begin alike, and a model that keeps
what it has read reads only the claim anew. A problem set's hint and example are left out:
they are about describing frames.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Literal, get_args

from lightning_vista.options import check_word
from lightning_vista.scorers.chat.chat_model import HIGHEST, Message, Reply, Request
from lightning_vista.scorers.chat.conversation import (
    ChatMode,
    Conversation,
    Turn,
    Verdict,
    converse,
    fill_prompt,
    in_one_line,
)
from lightning_vista.scorers.chat.parsing import UnreadableReply
from lightning_vista.video import FrameClock
from lightning_vista.vista.batch import Candidates

#: Courses in which a reply is one token, whose log-probabilities are read.
LogprobMode = Literal["likelihood", "choice", "expected"]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_OPPOSITES = {"Yes": "No", "No": "Yes", "True": "False", "False": "True"}


class MissingLogprobsError(ValueError):
    """A reply without log-probabilities, where these were asked for."""


def claim_question(num_frames: int, description: str, answer: str) -> str:
    """Return the question whether a description fits.

    Args:
        num_frames: Number of frames that the model sees.
        description: Description to judge.
        answer: Answer that stands for a good fit.

    Example:
        >>> question = claim_question(8, "We see a ball", "True").splitlines()
        >>> question[2][-28:], question[-1]
        ('order? Answer True or False.', 'Claim: We see a ball')
    """
    opposite = _OPPOSITES.get(answer)
    form = f"Answer {answer} or {opposite}." if opposite else f"If so, answer: {answer}"
    return fill_prompt("claim", num_frames=num_frames, description=in_one_line(description), form=form)


def choice_question(num_frames: int, descriptions: Sequence[str]) -> str:
    """Return the question which of several lettered descriptions fits.

    Args:
        num_frames: Number of frames that the model sees.
        descriptions: Descriptions to choose from, at most 26.

    Raises:
        ValueError: If there are more descriptions than letters.
    """
    if len(descriptions) > len(LETTERS):
        raise ValueError(
            f"`descriptions`: expected at most {len(LETTERS)} for a choice by letter, got {len(descriptions)}. "
            "Ask about each candidate by itself instead."
        )
    listed = "\n".join(f"{letter}: {in_one_line(text)}" for letter, text in zip(LETTERS, descriptions, strict=False))
    return fill_prompt("choice", num_frames=num_frames, candidates=listed)


def start_conversation(
    mode: ChatMode | LogprobMode,
    frames: Sequence[bytes],
    candidates: Candidates,
    clock: FrameClock | None = None,
    answer: str = "Yes",
) -> Conversation:
    """Start a conversation about a video and a problem set, of any course.

    Args:
        mode: A course of `converse`, or one that reads the log-probabilities of a reply of one token. `likelihood`:
            log P(answer) for each candidate. `choice`: log P(letter), with the candidates lettered in one question.
            `expected`: for each candidate the mean of 0 to 5, weighted by the probabilities of these tokens.
        frames: Frames as JPEG files.
        candidates: Descriptions to choose from.
        clock: Times of the frames, if known.
        answer: Answer that `likelihood` reads, which must be one token.

    Returns:
        The conversation.

    Raises:
        ValueError: If `mode` is unknown, or there are too many candidates for `choice`.
        MissingLogprobsError: During the conversation, if a reply holds no log-probabilities.
    """
    check_word("mode", mode, get_args(ChatMode) + get_args(LogprobMode))
    if mode == "stages" or mode == "single":  # in this form, so that mypy sees it
        return converse(mode, frames, candidates, clock)

    def show(text: str) -> Message:
        return Message("user", text, tuple(frames), clock, images_first=True)

    if mode == "choice":
        return _choose(show(choice_question(len(frames), candidates.descriptions)), len(candidates.labels))
    questions = [show(_about_one(mode, len(frames), text, answer)) for text in candidates.descriptions]
    return _ask_each(questions, (lambda reply: log_probability(reply, answer)) if mode == "likelihood" else expectation)


def _about_one(mode: LogprobMode, num_frames: int, description: str, answer: str) -> str:
    if mode == "likelihood":
        return claim_question(num_frames, description, answer)
    return fill_prompt("rating", num_frames=num_frames, description=in_one_line(description))


def _ask_each(questions: Sequence[Message], read: Callable[[Reply], float]) -> Conversation:
    """Ask one question after the other, each in a conversation of its own."""
    turns: list[Turn] = []
    scores = []
    for question in questions:
        reply = yield from _ask_once(turns, question)
        try:
            scores.append(read(reply))
        except UnreadableReply as fault:
            return Verdict(None, fault.reason, tuple(turns))
    return Verdict(tuple(scores), None, tuple(turns))


def _choose(question: Message, candidates: int) -> Conversation:
    turns: list[Turn] = []
    reply = yield from _ask_once(turns, question)
    try:
        scores = tuple(log_probability(reply, letter) for letter in LETTERS[:candidates])
    except UnreadableReply as fault:
        return Verdict(None, fault.reason, tuple(turns))
    return Verdict(scores, None, tuple(turns))


def _ask_once(turns: list[Turn], question: Message) -> Generator[Request, Reply, Reply]:
    reply = yield (request := Request((question,)))
    turns.append((request, reply))
    return reply


def log_probability(reply: Reply, answer: str) -> float:
    """Return the log-probability that a reply begins with a token.

    Args:
        reply: Reply with its most likely first tokens. Tokens that differ in surrounding spaces are added up.
        answer: Text of the token.

    Returns:
        Natural logarithm, at most 0.

    Raises:
        MissingLogprobsError: If the reply holds no log-probabilities.
        UnreadableReply: If the token is not among those listed, or the reply is a refusal.

    Example:
        >>> round(log_probability(Reply("Yes", "length", (("Yes", -0.5), (" Yes", -2.0), ("No", -1.4))), "Yes"), 3)
        -0.299
    """
    shares = _shares(reply)
    if answer not in shares:
        least = min(shares.values(), default=1.0)
        raise UnreadableReply("not_listed", f"{answer!r} is not among its most likely tokens (least {least:.2g})")
    return min(math.log(shares[answer]), 0.0)  # rounded logarithms may add up to more


def expectation(reply: Reply) -> float:
    """Return the expected score: the mean of 0 to 5, weighted by the probabilities of these tokens.

    Args:
        reply: Reply with its most likely first tokens.

    Returns:
        Score from 0 to 5.

    Raises:
        MissingLogprobsError: If the reply holds no log-probabilities.
        UnreadableReply: If none of the six tokens is listed, or the reply is a refusal.

    Example:
        >>> expectation(Reply("4", "length", (("4", math.log(0.6)), ("5", math.log(0.2)), ("The", math.log(0.2)))))
        4.25
    """
    listed = {digit: share for digit in range(HIGHEST + 1) if (share := _shares(reply).get(str(digit), 0.0)) > 0}
    if not listed:
        raise UnreadableReply("not_listed", f"none of 0 to {HIGHEST} is among its most likely tokens")
    return sum(digit * share for digit, share in listed.items()) / sum(listed.values())


def _shares(reply: Reply) -> Mapping[str, float]:
    """Return the probability of each listed first token, without the spaces around it."""
    if reply.finish == "refusal":
        raise UnreadableReply("refusal", "it declines to answer")
    if reply.first_token is None:
        raise MissingLogprobsError("expected the log-probabilities of the first token, got none")
    shares: dict[str, float] = {}
    for token, logarithm in reply.first_token:
        shares[token.strip()] = shares.get(token.strip(), 0.0) + math.exp(logarithm)
    return {token: share for token, share in shares.items() if share > 0}  # -9999 stands for "too unlikely to list"
