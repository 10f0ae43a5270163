from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch

from lightning_vista.text import Labelling, Row, label_rows, write_token_shards
from lightning_vista.text.token_shards import TokenStream, find_token_shards, read_token_shards

ROWS = [Row(torch.arange(2 + number % 3, dtype=torch.int32) + 70_000, number % 4 == 0, number) for number in range(50)]


def stream(folder: Path, **options: bool | int) -> TokenStream:
    shards = find_token_shards(folder)
    assert shards is not None
    return TokenStream(shards["train"], 4, 0, partial(label_rows, labelling=Labelling()), **options)  # type: ignore[arg-type]


def test_rows_come_back_and_bytes_stay_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_token_shards({"train": ROWS, "test": ROWS[:3]}, tmp_path / name, rows_per_shard=20)
    shards, again = find_token_shards(tmp_path / "a"), find_token_shards(tmp_path / "b")
    assert shards is not None
    assert again is not None
    assert {split: len(paths) for split, paths in shards.items()} == {"train": 3, "test": 1}
    assert [path.read_bytes() for path in shards["train"]] == [path.read_bytes() for path in again["train"]]
    for row, copy in zip(ROWS, read_token_shards(shards["train"]), strict=True):
        assert torch.equal(row.tokens, copy.tokens)
        assert row[1:] == copy[1:]
    with pytest.raises(FileExistsError, match="expected a folder that is empty"):
        write_token_shards({}, tmp_path / "a")
    assert find_token_shards(tmp_path) is None


@pytest.mark.parametrize("rows_per_shard", [5, 50])  # more shards than processes, and fewer
def test_processes_share_a_pass(tmp_path: Path, rows_per_shard: int) -> None:
    write_token_shards({"train": ROWS}, tmp_path, rows_per_shard)
    seen: list[int] = []
    for rank in range(2):
        rows = stream(tmp_path, rank=rank, world_size=2)._rows()
        seen += [row.number for row in islice(rows, 25)]
    assert sorted(seen) == list(range(50))
    assert seen != list(range(50))


def test_batches_of_one_group_without_end(tmp_path: Path) -> None:
    write_token_shards({"train": ROWS}, tmp_path, 10)
    batches = list(islice(stream(tmp_path, homogeneous=True), 40))
    assert all(len(batch["known"]) == 4 and len(batch["known"].unique()) == 1 for batch in batches)
    assert {int(batch["known"][0]) for batch in batches} == {0, 1}
    assert all(torch.equal(batch["known"], batch["is_forget"]) for batch in batches)
    with pytest.raises(ValueError, match="expected one process for token shards, got 2"):
        stream(tmp_path, homogeneous=True, world_size=2)


def test_unlabelled_batches_of_one_kind(tmp_path: Path) -> None:
    write_token_shards({"train": ROWS}, tmp_path, 10)
    for of_one_kind in (False, True):
        unlabelled = stream(tmp_path, homogeneous=True, of_one_kind=of_one_kind)
        unlabelled.label = partial(label_rows, labelling=Labelling(forget=0, retain=0))
        kinds = [len(batch["is_forget"].unique()) for batch in islice(unlabelled, 40)]
        assert set(kinds) == ({1} if of_one_kind else {1, 2})
