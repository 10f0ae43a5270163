"""What every model predicted for every video, in few bytes, so that a page can count confusions by itself."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from torch import Tensor

from lightning_vista.metrics import Rescaling, predict_labels, rescale_scores
from lightning_vista.reports.joining import join_tables
from lightning_vista.vista.tables import ScoreTable

#: A label by its place in the list of labels; a list of several in a multi-label set, of none where unscored.
Prediction = int | list[int]


def predictions(tables: Sequence[ScoreTable], rescalings: Sequence[Rescaling]) -> dict[str, dict[str, Any]]:
    """Labels, videos, truth and predictions of each problem set.

    Args:
        tables: One score table per model, with targets.
        rescalings: The rescalings to predict under.

    Returns:
        Problem set id -> `{"labels": [...], "videos": [...], "truth": [Prediction, ...],
        "predicted": {rescaling: {model: [Prediction, ...]}}}`, the lists in the order of `videos`.

    Raises:
        ValueError: If the tables cannot be compared; it lists why.
    """
    by_set = pl.concat(table.rows for table in tables).group_by("problem_set")
    labels = dict(by_set.agg(pl.col("label").unique(maintain_order=True)).iter_rows())
    return {
        item.outline.id: {
            "labels": labels[item.outline.id],
            "videos": list(item.videos),
            "truth": _places(item.targets),
            "predicted": {
                rescaling: {
                    model: _places(predict_labels(rescale_scores(scores, rescaling), item.targets.sum(dim=1)))
                    for model, scores in item.scores.items()
                }
                for rescaling in rescalings
            },
        }
        for item in join_tables(tables).problem_sets
    }


def _places(chosen: Tensor) -> list[Prediction]:
    """The chosen labels of each row of a mask `(videos, labels)`."""
    rows = [[place for place, is_ in enumerate(row) if is_] for row in chosen.tolist()]
    return [row[0] if len(row) == 1 else row for row in rows]
