"""ViSTa as a task of lmms-eval: questions, answers and figures.

`lightning-vista export lmms-eval` copies this file beside the task's YAML, so it imports nothing of this package.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def vista_doc_to_visual(doc: Mapping[str, Any]) -> list[str]:
    """Return the path of a question's video.

    Args:
        doc: Line of `test.jsonl`.
    """
    return [str(_HERE / "videos" / doc["video"])]


def vista_doc_to_text(doc: Mapping[str, Any], lmms_eval_specific_kwargs: Mapping[str, str] | None = None) -> str:
    """Return the question about a video.

    Args:
        doc: Line of `test.jsonl`.
        lmms_eval_specific_kwargs: `pre_prompt` and `post_prompt`, as lmms-eval gives them.

    Example:
        >>> print(vista_doc_to_text({"descriptions": ["We see a ball", "We see a cup"], "answers": [2], "hint": ""}))
        Which description fits the video?
        1. We see a ball
        2. We see a cup
        Answer with the number of the description only.
    """
    words = lmms_eval_specific_kwargs or {}
    count = len(doc["answers"])
    listed = [f"{number}. {description}" for number, description in enumerate(doc["descriptions"], 1)]
    ask = "Which description fits the video?" if count == 1 else f"Which {count} descriptions fit the video?"
    end = (
        "number of the description" if count == 1 else f"{count} numbers of the descriptions, with commas between them,"
    )
    lines = [*([doc["hint"]] if doc["hint"] else []), ask, *listed, f"Answer with the {end} only."]
    return words.get("pre_prompt", "") + "\n".join(lines) + words.get("post_prompt", "")


def vista_doc_to_target(doc: Mapping[str, Any]) -> str:
    """Return the right answer to a question.

    Args:
        doc: Line of `test.jsonl`.
    """
    return ", ".join(map(str, doc["answers"]))


def vista_process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read a reply, for the metrics of all questions, of its kind and of its level.

    The first numbers of the reply are the answer, as many as descriptions are right. A reply with fewer, or with a
    number that is not in the list, is wrong; nothing is guessed.

    Args:
        doc: Line of `test.jsonl`.
        results: The reply, as the only entry.

    Returns:
        Metric -> problem set with right and given answers.
    """
    numbers = list(dict.fromkeys(map(int, re.findall(r"(?<![\d.])\d+(?!\.?\d)", results[0]))))[: len(doc["answers"])]
    known = all(1 <= number <= len(doc["descriptions"]) for number in numbers)
    given = numbers if known and len(numbers) == len(doc["answers"]) else []
    item = {"problem_set": doc["problem_set"], "answers": list(doc["answers"]), "given": given}
    names = (
        "vista_macro_f1",
        f"vista_macro_f1_{doc['kind']}",
        f"vista_macro_f1_level_{doc['level']}",
        "vista_accuracy",
    )
    return {name: item for name in (*names, "vista_unread")}


def vista_macro_f1(items: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean, over problem sets, of macro F1 over the labels that are right or given (ViSTa, section 4).

    Args:
        items: Results of `vista_process_results`.

    Example:
        >>> vista_macro_f1([{"problem_set": "a", "answers": [1], "given": [1]}])
        1.0
    """
    sets: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        sets.setdefault(item["problem_set"], []).append(item)
    means = [_macro_f1(members) for members in sets.values()]
    return sum(means) / len(means)


def vista_accuracy(items: Sequence[Mapping[str, Any]]) -> float:
    """Return the share of questions whose answers are all right.

    Args:
        items: Results of `vista_process_results`.
    """
    return sum(set(item["answers"]) == set(item["given"]) for item in items) / len(items)


def vista_unread(items: Sequence[Mapping[str, Any]]) -> float:
    """Return the share of replies without a usable answer.

    Args:
        items: Results of `vista_process_results`.
    """
    return sum(not item["given"] for item in items) / len(items)


def _macro_f1(members: Sequence[Mapping[str, Any]]) -> float:
    labels = {label for item in members for label in (*item["answers"], *item["given"])}
    scores = []
    for label in labels:
        right = sum(label in item["answers"] and label in item["given"] for item in members)
        involved = sum((label in item["answers"]) + (label in item["given"]) for item in members)
        scores.append(2 * right / involved)
    return sum(scores) / len(scores)
