"""WebDataset shards of tokens, for corpora that do not fit in memory."""

import hashlib
import io
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from lightning_vista.files.own_files import DamagedFileError, from_sealed_json, write_sealed_json, write_whole
from lightning_vista.optional import require
from lightning_vista.text.rows import Batch, Row, collate_rows

_INDEX = "index.json"
#: Version of the index; 1 has no checksums.
_VERSION = 2
_REMEDY = "Write them again."


def write_token_shards(
    splits: Mapping[str, Iterable[Row]],
    folder: str | Path,
    rows_per_shard: int = 10_000,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write rows of tokens to `<folder>/<split>/<number>.tar`; equal rows give equal bytes.

    Args:
        splits: Rows of each split, in an order that is already mixed.
        folder: Folder that is empty or does not exist yet.
        rows_per_shard: Number of rows in a shard.
        settings: What the rows depend on, for the index, see `check_settings`.

    Raises:
        FileExistsError: If the folder is not empty.
        ModuleNotFoundError: If webdataset is missing; the message names the extra.
    """
    root = Path(folder)
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(
            f"`{root}`: expected a folder that is empty or does not exist, got one with files. Name another one."
        )
    digests: dict[str, str] = {}
    written = {split: _write_split(iter(rows), root, split, rows_per_shard, digests) for split, rows in splits.items()}
    content = json.loads(json.dumps({**(settings or {}), "rows": written, "sha256": digests}, default=str))
    write_sealed_json(root / _INDEX, content, _VERSION)


def find_token_shards(folder: str | Path) -> dict[str, list[Path]] | None:
    """Find the shards of a folder by split; None if it does not contain any.

    Raises:
        ValueError: If a later version of this package wrote them, the index is damaged, or a shard is missing.
    """
    root = Path(folder)
    if not (root / _INDEX).is_file():
        return None
    index = _read_index(root)
    shards = {split: sorted((root / split).glob("*.tar")) for split in index["rows"]}
    found = {path.relative_to(root).as_posix() for paths in shards.values() for path in paths}
    if absent := sorted(index.get("sha256", {}).keys() - found):
        raise ValueError(f"`{root}`: expected the token shards {', '.join(absent)}, which are missing. {_REMEDY}")
    return shards


def check_settings(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Check that token shards hold the rows that other data would give with the same tokenizer and settings.

    Args:
        folder: Folder of the shards.
        settings: `beginning`, the tokens with which texts begin, see `text_beginning`; and `forget`, the options that
            select the texts to forget.

    Raises:
        ValueError: If the shards were written with other ones.
    """
    index = _read_index(folder)
    wanted: dict[str, Any] = json.loads(json.dumps(dict(settings), default=str))
    written = index.get("beginning", [])  # shards without the entry are older than beginnings
    if written != wanted["beginning"]:
        raise ValueError(
            f"`add_bos`: expected token shards whose texts begin with the tokens {wanted['beginning']}, got {written} "
            f"in `{folder}`. Set it to {'true' if written else 'false'}, as for the shards, or write them again."
        )
    forget = index.get("forget", wanted["forget"])  # older ones do not tell
    if forget != wanted["forget"]:
        raise ValueError(
            f"`{folder}`: expected token shards with the texts to forget that are selected by {wanted['forget']}, got "
            f"{forget}. Set these options, or write the shards again: rows keep the choice of when they were written."
        )


def _read_index(folder: str | Path) -> dict[str, Any]:
    index = Path(folder) / _INDEX
    content = from_sealed_json(index.read_bytes(), f"`{index}`", version=_VERSION, sealed_since=2, remedy=_REMEDY)
    if "rows" not in content:
        raise ValueError(f"`{index}`: expected token shards of version {_VERSION}, got {content}. {_REMEDY}")
    return content


def read_token_shards(shards: Iterable[Path]) -> Iterator[Row]:
    """Read the rows of shards, in order.

    Raises:
        ModuleNotFoundError: If webdataset is missing; the message names the extra.
    """
    reading = require("webdataset", extra="vista").tariterators
    for sample in reading.group_by_keys(reading.tar_file_expander(_open(shards))):
        # Nothing is unpickled, since shards may come from anybody.
        tokens = np.load(io.BytesIO(sample["npy"]), allow_pickle=False).astype(np.int32)
        number = int(sample["__key__"].partition("-")[0])
        yield Row(torch.from_numpy(tokens), sample["cls"] == b"1", number)


class TokenStream(IterableDataset[Batch]):
    """Endless shuffled batches from shards; the number of steps ends training.

    Processes and workers share the shards. If there are too few shards, each reads all and keeps every n-th row.

    Args:
        shards: Paths of the shards.
        batch_size: Number of rows in a batch.
        padding: Token for padding.
        label: Function that labels rows, and excludes some.
        homogeneous: Whether all rows of a batch have the same label.
        of_one_kind: Whether all rows of a homogeneous batch are of one true kind, too.
        seed: Random seed of the order.
        rank: Rank of this process.
        world_size: Number of processes.
        shuffle_buffer: Number of rows from which the next one is drawn at random.

    Raises:
        ValueError: If batches should be homogeneous on several processes, whose groups would differ.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        batch_size: int,
        padding: int,
        label: Callable[[Iterable[Row]], Iterator[Row]],
        *,
        homogeneous: bool = False,
        of_one_kind: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle_buffer: int = 10_000,
    ) -> None:
        if homogeneous and world_size > 1:
            raise ValueError(
                f"`homogeneous`: expected one process for token shards, got {world_size}. Set trainer.devices=1."
            )
        self.shards, self.batch_size, self.padding, self.label = list(shards), batch_size, padding, label
        self.homogeneous, self.of_one_kind = homogeneous, of_one_kind
        self.seed, self.shuffle_buffer = seed, shuffle_buffer
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[Batch]:
        waiting: dict[tuple[int, bool], list[Row]] = defaultdict(list)
        for row in self._rows():
            rows = waiting[row.known if self.homogeneous else 0, self.of_one_kind and row.is_forget]
            rows.append(row)
            if len(rows) == self.batch_size:
                yield collate_rows(rows, self.padding)
                rows.clear()

    def _rows(self) -> Iterator[Row]:
        """Yield this worker's rows, in passes over the shards."""
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        # Workers of all processes are numbered so that neighbours in the numbering are on different processes.
        mine, consumers = number * self.world_size + self.rank, workers * self.world_size
        shuffle = require("webdataset", extra="vista").filters.shuffle
        for epoch in count():
            # The order of shards is the same for all workers, so that their parts are disjoint.
            rng = random.Random(f"{self.seed} {epoch}")
            shards = rng.sample(self.shards, len(self.shards))
            rows = read_token_shards(shards[mine::consumers])
            if len(shards) < consumers:
                rows = iter(islice(read_token_shards(shards), mine, None, consumers))
            yield from shuffle(self.shuffle_buffer, initial=self.shuffle_buffer, rng=rng)(self.label(rows))


def _write_split(rows: Iterator[Row], root: Path, split: str, rows_per_shard: int, digests: dict[str, str]) -> int:
    """Write the shards of a split, and note their checksums; returns how many rows they have."""
    (root / split).mkdir(parents=True)
    total = 0
    for shard, part in enumerate(iter(lambda: list(islice(rows, rows_per_shard)), [])):
        name = f"{split}/{shard:06d}.tar"
        content = _pack_shard(part)
        digests[name] = hashlib.sha256(content).hexdigest()
        write_whole(root / name, content)
        total += len(part)
    return total


def _pack_shard(rows: Sequence[Row]) -> bytes:
    packed = io.BytesIO()
    with require("webdataset", extra="vista").TarWriter(packed, encoder=False, mtime=0) as tar:
        for place, row in enumerate(rows):
            content = io.BytesIO()
            np.save(content, row.tokens.numpy())
            label = b"1" if row.is_forget else b"0"
            tar.write({"__key__": f"{row.number:09d}-{place:06d}", "npy": content.getvalue(), "cls": label})
    return packed.getvalue()


def _open(shards: Iterable[Path]) -> Iterator[dict[str, object]]:
    """Check and open shards for webdataset, which would run a command in the name of a shard."""
    for shard in shards:
        content = shard.read_bytes()  # megabytes
        index = shard.parents[1] / _INDEX
        digests = _digests(index, index.stat().st_mtime_ns) if index.is_file() else {}
        expected = digests.get(f"{shard.parent.name}/{shard.name}")
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            raise DamagedFileError(f"`{shard}` is damaged: its content does not match its checksum. {_REMEDY}")
        with io.BytesIO(content) as stream:
            yield {"url": str(shard), "stream": stream}


@lru_cache(maxsize=8)
def _digests(index: Path, changed: int) -> dict[str, str]:
    """Return the checksums of shards from an index of that time; empty for one of an earlier release."""
    digests: dict[str, str] = _read_index(index.parent).get("sha256", {})
    return digests
