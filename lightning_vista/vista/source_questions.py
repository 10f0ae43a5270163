"""Multiple-choice benchmarks: questions with candidates, as MVBench, and pairs of videos, as Vinoground."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

#: Keys of a pair: positive and negative video and caption.
_PAIR = ("pos_vid", "neg_vid", "pos_cap", "neg_cap")
_LETTER = re.compile(r"\(?([A-Z])[).:]?")
#: Keys of a part of a video, which problem sets cannot name.
_PARTS = ("start", "end")


def is_question(row: Mapping[str, Any]) -> bool:
    """Tell whether a row is a question with candidates and an answer, or a pair of videos and captions.

    Example:
        >>> is_question({"video": "a.mp4", "candidates": ["open", "close"], "answer": "open"})
        True
    """
    return {"candidates", "answer"} <= set(row) or {"videos", "captions"} <= set(row) or set(_PAIR) <= set(row)


def question_rows(
    rows: Iterable[tuple[str, dict[str, Any]]], faults: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Turn questions into rows of videos with descriptions and candidates.

    A description is the question followed by the candidate. Pairs become one problem set of two videos and two
    captions.

    Args:
        rows: Place and values of each question: `video`, `question`, `candidates`, `answer` (a candidate, its number
            from 0, or its letter); or `pos_vid`, `neg_vid`, `pos_cap`, `neg_cap`; or `videos` and `captions`, of which
            the first video shows the first caption, and so on.
        faults: List to which faults are added.

    Yields:
        Place and values of each row, with the columns of `RowReader`.
    """
    for number, (place, row) in enumerate(rows, start=1):
        if set(_PAIR) <= set(row):
            row = {**row, "videos": [row["pos_vid"], row["neg_vid"]], "captions": [row["pos_cap"], row["neg_cap"]]}
        if {"videos", "captions"} <= set(row):
            yield from _pairs(place, row, f"pair_{row.get('index', number)}", faults)
            continue
        answer = _answer(row, faults, place)
        if answer is None:
            continue
        question = " ".join(str(row.get("question") or "").split())
        texts = {str(text): f"{question} {text}".strip() for text in row["candidates"]}
        values: dict[str, Any] = {key: row[key] for key in ("video", "level", "kind") if key in row}
        name = f"question_{row.get('id', row.get('index', number))}"
        yield place, {**values, "set": name, "description": texts[answer], "candidates": list(texts.values())}


def _pairs(place: str, row: Mapping[str, Any], name: str, faults: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    videos, captions = row["videos"], row["captions"]
    if not isinstance(videos, list) or not isinstance(captions, list) or len(videos) != len(captions):
        faults.append(f"{place}: expected as many `videos` as `captions`, got {videos!r:.60} and {captions!r:.60}.")
        return
    for video, caption in zip(videos, captions, strict=True):
        values: dict[str, Any] = {key: row[key] for key in ("level", "kind") if key in row}
        yield place, {**values, "set": name, "video": video, "description": caption}


def _answer(row: Mapping[str, Any], faults: list[str], place: str) -> str | None:
    """Return the candidate that is right, or record the fault."""
    candidates, answer = row.get("candidates"), row.get("answer")
    parts = [key for key in _PARTS if row.get(key) not in (None, "")]
    if parts:
        faults.append(f"{place}: `{parts[0]}`: expected whole videos, got a part of one. Cut the videos first.")
        return None
    if not isinstance(candidates, list) or len(candidates) < 2:
        faults.append(f"{place}: `candidates`: expected a list of at least two texts, got {candidates!r:.80}.")
        return None
    texts = [str(text) for text in candidates]
    if isinstance(answer, int) and 0 <= answer < len(texts):
        return texts[answer]
    if str(answer) in texts:
        return str(answer)
    letter = _LETTER.fullmatch(str(answer).strip())
    if letter and (index := ord(letter[1]) - ord("A")) < len(texts):
        return texts[index]
    faults.append(f"{place}: `answer`: expected one of the candidates, its number or its letter, got {answer!r:.80}.")
    return None
