"""Sampler of batches: mixed or of one group, in random order or with labelled rows first."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from lightning_vista.text.labelling import UNLABELLED

#: Number of batches whose rows are ordered by length together.
_POOL = 8


class RowBatchSampler(DistributedSampler[list[int]]):
    """Sampler of whole batches, which distributes rows over processes so that each row occurs exactly once.

    As a `DistributedSampler`, it is not replaced by Lightning, which also sets its epoch.

    Args:
        known: Label of each row: 1 labelled forget, 0 labelled retain, -1 unlabelled.
        batch_size: Number of rows in a batch of one process.
        shuffle: Whether each epoch has an order of its own.
        homogeneous: Whether all rows of a batch, on all processes, have the same label, as masking of parameters
            needs it.
        kinds: True kind of each row, 0 or 1, if all rows of a homogeneous batch must be of one kind, too.
        labelled_first: Whether all labelled rows come before all others.
        seed: Random seed of the order.
        rank: Rank of this process.
        world_size: Number of processes.
        even: Whether all processes must have the same number of batches. Then the last rows of a group are dropped if
            they are fewer than the processes.
        lengths: Length of each row, so that rows of similar lengths share a batch, which saves padding. Only with
            `homogeneous` or without `labelled_first`, since it changes which rows come first.

    Example:
        >>> sampler = RowBatchSampler([1, 0, 0, 1, 0], batch_size=2, shuffle=True, homogeneous=True)
        >>> sorted(sorted(batch) for batch in sampler if len(batch) == 2 and 0 in batch)
        [[0, 3]]
    """

    def __init__(
        self,
        known: Sequence[int],
        batch_size: int,
        *,
        shuffle: bool = False,
        homogeneous: bool = False,
        kinds: Sequence[int] | None = None,
        labelled_first: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        even: bool = True,
        lengths: Sequence[int] | None = None,
    ) -> None:
        super().__init__(known, num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.known = torch.tensor(known, dtype=torch.long)
        self.batch_size, self.homogeneous, self.labelled_first, self.even = (
            batch_size,
            homogeneous,
            labelled_first,
            even,
        )
        # Rows of different labels, or kinds, have different numbers. There are two kinds.
        self.groups = self.known if kinds is None else 2 * self.known + torch.tensor(kinds, dtype=torch.long)
        self.lengths = None if lengths is None else torch.tensor(lengths)

    def __iter__(self) -> Iterator[list[int]]:
        return (part.tolist() for part in self._parts())

    def __len__(self) -> int:
        return len(self._parts())

    def _parts(self) -> list[Tensor]:
        """Return the rows of this process in each batch."""
        # With `even`, each process needs a row of every batch: the others would wait for one without.
        needed = self.num_replicas if self.even else self.rank + 1
        return [batch[self.rank :: self.num_replicas] for batch in self._batches() if len(batch) >= needed]

    def _batches(self) -> list[Tensor]:
        """Return the batches of all processes together."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.known), generator=generator) if self.shuffle else torch.arange(len(self.known))
        if self.labelled_first:
            order = order[self._is_unlabelled(order).argsort(stable=True)]
        groups = [order[self.groups[order] == group] for group in self.groups.unique()] if self.homogeneous else [order]
        size = self.batch_size * self.num_replicas
        batches = [batch for rows in groups for batch in self._by_length(rows, _POOL * size).split(size)]
        # Otherwise all batches of a group, or from short to long ones, would follow each other.
        if self.shuffle and (self.homogeneous or self.lengths is not None):
            batches = [batches[place] for place in torch.randperm(len(batches), generator=generator)]
        if self.labelled_first:
            batches.sort(key=lambda batch: float(self._is_unlabelled(batch).float().mean()))
        return batches

    def _by_length(self, rows: Tensor, pool: int) -> Tensor:
        """Return rows in the order of their lengths, within pools of several batches, which differ in each epoch."""
        if self.lengths is None:
            return rows
        return torch.cat([part[self.lengths[part].argsort(stable=True)] for part in rows.split(pool)])

    def _is_unlabelled(self, rows: Tensor) -> Tensor:
        return (self.known[rows] == UNLABELLED).long()
