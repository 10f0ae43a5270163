"""The coverage of a report's figures: runs that scored a part of their videos."""

from collections.abc import Mapping
from typing import Any

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
