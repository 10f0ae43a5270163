"""The score table: scores and truth of every (video, candidate description), in one parquet file."""

# ruff: noqa: E402  # the check comes first, because its error names the extra to install

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_vista.optional import require

require("polars", extra="vista")

import polars as pl

from lightning_vista.files.documents import parse_json
from lightning_vista.files.own_files import (
    EMPTY_SEAL,
    SEAL_KEY,
    VERSION_KEY,
    DamagedFileError,
    is_sealed,
    write_sealed,
)
from lightning_vista.vista.frame_order import CONTROLS, FORWARD
from lightning_vista.vista.problem_sets import FaultsError, ProblemSet, declared_held_out, outline

TABLE_NAME = "scores.parquet"
_VERSION = "1"
SCORE_COLUMNS: dict[str, type[pl.DataType]] = {
    "model": pl.String,
    "problem_set": pl.String,
    "video": pl.String,
    "label": pl.String,
    "score": pl.Float64,
    "target": pl.Boolean,
    "reason": pl.String,
}
#: The column of the file that names the order of the frames; only files with controls have it.
ORDER_COLUMN = "order"
_KEY = ["problem_set", "video", "label"]
#: Entries of the file's metadata that hold JSON.
_DECLARED = ("kinds", "descriptions", "held_out", "is_baseline")


class ScoreTableError(FaultsError):
    """A broken score table; `errors` names the column and the remedy of every fault."""


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one model.

    Attributes:
        rows: Frame with the columns `SCORE_COLUMNS`, one row per (video, candidate), ordered by problem set, video and
            then label, in the order in which the problem set lists its labels. A null score means unscored.
        config_hash: Hash of the configuration that gave the scores; empty if unknown.
        kinds: Problem set id -> kind, for the sets whose type folder does not determine it.
        planned: Number of videos that the run was to score; None if unknown. A run with fewer is partial.
        controls: Control of frame order (see `frame_order`) -> its rows, which equal `rows` except for scores and
            reasons; empty for a run without controls.
        descriptions: Problem set id -> label -> description; empty in tables that were written without them.
        held_out: Problem set id -> whether its combinations (such as a colour and an object) were held out of training,
            for the sets that declare it.
        is_baseline: Whether the scores were drawn at random, so that reports compare nobody with this table.
    """

    rows: pl.DataFrame
    config_hash: str = ""
    kinds: Mapping[str, str] = field(default_factory=dict)
    planned: int | None = None
    controls: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    descriptions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    held_out: Mapping[str, bool] = field(default_factory=dict)
    is_baseline: bool = False

    @property
    def model(self) -> str:
        """Name of the scorer."""
        return str(self.rows["model"][0])

    @property
    def problem_sets(self) -> tuple[str, ...]:
        """Ids of the problem sets, sorted."""
        return tuple(self.rows["problem_set"].unique().sort())

    @property
    def num_videos(self) -> int:
        """Number of videos with rows."""
        return self.rows["video"].n_unique()

    @property
    def is_partial(self) -> bool:
        """Say whether the run scored fewer videos than planned, as with `limit_test_batches`."""
        return self.planned is not None and self.num_videos < self.planned


def write_scores(
    rows: pl.DataFrame | Iterable[Mapping[str, object]],
    path: str | Path,
    *,
    config_hash: str = "",
    kinds: Mapping[str, str] | None = None,
    planned: int | None = None,
    controls: Mapping[str, pl.DataFrame | Iterable[Mapping[str, object]]] | None = None,
    problem_sets: Iterable[ProblemSet] = (),
    is_baseline: bool = False,
) -> ScoreTable:
    """Write a score table; the file appears whole or not at all, and the same rows give the same bytes.

    The file holds a version and a checksum of all its bytes in its metadata.

    Args:
        rows: Rows with the keys of `SCORE_COLUMNS`, in any order of videos; a NaN score becomes null. Within a
            problem set the labels come in the set's own order, which decides ties. `target` may be null in every
            row (a prediction); `reason` says why a video is unscored.
        path: File to write, usually `scores.parquet`; its folder is created.
        config_hash: Hash of the scorer's configuration, stored in the file's metadata beside the scorer's name.
        kinds: Problem set id -> kind for sets whose type folder does not determine it (`declared_kinds`).
        planned: Number of videos that the run was to score. If the rows have fewer, the file says so.
        controls: Control of frame order -> rows of the same videos and labels. With controls, the file has one more
            column, `order`: `forward` for `rows`, else the control.
        problem_sets: Problem sets of the rows, whose descriptions and held-out marks the file then holds.
        is_baseline: Whether the scores were drawn at random.

    Returns:
        The table as `read_scores` will return it.

    Raises:
        ScoreTableError: If the rows are not a score table; the message lists all faults.

    Example:
        >>> import tempfile
        >>> row = {"model": "clip", "problem_set": "home/level_2/remix/a", "video": "home/0.mp4", "reason": None}
        >>> rows = [
        ...     {**row, "label": "ab", "score": 0.5, "target": True},
        ...     {**row, "label": "ba", "score": 0.1, "target": False},
        ... ]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = write_scores(rows, Path(folder) / "scores.parquet", config_hash="1f3a")
        ...     table = read_scores(folder)
        >>> table.model, table.config_hash, table.rows["score"].to_list()
        ('clip', '1f3a', [0.5, 0.1])
    """
    target = Path(path)
    problem_sets = tuple(problem_sets)
    orders = {FORWARD: rows, **(controls or {})}
    frames = {
        order: own if isinstance(own, pl.DataFrame) else score_frame(own, target) for order, own in orders.items()
    }
    described = {item.id: dict(item.descriptions) for item in problem_sets}
    held_out = declared_held_out(problem_sets)
    table = replace(
        _checked_orders(frames, target, config_hash, kinds or {}),
        planned=planned,
        descriptions=described,
        held_out=held_out,
        is_baseline=is_baseline,
    )
    metadata = {VERSION_KEY: _VERSION, SEAL_KEY: EMPTY_SEAL, "scorer": table.model, "config_hash": config_hash}
    metadata["kinds"] = json.dumps(table.kinds, sort_keys=True)
    if table.is_partial:
        metadata["planned"] = str(planned)
    # Not sorted: the order of the labels is that of the problem set.
    texts = {"descriptions": described, "held_out": held_out, "is_baseline": is_baseline}
    metadata |= {name: json.dumps(value, ensure_ascii=False) for name, value in texts.items() if value}
    content = io.BytesIO()
    _with_order(table).write_parquet(content, metadata=metadata)
    write_sealed(target, content.getvalue())
    return table


def read_scores(path: str | Path) -> ScoreTable:
    """Read and check a score table.

    A table of another tool, or of an earlier release, has no checksum and is read without.

    Args:
        path: A parquet file with the columns `SCORE_COLUMNS` and, where it holds controls, `order`; or the run folder
            that holds `scores.parquet`.

    Returns:
        The table, with its rows in order.

    Raises:
        FileNotFoundError: If the file does not exist.
        ScoreTableError: If the file is damaged or not a score table; the message lists all faults.
    """
    file = Path(path) / TABLE_NAME if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"No score table at {file}. Give a run folder, or the {TABLE_NAME} in it.")
    frame, metadata, declared = _read_parquet(file)
    planned = metadata.get("planned")
    table = _checked_orders(_by_order(frame), file, metadata.get("config_hash", ""), declared.pop("kinds"))
    return replace(table, planned=None if planned is None else int(planned), **declared)


def _read_parquet(file: Path) -> tuple[pl.DataFrame, dict[str, str], dict[str, Any]]:
    """Return the rows, the metadata and what it declares of the problem sets, after checking the file's bytes."""
    content, remedy = file.read_bytes(), "Restore it from a copy, or remove it and run `test` again."
    try:
        # Before anything is parsed: damaged lengths make a parquet reader panic, or ask for any amount of memory.
        sealed = is_sealed(content, file, remedy)
        metadata = pl.read_parquet_metadata(io.BytesIO(content))
        version = metadata.get(VERSION_KEY)
        if version not in (None, _VERSION):
            raise DamagedFileError(f"{file}: expected version {_VERSION}, got {version!r}. {remedy}")
        if version is not None and not sealed:
            raise DamagedFileError(f"{file} is damaged: it has no checksum. {remedy}")
        declared = {name: parse_json(metadata[name]) for name in _DECLARED if name in metadata}
        return pl.read_parquet(io.BytesIO(content)), metadata, {"kinds": {}} | declared
    except DamagedFileError as error:
        raise ScoreTableError(f"the score table {file}", [str(error)]) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OSError) as error:
        raise ScoreTableError(
            f"the score table {file}", [f"expected a parquet file as `test` writes it, got: {error}"]
        ) from error


def order_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort rows into the order of a score table.

    Args:
        rows: A frame with the columns `problem_set`, `video` and `label`, and any others.

    Returns:
        The same rows by problem set, video, and the position at which the problem set's label first occurs.

    Example:
        >>> rows = pl.DataFrame({"problem_set": ["s"] * 4, "video": [*"bbaa"], "label": ["yes", "no", "no", "yes"]})
        >>> order_rows(rows)["label"].to_list()
        ['yes', 'no', 'yes', 'no']
    """
    listed = rows.with_row_index("_order").with_columns(pl.col("_order").min().over("problem_set", "label"))
    return listed.sort("problem_set", "video", "_order").drop("_order")


def score_frame(rows: Iterable[Mapping[str, object]], source: Path) -> pl.DataFrame:
    """Return rows as a frame of `SCORE_COLUMNS`.

    Args:
        rows: Rows with the keys of `SCORE_COLUMNS`. A key that a row lacks is a fault, not a null.
        source: File that the rows are for, for errors.

    Raises:
        ScoreTableError: If a row has other keys, or a value is of another type.
    """
    columns: dict[str, list[object]] = {name: [] for name in SCORE_COLUMNS}
    for number, row in enumerate(rows):
        if row.keys() != columns.keys():
            raise ScoreTableError(f"the score table {source}", [f"row {number}: {_difference(row.keys())}"])
        for name, values in columns.items():
            values.append(row[name])
    try:
        return pl.DataFrame(columns, schema=SCORE_COLUMNS)
    except TypeError as error:
        raise ScoreTableError(f"the score table {source}", [f"expected {_schema_text()}, got: {error}"]) from error


def _with_order(table: ScoreTable) -> pl.DataFrame:
    """Return the rows of a file: those of the table or, where it has controls, all rows with the column `order`."""
    if not table.controls:
        return table.rows
    orders = {FORWARD: table.rows, **table.controls}
    return pl.concat(rows.with_columns(pl.lit(order).alias(ORDER_COLUMN)) for order, rows in orders.items())


def _by_order(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the rows of each order of frames, in any order; all rows are `forward` in a file without controls."""
    if ORDER_COLUMN not in frame.columns:
        return {FORWARD: frame}
    parts = frame.partition_by(ORDER_COLUMN, as_dict=True, include_key=False, maintain_order=True)
    return {str(order): rows for (order,), rows in parts.items()}


def _checked_orders(
    frames: Mapping[str, pl.DataFrame], source: Path, config_hash: str, kinds: Mapping[str, str]
) -> ScoreTable:
    """Return the table of the frame of each order of frames, or raise `ScoreTableError` with the faults of one."""
    known = (FORWARD, *CONTROLS)
    unknown = sorted(set(frames) - set(known))
    if unknown or FORWARD not in frames:
        got = ", ".join(map(repr, frames)) or "no rows"
        fault = f"column `{ORDER_COLUMN}`: expected {FORWARD!r} and any of {', '.join(CONTROLS)}, got {got}."
        raise ScoreTableError(f"the score table {source}", [f"{fault} Run `test` with `evaluation.controls`."])
    tables = {order: _checked(frames[order], source, config_hash, kinds) for order in known if order in frames}
    table = tables.pop(FORWARD)
    return replace(table, controls={order: _aligned(own, table, order, source) for order, own in tables.items()})


def _aligned(control: ScoreTable, table: ScoreTable, order: str, source: Path) -> pl.DataFrame:
    """Return the rows of a control in the order of the table's, or raise unless they are of the same pairs."""
    rows = table.rows.select(_KEY).join(control.rows, on=_KEY, how="inner", maintain_order="left")
    same = ["model", *_KEY, "target"]
    if rows.height != control.rows.height or not rows.select(same).equals(table.rows.select(same)):
        fault = (
            f"column `{ORDER_COLUMN}`: expected for {order!r} the model, videos, labels and targets of {FORWARD!r}, "
            "got others. Score every video in every order."
        )
        raise ScoreTableError(f"the score table {source}", [fault])
    return rows.select(*SCORE_COLUMNS)


def _checked(frame: pl.DataFrame, source: Path, config_hash: str, kinds: Mapping[str, str]) -> ScoreTable:
    """Return the table of a frame, with its rows in order, or raise `ScoreTableError` with all its faults."""
    if set(frame.columns) != set(SCORE_COLUMNS):
        raise ScoreTableError(f"the score table {source}", [_difference(frame.columns)])
    # In files of other tools, a column that holds only nulls has the type Null. It fits any type.
    empty = [name for name, dtype in frame.schema.items() if dtype == pl.Null]
    rows = frame.select(*SCORE_COLUMNS).with_columns(pl.col(name).cast(SCORE_COLUMNS[name]) for name in empty)
    mistyped = [
        f"column `{name}`: expected {dtype.__name__}, got {rows.schema[name]}. Cast it."
        for name, dtype in SCORE_COLUMNS.items()
        if rows.schema[name] != dtype
    ]
    if mistyped:
        raise ScoreTableError(f"the score table {source}", mistyped)
    rows = order_rows(rows.with_columns(pl.col("score").fill_nan(None)))
    if faults := list(_content_faults(rows, kinds)):
        raise ScoreTableError(f"the score table {source}", faults)
    present = set(rows["problem_set"].unique())
    return ScoreTable(rows, config_hash, {id: kind for id, kind in sorted(kinds.items()) if id in present})


def _content_faults(rows: pl.DataFrame, kinds: Mapping[str, str]) -> Iterator[str]:
    """Yield the faults of rows that have the right columns and types, one line each."""
    if rows.is_empty():
        yield "expected one row per (video, candidate), got no rows. Run `test` or `predict` first."
        return
    for name in ("model", *_KEY):
        if count := rows[name].null_count():
            yield f"column `{name}`: expected text in every row, got {count} null(s). Fill them in."
    models = rows["model"].drop_nulls().unique().sort().to_list()
    if len(models) != 1:
        got = ", ".join(models) or "none"
        yield f"column `model`: expected one model per table, got {got}. Write a table for each."
    if rows["score"].is_infinite().any():
        yield "column `score`: expected finite numbers, got infinity. Write null where a video is unscored."
    for id in rows["problem_set"].drop_nulls().unique().sort():
        try:
            outline(id, kinds)
        except ValueError as error:
            yield f"column `problem_set`: {error}"
    yield from _row_faults(rows)


def _row_faults(rows: pl.DataFrame) -> Iterator[str]:
    """Yield the faults of rows in order that are repeated, absent, or without a true label."""
    # The rows of a video are neighbours. Numbers of runs take far less memory than groups of texts.
    repeated = rows.filter(pl.struct(_KEY).rle_id().is_duplicated()).unique(_KEY, maintain_order=True)
    if not repeated.is_empty():
        yield f"expected one row per (video, candidate), got several for {_examples(repeated, _KEY)}. Keep one of each."
    names, candidates = pl.col("problem_set", "video").first(), pl.col("label").n_unique()
    is_true = pl.col("target").any(ignore_nulls=False).alias("true")
    pairs = rows.group_by(pl.struct("problem_set", "video").rle_id().alias("pair"), maintain_order=True)
    videos = pairs.agg(names, candidates.alias("got"), is_true)
    sets = rows.group_by("problem_set").agg(candidates.alias("expected"))
    partial = videos.join(sets, on="problem_set", maintain_order="left").filter(pl.col("got") != pl.col("expected"))
    if not partial.is_empty():
        columns = ["problem_set", "video", "got", "expected"]
        yield (
            "column `label`: expected every label of the problem set for each of its videos, got fewer for "
            f"{_examples(partial, columns)} (got, expected). Add the rows, with null scores where there are none."
        )
    nulls = rows["target"].null_count()
    if 0 < nulls < rows.height:
        yield (
            f"column `target`: expected true or false in every row, or null in all, got {nulls} null(s) in "
            f"{rows.height} rows. Give the true labels of every video."
        )
    elif not nulls and not videos["true"].all():
        untrue = videos.filter(~pl.col("true"))
        yield (
            "column `target`: expected at least one true label per video, got none for "
            f"{_examples(untrue, ['problem_set', 'video'])}. Mark it, or leave the video out."
        )


def _examples(rows: pl.DataFrame, columns: list[str], shown: int = 3) -> str:
    """Return the first few rows as text, and the number of the others."""
    text = "; ".join(" / ".join(map(str, row)) for row in rows.select(columns).head(shown).iter_rows())
    return text + (f" and {rows.height - shown} more" if rows.height > shown else "")


def _difference(columns: Iterable[str]) -> str:
    """Describe the difference between column names and those of a score table."""
    got = set(columns)
    missing = ", ".join(name for name in SCORE_COLUMNS if name not in got)
    unknown = ", ".join(sorted(got - set(SCORE_COLUMNS)))
    parts = [f"missing: {missing}"] * bool(missing) + [f"unknown: {unknown}"] * bool(unknown)
    return f"expected the columns {_schema_text()}, got others; {'; '.join(parts)}. Add or drop them."


def _schema_text() -> str:
    """Return the columns with their types, as text."""
    return ", ".join(f"{name} ({dtype.__name__})" for name, dtype in SCORE_COLUMNS.items())
