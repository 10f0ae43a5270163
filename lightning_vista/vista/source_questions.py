"""Multiple-choice benchmarks: questions with candidates, as MVBench, and pairs of videos, as Vinoground."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    return {"candidates", "answer"} <= set(row) or _is_pair(row)


def question_rows(
    rows: Sequence[tuple[str, dict[str, Any]]], faults: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Turn questions into rows of videos with descriptions and candidates.

    A description is the question followed by the candidate. Each question becomes a problem set of its own, named after
    its `id`, `index` or number. Pairs become one problem set of two videos and two captions.

    Args:
        rows: Place and values of each question: `video`, `question`, `candidates`, `answer` (a candidate, its number
            from 0, or its letter); or `pos_vid`, `neg_vid`, `pos_cap`, `neg_cap`; or `videos` and `captions`, of which
            the first video shows the first caption, and so on.
        faults: List to which faults are added.

    Yields:
        Place and values of each row, with the columns of `RowReader`.
    """
    are_places = _are_places(rows)
    names = _names(row for _, row in rows)
    for (place, row), name in zip(rows, names, strict=True):
        if _is_pair(row):
            yield from _pairs(place, row, name, faults)
            continue
        answer = _answer(row, are_places, faults, place)
        if answer is None:
            continue
        question = " ".join(str(row.get("question") or "").split())
        texts = {str(text): f"{question} {text}".strip() for text in row["candidates"]}
        values: dict[str, Any] = {key: row[key] for key in ("video", "level", "kind") if key in row}
        yield place, {**values, "set": name, "description": texts[answer], "candidates": list(texts.values())}


def _is_pair(row: Mapping[str, Any]) -> bool:
    return set(_PAIR) <= set(row) or {"videos", "captions"} <= set(row)


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a different name for each question or pair; many files give the id of the video, which they repeat."""
    names: dict[str, None] = {}
    times: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        keys = ("index",) if _is_pair(row) else ("id", "index")
        own = next((row[key] for key in keys if row.get(key) not in (None, "")), number)
        name = base = f"{'pair' if _is_pair(row) else 'question'}_{str(own).strip()}"
        while name in names:
            times[base] += 1
            name = f"{base}_{times[base] + 1}"
        names[name] = None
    return list(names)


def _pairs(place: str, row: Mapping[str, Any], name: str, faults: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    if set(_PAIR) <= set(row):
        videos, captions = [row["pos_vid"], row["neg_vid"]], [row["pos_cap"], row["neg_cap"]]
    else:
        videos, captions = row["videos"], row["captions"]
    if not isinstance(videos, list) or not isinstance(captions, list) or len(videos) != len(captions):
        faults.append(f"{place}: expected as many `videos` as `captions`, got {videos!r:.60} and {captions!r:.60}.")
        return
    for video, caption in zip(videos, captions, strict=True):
        values: dict[str, Any] = {key: row[key] for key in ("level", "kind") if key in row}
        yield place, {**values, "set": name, "video": video, "description": caption}


def _readings(candidates: Sequence[Any], answer: object) -> tuple[str | None, str | None]:
    """Return the candidate that an answer is, and the one whose number or letter it is; None where there is none."""
    texts = [str(text) for text in candidates]
    letter = _LETTER.fullmatch(str(answer).strip())
    number = ord(letter[1]) - ord("A") if letter else answer
    # Not isinstance: True is an answer to a question, not the number 1.
    counted = texts[number] if type(number) is int and 0 <= number < len(texts) else None
    return (str(answer) if str(answer) in texts else None), counted


def _are_places(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> bool | None:
    """Tell whether the answers of a file are places of candidates; None where they do not say.

    The answers that can be only one of both, a candidate or a place, must agree. In a file of questions such as "How
    many?" with the candidates 2, 3, 4 and 5, the answer 3 alone can be either.
    """
    found = set()
    for _, row in rows:
        if isinstance(row.get("candidates"), list):
            named, counted = _readings(row["candidates"], row.get("answer"))
            if (named is None) != (counted is None):
                found.add(named is None)
    return found.pop() if len(found) == 1 else None


def _answer(row: Mapping[str, Any], are_places: bool | None, faults: list[str], place: str) -> str | None:
    """Return the candidate that is right, or record the fault."""
    candidates, answer = row.get("candidates"), row.get("answer")
    parts = [key for key in _PARTS if row.get(key) not in (None, "")]
    if parts:
        faults.append(f"{place}: `{parts[0]}`: expected whole videos, got a part of one. Cut the videos first.")
        return None
    if not isinstance(candidates, list) or len(candidates) < 2:
        faults.append(f"{place}: `candidates`: expected a list of at least two texts, got {candidates!r:.80}.")
        return None
    named, counted = _readings(candidates, answer)
    if named is not None and counted is not None and named != counted:
        if are_places is None:
            remedy = "the text in quotes, or the letter" if isinstance(answer, int) else "its number from 0"
            faults.append(
                f"{place}: `answer`: expected a candidate or its place, got {answer!r}, which is the candidate "
                f"{named!r} and the place of {counted!r}. The file's other answers do not say which is "
                f"meant. Write {remedy}."
            )
            return None
        return counted if are_places else named
    if named is None and counted is None:
        faults.append(
            f"{place}: `answer`: expected one of the candidates, its number or its letter, got {answer!r:.80}."
        )
    return counted if named is None else named
