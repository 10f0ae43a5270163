"""WebDataset shards of tokens, for corpora that do not fit in memory."""

import io
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from lightning_vista.optional import require
from lightning_vista.text.rows import Batch, Row, collate_rows

_INDEX = "index.json"
_VERSION = 1


def write_token_shards(splits: Mapping[str, Iterable[Row]], folder: str | Path, rows_per_shard: int = 10_000) -> None:
    """Write rows of tokens to `<folder>/<split>/<number>.tar`; the same rows give the same bytes.

    Args:
        splits: Split -> its rows, in an order that is already mixed.
        folder: A folder that does not exist yet, or is empty.
        rows_per_shard: How many rows make a shard.

    Raises:
        FileExistsError: If there is something in the folder.
        ModuleNotFoundError: If webdataset is missing; the message names the extra.
    """
    root = Path(folder)
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(f"{root}: expected a folder that is empty or does not exist; name another, or remove it.")
    written = {split: _write_split(iter(rows), root / split, rows_per_shard) for split, rows in splits.items()}
    (root / _INDEX).write_text(json.dumps({"version": _VERSION, "rows": written}, indent=1), encoding="utf-8")


def find_token_shards(folder: str | Path) -> dict[str, list[Path]] | None:
    """The shards of a folder by split, or None if it does not hold any.

    Raises:
        ValueError: If another version of this package has written them.
    """
    index = Path(folder) / _INDEX
    if not index.is_file():
        return None
    content = json.loads(index.read_text(encoding="utf-8"))
    if content.get("version") != _VERSION or "rows" not in content:
        raise ValueError(f"{index}: expected token shards of version {_VERSION}, got {content}; write them again.")
    return {split: sorted((Path(folder) / split).glob("*.tar")) for split in content["rows"]}


def read_token_shards(shards: Iterable[Path]) -> Iterator[Row]:
    """The rows of shards, in order.

    Raises:
        ModuleNotFoundError: If webdataset is missing; the message names the extra.
    """
    reading = require("webdataset", extra="vista").tariterators
    for sample in reading.group_by_keys(reading.tar_file_expander(_open(shards))):
        # Nothing is unpickled, since shards may be anybody's.
        tokens = np.load(io.BytesIO(sample["npy"]), allow_pickle=False).astype(np.int32)
        number = int(sample["__key__"].partition("-")[0])
        yield Row(torch.from_numpy(tokens), sample["cls"] == b"1", number)


class TokenStream(IterableDataset[Batch]):
    """Shuffled batches from shards, without end: training ends by its number of steps.

    Shards are dealt to processes and workers; where there are too few, each reads all and keeps every n-th row.

    Args:
        shards: The shards.
        batch_size: Rows in a batch.
        padding: The token to pad with.
        label: Tells what is known of rows, and leaves some out.
        homogeneous: Whether all rows of a batch are known to be of one group.
        seed: Another seed shuffles otherwise.
        rank: The number of this process.
        world_size: The number of processes.
        shuffle_buffer: How many rows wait to be drawn from at random.

    Raises:
        ValueError: If batches are to be homogeneous on several processes, whose groups would differ.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        batch_size: int,
        padding: int,
        label: Callable[[Iterable[Row]], Iterator[Row]],
        *,
        homogeneous: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle_buffer: int = 10_000,
    ) -> None:
        if homogeneous and world_size > 1:
            raise ValueError("Token shards give homogeneous batches on one process only: set `devices: 1`.")
        self.shards, self.batch_size, self.padding, self.label = list(shards), batch_size, padding, label
        self.homogeneous, self.seed, self.shuffle_buffer = homogeneous, seed, shuffle_buffer
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[Batch]:
        waiting: dict[int, list[Row]] = defaultdict(list)
        for row in self._rows():
            rows = waiting[row.known if self.homogeneous else 0]
            rows.append(row)
            if len(rows) == self.batch_size:
                yield collate_rows(rows, self.padding)
                rows.clear()

    def _rows(self) -> Iterator[Row]:
        """This worker's rows, in passes over the shards."""
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        mine, consumers = number * self.world_size + self.rank, workers * self.world_size
        shuffle = require("webdataset", extra="vista").filters.shuffle
        for epoch in count():
            rng = random.Random(f"{self.seed} {epoch}")
            shards = rng.sample(self.shards, len(self.shards))
            rows = read_token_shards(shards[mine::consumers])
            if len(shards) < consumers:
                rows = iter(islice(read_token_shards(shards), mine, None, consumers))
            yield from shuffle(self.shuffle_buffer, initial=self.shuffle_buffer, rng=rng)(self.label(rows))


def _write_split(rows: Iterator[Row], folder: Path, rows_per_shard: int) -> int:
    """Write the shards of a split; returns how many rows they have."""
    folder.mkdir(parents=True)
    total = 0
    for shard, part in enumerate(iter(lambda: list(islice(rows, rows_per_shard)), [])):
        _write_shard(part, folder / f"{shard:06d}.tar")
        total += len(part)
    return total


def _write_shard(rows: Sequence[Row], path: Path) -> None:
    with require("webdataset", extra="vista").TarWriter(str(path), encoder=False, mtime=0) as tar:
        for place, row in enumerate(rows):
            content = io.BytesIO()
            np.save(content, row.tokens.numpy())
            label = b"1" if row.is_forget else b"0"
            tar.write({"__key__": f"{row.number:09d}-{place:06d}", "npy": content.getvalue(), "cls": label})


def _open(shards: Iterable[Path]) -> Iterator[dict[str, object]]:
    """Shards as webdataset takes them, opened by us: so it runs no command that a name might hold."""
    for shard in shards:
        with shard.open("rb") as stream:
            yield {"url": str(shard), "stream": stream}
