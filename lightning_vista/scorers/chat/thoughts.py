"""Removal of the thoughts that reasoning models write into their replies; nothing is ever read from a thought."""

import re
from collections import Counter

_WORDS = r"think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratchpad"
#: `<think>`, `</think>`, `<seed:think>`, `◁think▷`, `[THINK]`, `<|begin_of_thought|>`, `<|START_THINKING|>` and so on.
_MARK = re.compile(
    rf"(?:<\|?|\u25c1|\[)[ \t]*+(?P<closing>/|end_(?:of_)?)?[ \t]*+(?:begin_(?:of_)?|start_(?:of_)?|\w{{1,20}}:)?"
    rf"(?P<kind>{_WORDS})(?:[ \t][^<>\u25b7\]\n]{{0,200}})?[ \t]*+(?:\|?>|\u25b7|\])",
    re.IGNORECASE,
)


class UnendedThoughtError(ValueError):
    """A text whose thoughts do not end, so that nothing in it is known to be an answer."""


def without_thoughts(text: str) -> str:
    """Return the part of a text that is outside of all thoughts.

    A closing mark without an opening one ends a thought that began in the prompt, so all that precedes it is dropped.

    Args:
        text: Text of a reply.

    Returns:
        The text outside of thoughts, stripped.

    Raises:
        UnendedThoughtError: If a thought does not end.

    Example:
        >>> without_thoughts("A cup: 2?</think>ball: 4"), without_thoughts("<thinking>cup: 2?</thinking>ball: 4")
        ('ball: 4', 'ball: 4')
    """
    kept: list[str] = []
    # Each kind is counted by itself: with one count, `</reasoning>` would end a `<think>`.
    opened: Counter[str] = Counter()
    position = 0
    for mark in _MARK.finditer(text):
        if not opened.total():
            kept.append(text[position : mark.start()])
        position = mark.end()
        kind = mark["kind"].lower()
        if not mark["closing"]:
            opened[kind] += 1
        elif opened[kind]:
            opened[kind] -= 1
        else:
            kept.clear()
    if opened.total():
        raise UnendedThoughtError(f"its thoughts do not end: {', '.join(f'<{kind}>' for kind in sorted(+opened))}")
    return "\n".join([*kept, text[position:]]).strip()


def is_thought_mark(token: str) -> bool:
    """Tell whether a token begins or ends a thought.

    Args:
        token: Text of the token.
    """
    return _MARK.fullmatch(token.strip()) is not None


def opened_at_end(prompt: str) -> str:
    """Return the mark with which a prompt begins the thought that the reply continues, or an empty text.

    Args:
        prompt: Text of the prompt, or the end of it.

    Example:
        >>> opened_at_end("<user>Which one?<assistant><think> "), opened_at_end("<assistant><think></think>")
        ('<think>', '')
    """
    marks = list(_MARK.finditer(prompt))
    if not marks or marks[-1]["closing"] or prompt[marks[-1].end() :].strip():
        return ""
    return marks[-1][0]
