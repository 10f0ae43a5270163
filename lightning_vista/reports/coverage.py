"""The coverage of a report's figures: partial runs, and problem sets that not every scorer has scored."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_vista.reports.joining import BASELINES
from lightning_vista.vista.tables import ScoreTable


def coverage_of(table: ScoreTable) -> dict[str, Any]:
    """Return the keys of `results.json` that mark a partial run.

    Args:
        table: Score table.

    Returns:
        `{partial: True, videos_scored, videos_planned}`, or nothing if the run is complete or its plan is unknown.

    Example:
        >>> import polars as pl
        >>> coverage_of(ScoreTable(pl.DataFrame({"video": ["0.mp4", "1.mp4"]}), planned=3))
        {'partial': True, 'videos_scored': 2, 'videos_planned': 3}
    """
    if not table.is_partial:
        return {}
    return {"partial": True, "videos_scored": table.num_videos, "videos_planned": table.planned}


def partial_notes(results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a note for each scorer whose run is partial.

    Args:
        results: Content of `results.json`.

    Returns:
        Scorer -> note.

    Example:
        >>> partial_notes({"clip": {"partial": True, "videos_scored": 8, "videos_planned": 13}, "random": {}})
        {'clip': '8 of 13 videos scored: figures of a part'}
    """
    return {
        model: f"{part['videos_scored']:,} of {part['videos_planned']:,} videos scored: figures of a part"
        for model, part in results.items()
        if part.get("partial")
    }


def left_out(results: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Return the problem sets that are left out of comparisons, because some scorer has not scored them in full.

    Args:
        results: Content of `results.json`.

    Returns:
        Problem set id -> scorers that lack its scores; ordered by id.

    Example:
        >>> left_out({"clip": {"common": {"not_scored": ["craft/level_2/remix/a"]}}, "gpt-4o": {}})
        {'craft/level_2/remix/a': ('clip',)}
    """
    lacking: dict[str, list[str]] = {}
    for model, part in results.items():
        for problem_set in part.get("common", {}).get("not_scored", ()):
            lacking.setdefault(problem_set, []).append(model)
    return {problem_set: tuple(models) for problem_set, models in sorted(lacking.items())}


def left_out_note(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the sentence about problem sets that are left out of comparisons; empty without any.

    Args:
        results: Content of `results.json`.

    Example:
        >>> sets = {f"craft/level_2/remix/{name}": {} for name in "abc"}
        >>> common = {"not_scored": ["craft/level_2/remix/a", "craft/level_2/remix/b"]}
        >>> left_out_note({"b": {"problem_sets": {}, "common": common}, "majority": {"problem_sets": sets}})
        '2 of 3 problem sets are left out of the comparison, since not every scorer has scored them: craft 2 (not b).'
    """
    found = left_out(results)
    if not found:
        return ""
    groups = Counter((id.split("/")[0], models) for id, models in found.items())
    where = "; ".join(f"{world} {count} (not {', '.join(models)})" for (world, models), count in groups.items())
    total = len({id for part in results.values() for id in part["problem_sets"]})
    if total == len(found):
        return f"The scorers have no problem set in common, so they are not compared: {where}."
    be = "is" if len(found) == 1 else "are"
    return (
        f"{len(found):,} of {total:,} problem sets {be} left out of the comparison, since not every scorer has scored "
        f"{'it' if len(found) == 1 else 'them'}: {where}."
    )


def single_videos(results: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Return the problem sets in which rescaling could not standardise labels, since a single video is scored.

    Args:
        results: Content of `results.json`.

    Returns:
        Problem set id -> scorers with a single scored video; ordered by id. Empty unless the rescaling is `label` or
        `both`.

    Example:
        >>> part = {"rescaling": "both", "single_video_sets": ["home/level_2/remix/a"]}
        >>> single_videos({"clip": part, "majority": part})
        {'home/level_2/remix/a': ('clip',)}
    """
    found: dict[str, list[str]] = {}
    for model, part in results.items():
        if model not in BASELINES and part["rescaling"] in ("label", "both"):
            for problem_set in part.get("single_video_sets", ()):
                found.setdefault(problem_set, []).append(model)
    return {problem_set: tuple(models) for problem_set, models in sorted(found.items())}


def single_videos_note(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the sentence about problem sets with a single scored video; empty without any.

    Args:
        results: Content of `results.json`.

    Example:
        >>> part = {"rescaling": "both", "single_video_sets": ["home/level_2/remix/a"]}
        >>> single_videos_note({"clip": part})[:61]
        '1 problem set has a single scored video, which leaves nothing'
    """
    count = len(single_videos(results))
    if not count:
        return ""
    have = "set has" if count == 1 else "sets have"
    return (
        f"{count:,} problem {have} a single scored video, which leaves nothing to standardise its labels over: "
        "`both` is `video` there, and `label` is `none`."
    )


def differing_descriptions(results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the problem sets whose descriptions differ between scorers, under the same labels.

    Args:
        results: Content of `results.json`.

    Returns:
        Problem set id -> scorers, those with the same descriptions side by side; both ordered by name.

    Example:
        >>> parts = {"a": {"s": "1f"}, "b": {"s": "2c"}, "c": {"s": "1f"}}
        >>> differing_descriptions({model: {"descriptions": found} for model, found in parts.items()})
        {'s': 'a, c / b'}
    """
    found: dict[str, dict[str, list[str]]] = {}
    for model, part in results.items():
        for id, digest in part.get("descriptions", {}).items():
            found.setdefault(id, {}).setdefault(digest, []).append(model)
    return {
        id: " / ".join(sorted(", ".join(sorted(models)) for models in groups.values()))
        for id, groups in sorted(found.items())
        if len(groups) > 1
    }


def descriptions_note(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the sentence about problem sets with differing descriptions; empty without any.

    Args:
        results: Content of `results.json`.

    Example:
        >>> descriptions_note({"a": {"descriptions": {"s": "1f"}}, "b": {"descriptions": {"s": "2c"}}})
        'Scorers were given different descriptions in 1 problem set, under the same labels: s (a / b).'
    """
    found = differing_descriptions(results)
    if not found:
        return ""
    groups: dict[str, list[str]] = {}
    for id, scorers in found.items():
        groups.setdefault(scorers, []).append(id)
    where = "; ".join(f"{listed(ids)} ({scorers})" for scorers, ids in groups.items())
    sets = "problem set" if len(found) == 1 else "problem sets"
    return f"Scorers were given different descriptions in {len(found):,} {sets}, under the same labels: {where}."


def listed(texts: Sequence[str], shown: int = 3, separator: str = ", ") -> str:
    """Return the first of some texts, and the number of the others.

    Args:
        texts: The texts.
        shown: Number of texts to show.
        separator: Text between two of them.

    Example:
        >>> listed(["a", "b", "c", "d", "e"])
        'a, b, c and 2 others'
    """
    return separator.join(texts[:shown]) + (f" and {len(texts) - shown:,} others" if len(texts) > shown else "")


def gaps(part: Mapping[str, Any]) -> str:
    """Describe the videos that a scorer has not scored, and the problem sets that its table lacks; empty without any.

    Args:
        part: A scorer's part of `results.json`.

    Example:
        >>> gaps({"unscored": {"reasons": {"refused": 2}}, "missing": ["home/level_2/remix/a"]})
        'refused: 2, 1 problem set is not in its table'
    """
    found = [f"{reason}: {count:,}" for reason, count in part.get("unscored", {}).get("reasons", {}).items()]
    missing = len(part.get("missing", ()))
    if missing:
        found.append(f"{missing:,} {'problem set is' if missing == 1 else 'problem sets are'} not in its table")
    return ", ".join(found)


def count_notes(results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a note for each scorer with unscored videos or ties, each video counted once per problem set.

    Args:
        results: Content of `results.json`.

    Returns:
        Scorer -> note.

    Example:
        >>> sets = {"home/level_2/remix/a": {"videos": 9}}
        >>> unscored = {"videos": 2, "reasons": {"refused": 2}}
        >>> count_notes({"clip": {"problem_sets": sets, "unscored": unscored, "ties": 1}})
        {'clip': '2 of 9 (video, problem set) pairs unscored (refused: 2), 1 tie'}
    """
    notes = {}
    for model, part in results.items():
        unscored, ties = part.get("unscored", {}), part.get("ties", 0)
        pairs = sum(entry["videos"] for entry in part.get("problem_sets", {}).values())
        texts = []
        if unscored.get("videos"):
            reasons = gaps({"unscored": unscored})
            texts.append(f"{unscored['videos']:,} of {pairs:,} (video, problem set) pairs unscored ({reasons})")
        if ties:
            texts.append(f"{ties:,} {'tie' if ties == 1 else 'ties'}" + ("" if texts else f" in {pairs:,} pairs"))
        if texts and model not in BASELINES:
            notes[model] = ", ".join(texts)
    return notes
