"""Joining of score tables by problem set, and predictions from them."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import polars as pl
import torch
from torch import Tensor

from lightning_vista.metrics import Rescaling, predict_labels, rescale_scores
from lightning_vista.vista.problem_sets import ProblemSet, outline
from lightning_vista.vista.tables import ScoreTable, order_rows

BASELINES = ("majority", "random")
ABSENT = "not in the table"
NO_REASON = "no reason given"
_KEY = ["problem_set", "video", "label"]


@dataclass(frozen=True)
class JoinedProblemSet:
    """One problem set with the scores of every model that was run on it.

    Attributes:
        outline: Environment, level, type and kind of the problem set.
        videos: Videos that any table has for the problem set, sorted.
        labels: Labels of the descriptions, in the order of the table.
        targets: True labels `(videos, labels)`, bool.
        scores: Model -> scores `(videos, labels)`, float64; NaN means unscored, or a video that the table lacks.
        complete: Models whose tables have all of the videos, scored or not.
    """

    outline: ProblemSet
    videos: tuple[str, ...]
    labels: tuple[str, ...]
    targets: Tensor
    scores: dict[str, Tensor]
    complete: frozenset[str]

    @property
    def digest(self) -> str:
        """Digest of the videos with their true labels; reports with the same one ask the same of a scorer."""
        truth = [sorted(compress(self.labels, row)) for row in self.targets.tolist()]
        return _digest([sorted(self.labels), list(zip(self.videos, truth, strict=True))])


@dataclass(frozen=True)
class JoinedTables:
    """Score tables joined by problem set.

    Attributes:
        problem_sets: Union of the tables' problem sets, ordered by id.
        unscored: Model -> reason -> number of unscored (problem set, video) pairs.
    """

    problem_sets: tuple[JoinedProblemSet, ...]
    unscored: dict[str, dict[str, int]]


def join_tables(tables: Sequence[ScoreTable]) -> JoinedTables:
    """Join score tables by problem set.

    A video that one table has and another lacks, in a problem set of both, is unscored for the second. So the figures
    of one problem set are always over the same videos. Labels keep the order of the first table that has the set.

    Args:
        tables: Score tables, one per model, all with targets.

    Returns:
        The joined tables.

    Raises:
        ValueError: If `tables` is empty, a name occurs twice or is reserved, targets are missing, or tables disagree
            about a problem set's labels, targets or kind.
    """
    faults = list(_name_faults(tables)) or list(_content_faults(tables))
    if faults:
        raise ValueError("These score tables cannot be compared:\n" + "\n".join(f"  - {fault}" for fault in faults))
    # `slots` are the rows of the union of all tables, in the order of a score table. Every table's scores are aligned
    # with them, so that a problem set is one contiguous slice (videos x labels) of every column.
    rows = pl.concat([table.rows.select(*_KEY, "target") for table in tables])
    slots = order_rows(rows.unique(_KEY, keep="first", maintain_order=True))
    columns = {table.model: _scores_on(slots, table) for table in tables}
    sets = slots.group_by("problem_set", maintain_order=True).agg(
        pl.len(), pl.col("video").unique(maintain_order=True), pl.col("label").unique(maintain_order=True)
    )
    sizes = sets["len"].to_list()
    targets = torch.split(_tensor(slots["target"]), sizes)
    scores = {model: torch.split(_tensor(column["score"]), sizes) for model, column in columns.items()}
    has = {table.model: _num_videos(table) for table in tables}
    kinds = {id: kind for table in tables for id, kind in table.kinds.items()}
    joined = tuple(
        JoinedProblemSet(
            outline(id, kinds),
            tuple(videos),
            tuple(labels),
            targets[number].view(-1, len(labels)),
            {model: parts[number].view(-1, len(labels)) for model, parts in scores.items() if id in has[model]},
            frozenset(model for model, counts in has.items() if counts.get(id) == len(videos)),
        )
        for number, (id, _, videos, labels) in enumerate(sets.iter_rows())
    )
    return JoinedTables(joined, {table.model: _reasons(columns[table.model], table) for table in tables})


def description_versions(tables: Sequence[ScoreTable]) -> dict[str, list[tuple[list[str], Mapping[str, str]]]]:
    """Return the descriptions of each problem set, which tables may word differently under the same labels.

    Args:
        tables: Score tables; those that were written without descriptions add nothing.

    Returns:
        Problem set id -> versions in the order of the tables: names of the scorers, and label -> description.
    """
    found: dict[str, list[tuple[list[str], Mapping[str, str]]]] = {}
    for table in tables:
        for id, texts in table.descriptions.items():
            versions = found.setdefault(id, [])
            names = next((names for names, known in versions if known == texts), None)
            if names is None:
                versions.append(([table.model], texts))
            else:
                names.append(table.model)
    return found


def _num_videos(table: ScoreTable) -> dict[str, int]:
    """Return the number of videos of each problem set of a table."""
    return dict(table.rows.group_by("problem_set").agg(pl.col("video").n_unique()).iter_rows())


def _scores_on(slots: pl.DataFrame, table: ScoreTable) -> pl.DataFrame:
    """Return a table's scores and reasons in the rows of `slots`; missing rows are NaN, with the reason `ABSENT`."""
    if slots.select(_KEY).equals(table.rows.select(_KEY)):  # the usual case, without the memory of a join
        return slots.with_columns(table.rows["score"].fill_null(torch.nan), table.rows["reason"])
    own = table.rows.select(*_KEY, "score", "reason", pl.lit(True).alias("present"))
    joined = slots.join(own, on=_KEY, how="left", maintain_order="left")
    reason = pl.when(pl.col("present").is_null()).then(pl.lit(ABSENT)).otherwise("reason")
    return joined.with_columns(pl.col("score").fill_null(torch.nan), reason.alias("reason"))


def _reasons(scores: pl.DataFrame, table: ScoreTable) -> dict[str, int]:
    """Return the number of unscored videos of the table's problem sets, by reason."""
    videos = scores.filter(pl.col("problem_set").is_in(table.problem_sets)).group_by("problem_set", "video")
    unscored = videos.agg(pl.col("score").is_nan().any(), pl.col("reason").drop_nulls().first()).filter("score")
    counts = unscored.group_by(pl.col("reason").fill_null(NO_REASON)).len().sort("reason")
    return dict(counts.iter_rows())


def description_digests(table: ScoreTable) -> dict[str, str]:
    """Return a digest of the descriptions of each problem set; empty for a table that was written without them.

    Args:
        table: Score table.
    """
    return {id: _digest(sorted(texts.items())) for id, texts in sorted(table.descriptions.items())}


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _tensor(column: pl.Series) -> Tensor:
    """Return a column as a tensor that owns its memory."""
    return torch.tensor(column.to_numpy())


def _name_faults(tables: Sequence[ScoreTable]) -> Iterator[str]:
    """Yield the faults of names that are repeated or reserved, and of tables without targets."""
    if not tables:
        yield "expected at least one score table, got none. Give a run folder or a score table."
    names = [table.model for table in tables]
    for name in sorted(set(names)):
        if name in BASELINES:
            yield f"model {name!r}: this is the name of a baseline. Give the scorer another `name`."
        if names.count(name) > 1:
            yield f"model {name!r}: expected one table, got {names.count(name)}. Give each scorer its own `name`."
    for table in tables:
        if table.rows["target"].null_count():
            yield f"model {table.model!r}: expected targets, got none (a table of `predict`). Run `test`."


def _content_faults(tables: Sequence[ScoreTable]) -> Iterator[str]:
    """Yield the problem sets on which tables disagree."""
    rows = pl.concat([table.rows.select("model", *_KEY, "target") for table in tables])
    labels = rows.group_by("problem_set", "model").agg(pl.col("label").unique().sort())
    differing = labels.group_by("problem_set").agg(pl.col("label").n_unique()).filter(pl.col("label") > 1)
    for id in differing["problem_set"].sort():
        yield f"{id}: expected the same labels in every table. Score the same version of the problem set."
    targets = rows.group_by(_KEY).agg(pl.col("target").n_unique()).filter(pl.col("target") > 1)
    for id, video, label in targets.select(_KEY).sort(_KEY).head(3).iter_rows():
        yield f"{id}: {video} is {label!r} in one table and not in another. Score the same version of the problem set."
    kinds: dict[str, str] = {}
    for id, kind in (pair for table in tables for pair in table.kinds.items()):
        if kinds.setdefault(id, kind) != kind:
            yield f"{id}: kind {kinds[id]!r} in one table and {kind!r} in another. Score the same version."


#: A label by its position in the list of labels; a list of several labels in a multi-label set, empty where unscored.
Prediction = int | list[int]


def predictions(tables: Sequence[ScoreTable], rescalings: Sequence[Rescaling]) -> dict[str, dict[str, Any]]:
    """Return labels, videos, truth and predictions of each problem set.

    Args:
        tables: Score tables, one per model, with targets.
        rescalings: Rescalings under which to predict.

    Returns:
        Problem set id -> `{"labels": [...], "videos": [...], "truth": [Prediction, ...],
        "predicted": {rescaling: {model: [Prediction, ...]}}}`, with lists in the order of `videos`.

    Raises:
        ValueError: If the tables cannot be compared; the message lists the reasons.
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
    """Return the chosen labels of each row of a mask `(videos, labels)`."""
    rows = [[place for place, is_ in enumerate(row) if is_] for row in chosen.tolist()]
    return [row[0] if len(row) == 1 else row for row in rows]
