"""Score tables as one CSV for leaderboards and spreadsheets, with the texts and places of problem sets."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from lightning_vista.files.csv_tables import plain_cell
from lightning_vista.files.own_files import write_whole
from lightning_vista.vista.index import INDEX_NAME, ShardIndex
from lightning_vista.vista.layout import read_problem_sets
from lightning_vista.vista.problem_sets import outline
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.tables import ScoreTable, read_scores

LEADERBOARD_COLUMNS = (
    "model",
    "config_hash",
    "environment",
    "level",
    "kind",
    "type",
    "problem_set",
    "video",
    "label",
    "description",
    "score",
    "target",
    "reason",
)


def export_leaderboard(runs: Sequence[str | Path], dataset: str | Path, out: str | Path) -> pl.DataFrame:
    """Write the score tables of some models as one CSV: one row for each video and candidate description.

    Args:
        runs: Run folders or score tables, of different models.
        dataset: Source of the descriptions: a folder of shards, or the dataset's `tasks` folder.
        out: CSV file; it appears whole or not at all. Unscored cells are empty, with the reason beside them.

    Returns:
        The table, with the columns `LEADERBOARD_COLUMNS`.

    Raises:
        FileNotFoundError: If a run or the dataset does not exist.
        ValueError: If two tables have the same model, or the dataset lacks a problem set or label of a table.
    """
    tables = [read_scores(run) for run in runs]
    models = [table.model for table in tables]
    if repeated := sorted({model for model in models if models.count(model) > 1}):
        raise ValueError(f"`runs`: expected different models, got {', '.join(repeated)} twice. Leave one of them out.")
    descriptions = _read_descriptions(dataset)
    frame = pl.concat([_with_places(table, descriptions, dataset) for table in tables])
    write_whole(out, frame.with_columns(pl.col(pl.String).map_batches(_plain_texts)).write_csv())
    return frame


def _plain_texts(column: pl.Series) -> pl.Series:
    """Return a column of texts without formulas, see `plain_cell`."""
    plain = {text: plain_cell(text) for text in column.unique().drop_nulls()}
    return column.replace({text: changed for text, changed in plain.items() if changed != text})


def _read_descriptions(dataset: str | Path) -> dict[str, Mapping[str, str]]:
    """Return the descriptions of every problem set, by its id."""
    is_local = Path(dataset).is_dir() and not (Path(dataset) / INDEX_NAME).is_file()
    sets = read_problem_sets(dataset) if is_local else ShardIndex.read(Storage(str(dataset))).problem_sets
    return {problem_set.id: problem_set.descriptions for problem_set in sets}


def _with_places(table: ScoreTable, descriptions: Mapping[str, Mapping[str, str]], dataset: str | Path) -> pl.DataFrame:
    """Return the rows of a table with the columns of the leaderboard."""
    keys = table.rows.select("problem_set", "label").unique(maintain_order=True)
    lacking = [f"{id} ({label})" for id, label in keys.iter_rows() if label not in descriptions.get(id, {})]
    if lacking:
        raise ValueError(
            f"`dataset`: expected the descriptions of all problem sets of {table.model}, got none in {dataset} for "
            f"{', '.join(lacking[:3])}{' and others' if len(lacking) > 3 else ''}. Give the dataset that was scored."
        )
    outlines = {id: outline(id, table.kinds) for id in table.problem_sets}
    places = pl.DataFrame(
        [
            (id, label, it.environment, it.level, it.kind, it.type, descriptions[id][label])
            for id, label in keys.iter_rows()
            for it in (outlines[id],)
        ],
        schema={
            "problem_set": pl.String,
            "label": pl.String,
            "environment": pl.String,
            "level": pl.Int64,
            "kind": pl.String,
            "type": pl.String,
            "description": pl.String,
        },
        orient="row",
    )
    rows = table.rows.join(places, on=["problem_set", "label"], how="left", maintain_order="left")
    return rows.with_columns(config_hash=pl.lit(table.config_hash)).select(LEADERBOARD_COLUMNS)
