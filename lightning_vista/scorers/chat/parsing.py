"""Strict reading of scores in a chat model's reply: a doubtful reply is requested again, never guessed at."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args

from lightning_vista.options import check_word
from lightning_vista.scorers.chat.chat_model import HIGHEST, Reply
from lightning_vista.scorers.chat.thoughts import UnendedThoughtError, without_thoughts

Reason = Literal["parse_error", "refusal", "truncated", "not_listed"]

#: Possessive, as all repeated spaces here: models that loop write thousands of them, whose divisions are not tried.
_GAP = r"[ \t]*+"
_QUOTE = r"""["'\u2018\u2019\u201c\u201d]?"""
_DASH = r"[-\u2013\u2014]"
_NUMBER = rf"(?P<number>[-+]?\d+(?:\.\d+)?)(?:{_GAP}(?:/|(?i:out of|of)\b){_GAP}(?P<scale>\d+(?:\.\d+)?))?"
#: Text that may follow a score: nothing, punctuation, or a remark; not words or digits that would change its meaning.
_REMARK = rf"[.,;|](?!{_GAP}\d)|[}})(\]\[]|(?<=\s)(?:{_DASH}|[:#])\s++(?!\d)"
_SCORE = re.compile(rf"{_NUMBER}(?={_GAP}(?i:points?)?{_QUOTE}{_GAP}(?:$|{_REMARK}))", re.MULTILINE)
#: A label stands at the beginning of a line or of an item, and its score comes right after it.
_MARK = rf"[-\u2022>+]{_GAP}|\d+[.)]{_GAP}|\#+{_GAP}"
#: A noun before the label. It is tried last (`??`), since it may belong to the label.
_NOUN = rf"(?:(?i:label|option|candidate|description|choice)[ \t]+{_QUOTE})??"
_BEFORE = rf"(?:^|[,;{{|]){_GAP}(?:{_MARK})?(?:__)?{_QUOTE}{_NOUN}"
_COLON = rf"{_GAP}(?:[:=|\u2192]|->)|[ \t]+{_DASH}[ \t]"
_AFTER = (
    rf"{_QUOTE}(?:__)?(?:{_GAP}\([^()\n]{{0,300}}\))?{_QUOTE}(?:__)?(?:{_COLON}){_GAP}(?:__)?"
    rf"(?:(?i:score){_GAP}[:=]?{_GAP})?{_QUOTE}"
)
#: Marks around an answer, which some models were trained to write.
_ANSWER = re.compile(r"</?(?:final_?)?answer>|<\|(?:begin|end)_of_box\|>", re.IGNORECASE)
#: Characters that are read as others, in replies and in labels alike; emphasis is ignored.
_ALIKE = str.maketrans("\u2018\u2019\uff1a\uff1d\uff0c\uff1b\uff08\uff09\uff5c\uff0f", "'':=,;()|/", "*`\r")
_REFUSAL = re.compile(
    r"\W*(?:(?:i'?m|i am) (?:very |really )?sorry|sorry|i apologi[sz]e|"
    r"(?:i|we) (?:can(?:no|')?t|could not|couldn't|won't|will not)|(?:i'?m|i am) (?:unable|not able))\b",
    re.IGNORECASE,
)


class UnreadableReply(ValueError):
    """A reply that cannot be used.

    Attributes:
        reason: `parse_error`, `refusal`, `truncated`, or `not_listed` where a token has no log-probability, as in the
            score table.
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
        UnreadableReply: If the reply is empty, was cut off, does not end its thoughts, or declines to answer.

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

    The reply may hold JSON: an object of labels and scores, a list of objects with `label` and `score`, or an object
    that holds one of these as `scores`; in place of a score there may be an object with a `score`. Or it may have lines
    of a label, a colon (also `=`, `|`, an arrow or a dash) and a score. Emphasis, list marks, quotes, code fences,
    tables, a remark in parentheses after a label, and remarks after a score are tolerated; `4/5` is 4. Labels match as
    a whole: `label_1` is not `label_10`. Case counts only where labels differ in nothing else. Thoughts are not read.

    Args:
        reply: Reply of the model.
        labels: Labels that the reply must score.

    Returns:
        Scores from 0 to 5, one per label.

    Raises:
        UnreadableReply: If a label lacks a score, has two different ones, or has one outside the range or on another
            scale; or if the reply is empty, was cut off, does not end its thoughts, or declines to answer.

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
    try:
        text = without_thoughts(reply.text.replace("\u2019", "'"))
    except UnendedThoughtError as error:
        raise UnreadableReply("parse_error", str(error)) from error
    if not text:
        raise UnreadableReply("parse_error", "it is empty")
    return text


class _Mention(NamedTuple):
    """A label with its score in a reply; the scale is the 5 of `4/5`."""

    label: str
    number: float
    scale: float | None


def _mentions(text: str, labels: Sequence[str]) -> Iterator[_Mention]:
    """Yield every score in a reply: those of its JSON, and those of the lines around it."""
    around = []
    for document in _documents(text):
        if isinstance(document, str):
            around.append(document)
        else:
            yield from _mentions_in_json(document, labels)
    yield from _mentions_in_lines("\n".join(around), labels)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object that keeps repeated keys, so that contradictory scores are detected."""


def _documents(text: str) -> Iterator[Any]:
    """Yield the JSON objects and lists of objects in a text, and the texts around them."""
    decoder, read_to = json.JSONDecoder(object_pairs_hook=_Pairs), 0
    for start in re.finditer(r"[{\[]", text):
        if start.start() < read_to:
            continue
        try:
            document, end = decoder.raw_decode(text, start.start())
        except RecursionError:  # thousands of brackets, of which each would be tried
            break
        except ValueError:  # also for numbers of thousands of digits
            continue
        if isinstance(document, _Pairs) or any(isinstance(item, _Pairs) for item in document):
            yield text[read_to : start.start()]
            yield document
            read_to = end
    yield text[read_to:]


def _mentions_in_json(document: Any, labels: Sequence[str]) -> Iterator[_Mention]:
    if not isinstance(document, _Pairs):  # a list
        for item in document:
            if isinstance(item, _Pairs):
                yield from _mentions_in_item(item, labels)
        return
    # Also beside `scores`, where a label may have another one.
    yield from _mentions_in_item(document, labels)
    inner = [value for key, value in document if isinstance(value, list) and (key == "scores" or len(document) == 1)]
    if len(inner) == 1:
        yield from _mentions_in_json(inner[0], labels)


def _mentions_in_item(item: _Pairs, labels: Sequence[str]) -> Iterator[_Mention]:
    """Yield the scores of `{"label": "a", "score": 4}` or of `{"a": 4, "b": {"score": 1}}`."""
    named = [_label(value, labels) for key, value in item if key.lower() == "label" and isinstance(value, str)]
    if len(named) == 1 and named[0] is not None:
        item = _Pairs([(named[0], item)])
    for key, value in item:
        label = _label(key, labels)
        scores = [score for name, score in value if name.lower() == "score"] if isinstance(value, _Pairs) else [value]
        for score in scores:
            read = None if label is None or isinstance(score, bool | list) else _SCORE.match(str(score).strip())
            if label is not None and read:
                yield _mention(label, read)


def _mentions_in_lines(text: str, labels: Sequence[str]) -> Iterator[_Mention]:
    # Longest first, so that a label is never taken for a shorter one with a remark. Compared by `_label`.
    written = "|".join(re.escape(_plain(label)) for label in sorted(labels, key=len, reverse=True))
    pattern = rf"{_BEFORE}(?P<label>(?i:{written})){_AFTER}{_SCORE.pattern}"
    for score in re.finditer(pattern, _plain(_ANSWER.sub("\n", text)), re.MULTILINE):
        label = _label(score["label"], labels)
        if label is not None:
            yield _mention(label, score)


def _label(written: str, labels: Sequence[str]) -> str | None:
    """Return the label that is meant: the same one, or the only one that differs in nothing but case."""
    for form in (str, _plain, lambda text: _plain(text).casefold()):
        meant = [label for label in labels if form(label) == form(written)]
        if meant:
            return meant[0] if len(meant) == 1 else None
    return None


def _plain(text: str) -> str:
    return text.translate(_ALIKE).replace(r"\_", "_")


def _mention(label: str, score: re.Match[str]) -> _Mention:
    return _Mention(label, float(score["number"]), None if score["scale"] is None else float(score["scale"]))
