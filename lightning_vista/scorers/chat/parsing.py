"""Strict reading of scores in a chat model's reply: a doubtful reply is requested again, never guessed at."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

from lightning_vista.options import check_word
from lightning_vista.scorers.chat.chat_model import HIGHEST, Reply

Reason = Literal["parse_error", "refusal", "truncated"]

_GAP = r"[ \t]*"
_QUOTE = r"""["'\u2018\u2019\u201c\u201d]?"""
_DASH = r"[-\u2013\u2014]"
_NUMBER = rf"(?P<number>[-+]?\d+(?:\.\d+)?)(?:{_GAP}(?:/|(?i:out of|of)\b){_GAP}(?P<scale>\d+(?:\.\d+)?))?"
#: Text that may follow a score: nothing, punctuation, or a remark; not words or digits that would change its meaning.
_REMARK = rf"[.,;](?!{_GAP}\d)|[|}})(\]\[]|(?<=\s)(?:{_DASH}|[:#])\s+(?!\d)"
_SCORE = re.compile(rf"{_NUMBER}(?={_GAP}(?i:points?)?{_QUOTE}{_GAP}(?:$|{_REMARK}))", re.MULTILINE)
#: A label stands at the beginning of a line or of an item, and its score comes right after it.
_MARK = rf"[-\u2022>+]{_GAP}|\d+[.)]{_GAP}|\#+{_GAP}"
_BEFORE = rf"(?:^|[,;{{|]){_GAP}(?:{_MARK})?(?:__)?{_QUOTE}"
_COLON = rf"{_GAP}(?:[:=|\u2192]|->)|[ \t]+{_DASH}[ \t]"
_AFTER = rf"{_QUOTE}(?:__)?(?:{_COLON}){_GAP}(?:__)?(?:(?i:score){_GAP}[:=]?{_GAP})?{_QUOTE}"
_FENCE = re.compile(r"```\w*\s*\n(.*?)```", re.DOTALL)
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
_REFUSAL = re.compile(
    r"\W*(?:(?:i'?m|i am) (?:very |really )?sorry|sorry|i apologi[sz]e|"
    r"(?:i|we) (?:can(?:no|')?t|could not|couldn't|won't|will not)|(?:i'?m|i am) (?:unable|not able))\b",
    re.IGNORECASE,
)


class UnreadableReply(ValueError):
    """A reply that cannot be used.

    Attributes:
        reason: `parse_error`, `refusal` or `truncated`, as in the score table.
    """

    def __init__(self, reason: Reason, problem: str) -> None:
        check_word("reason", reason, get_args(Reason))
        super().__init__(problem)
        self.reason: Reason = reason


def read_text(reply: Reply) -> str:
    """Return the words of a reply, without the thoughts that some models put before them.

    Args:
        reply: Reply of the model.

    Returns:
        The text.

    Raises:
        UnreadableReply: If the reply is empty, was cut off, or declines to answer.

    Example:
        >>> read_text(Reply("<think>A ball?</think>We see a ball."))
        'We see a ball.'
    """
    text = _said(reply)
    if _REFUSAL.match(text):
        raise UnreadableReply("refusal", "it declines to answer")
    return text


def parse_scores(reply: Reply, labels: Sequence[str]) -> tuple[float, ...]:
    r"""Read the score of each label in a reply.

    The reply may be JSON: an object of labels and scores, or one that holds such an object as `scores`. Or it may have
    lines of a label, a colon (also `=`, `|`, an arrow or a dash) and a score. Emphasis, list marks, quotes, code fences
    and remarks after a score are tolerated; `4/5` is 4. Labels match as a whole: `label_1` is not `label_10`.

    Args:
        reply: Reply of the model.
        labels: Labels that the reply must score.

    Returns:
        Scores from 0 to 5, one per label.

    Raises:
        UnreadableReply: If a label lacks a score, has two different ones, or has one outside the range or on another
            scale; or if the reply is empty, was cut off, or declines to answer.

    Example:
        >>> parse_scores(Reply("- **label_10**: 1\n- **label_1**: 4/5 (all steps)"), ["label_1", "label_10"])
        (4.0, 1.0)
    """
    text = _said(reply)
    found: dict[str, set[float]] = {}
    for label, number, scale in _mentions(text, labels):
        if scale not in (None, HIGHEST) or not 0 <= number <= HIGHEST:
            shown = f"{number:g}" if scale is None else f"{number:g}/{scale:g}"
            raise UnreadableReply("parse_error", f"the score of {label} is {shown}, not from 0 to {HIGHEST}")
        found.setdefault(label, set()).add(number)
    if not found and _REFUSAL.match(text):
        raise UnreadableReply("refusal", "it declines to answer")
    if missing := [label for label in labels if label not in found]:
        raise UnreadableReply("parse_error", f"it gives no score to {', '.join(missing)}")
    if unclear := [label for label in labels if len(found[label]) > 1]:
        raise UnreadableReply("parse_error", f"it gives different scores to {', '.join(unclear)}")
    return tuple(found[label].pop() for label in labels)


def _said(reply: Reply) -> str:
    """Return the words of a reply, unless it failed as a whole."""
    if reply.finish == "refusal":
        raise UnreadableReply("refusal", "it declines to answer")
    if reply.finish == "length":
        raise UnreadableReply("truncated", "it is too long and was cut off")
    text = _THOUGHTS.sub("", reply.text.replace("\u2019", "'")).strip()
    if not text:
        raise UnreadableReply("parse_error", "it is empty")
    return text


def _mentions(text: str, labels: Sequence[str]) -> Iterator[tuple[str, float, float | None]]:
    """Yield every (label, number, scale) in a reply; the scale is the 5 of `4/5`."""
    fenced = _FENCE.search(text)
    try:
        document = json.loads(fenced[1] if fenced else text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError:
        document = None
    if isinstance(document, _Pairs):
        yield from _mentions_in_json(document, labels)
    else:
        yield from _mentions_in_lines(text, labels)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object that keeps repeated keys, so that contradictory scores are detected."""


def _mentions_in_json(document: _Pairs, labels: Sequence[str]) -> Iterator[tuple[str, float, float | None]]:
    inner = [value for key, value in document if key == "scores" and isinstance(value, _Pairs)]
    for key, value in inner[0] if len(inner) == 1 else document:
        if key in labels and not isinstance(value, bool):
            score = _SCORE.match(str(value).strip())
            if score:
                yield key, *_number(score)


def _mentions_in_lines(text: str, labels: Sequence[str]) -> Iterator[tuple[str, float, float | None]]:
    plain = re.sub(r"[*`\r]", "", text).replace(r"\_", "_")
    for label in labels:
        for score in re.finditer(_BEFORE + re.escape(label) + _AFTER + _SCORE.pattern, plain, re.MULTILINE):
            yield label, *_number(score)


def _number(score: re.Match[str]) -> tuple[float, float | None]:
    return float(score["number"]), None if score["scale"] is None else float(score["scale"])
