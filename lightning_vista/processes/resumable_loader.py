"""A data loader whose batches continue after a resume as if nothing had happened, and the start of its workers."""

import os
import random
from collections.abc import Iterator
from typing import Any, TypeVar

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.seed import pl_worker_init_function
from torch.utils.data import DataLoader

from lightning_vista.processes.stopping import exit_with_parent

T = TypeVar("T")


def init_worker(number: int) -> None:
    """Make a worker of a loader end with its command, even if that is killed, and seed it; a `worker_init_fn`.

    Torch's workers watch the process that forked them, which is a server under the start method "forkserver" (the
    default of Python 3.14) and outlives the command. Lightning seeds only workers without such a function, so this one
    does it in the same way, if `seed_everything(..., workers=True)` was called.

    Args:
        number: Number of the worker, from 0.
    """
    exit_with_parent()
    if int(os.environ.get("PL_SEED_WORKERS", "0")):
        pl_worker_init_function(number)


class ResumableLoader(DataLoader[T]):
    """A `DataLoader` for training that Lightning resumes exactly, in the middle of an epoch or between two.

    The order of an epoch follows from the states of the random generators (torch, numpy, Python) at its beginning. So a
    checkpoint holds these, and those of its own moment. A resumed run takes the former, draws the same order, skips the
    batches that are done, and then takes the latter, so that dropout and noise continue too. Without a resume, it is
    an ordinary loader: it draws the same numbers.

    Skipped batches are fetched, since workers may draw random numbers for them; a dataset with an attribute
    `num_skipped` is told their number, and may yield anything in their place.

    In a run of several processes, all get the states of the first one.

    Args:
        *args: Arguments of `DataLoader`.
        trainer: Trainer of the run, which counts the batches; None outside one.
        **kwargs: Further arguments of `DataLoader`.

    Example:
        >>> list(ResumableLoader([1, 2, 3], batch_size=2))
        [tensor([1, 2]), tensor([3])]
    """

    def __init__(self, *args: Any, trainer: L.Trainer | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("worker_init_fn", init_worker)
        super().__init__(*args, **kwargs)
        self.trainer = trainer
        self._start: dict[str, Any] = {}  # the states at the beginning of the epoch, and the number of its order
        self._resumed: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the generators, for a checkpoint."""
        return {"start": self._start, "now": _random_states()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the states of a checkpoint; the next batch continues from there."""
        self._resumed = state_dict

    def __iter__(self) -> Any:  # torch has no name for the type
        if self._resumed is None:
            self._resumed = self._state_between_epochs()
        if self._resumed is None or self.trainer is None:
            return self._begin()
        # Lazily: Lightning makes the first iterator before it has brought the counts of a resumed run in order, and
        # between that and the first batch, hooks may draw random numbers.
        return self._resume(self.trainer)

    def _state_between_epochs(self) -> dict[str, Any] | None:
        """Return the states of a checkpoint from the end of an epoch, for which Lightning does not hand them out."""
        loop: Any = None if self.trainer is None else self.trainer.fit_loop
        if loop is None or not loop.is_resuming or loop.restarting:
            return None
        states = getattr(loop, "_combined_loader_states_to_load", [])
        numbers = [number for number, each in enumerate(loop._combined_loader.flattened) if each is self]
        found: dict[str, Any] | None = states[numbers[0]] if numbers and len(states) > numbers[0] else None
        return found

    def _begin(self) -> Iterator[T]:
        self._start = {**_random_states(), "epoch": getattr(self.sampler, "epoch", None)}
        return super().__iter__()

    def _resume(self, trainer: L.Trainer) -> Iterator[T]:
        resumed, self._resumed = self._resumed or {}, None
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        epochs: Any = trainer.fit_loop.epoch_progress
        if epochs.current.ready == epochs.current.processed:
            # From a checkpoint of an epoch's last step, Lightning ends that epoch and does not count the next one, in
            # which a further checkpoint would then pass for one between two epochs.
            epochs.increment_ready()
            epochs.increment_started()
        _set_random_states(resumed["start"] if done else resumed["now"])
        # By now, Lightning has told the epoch to the sampler; but to one that it has made anew it does so too late.
        is_new = bool(trainer.reload_dataloaders_every_n_epochs)  # type: ignore[attr-defined] # set by connectors
        epoch = resumed["start"]["epoch"] if done else 0 if is_new else None
        if epoch is not None and hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)
        if hasattr(self.dataset, "num_skipped"):
            self.dataset.num_skipped = done
        batches = self._begin()
        for _ in range(done):
            next(batches)
        if hasattr(self.dataset, "num_skipped"):
            self.dataset.num_skipped = 0
        if done:
            _set_random_states(resumed["now"])
        yield from batches


def _random_states() -> dict[str, Any]:
    """Return the states of all generators, as values that a checkpoint may hold."""
    name, keys, *rest = np.random.get_state()
    version, values, gauss = random.getstate()
    states = {
        "torch": torch.get_rng_state(),
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "python": [version, list(values), gauss],
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _set_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"].cpu())
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    version, values, gauss = states["python"]
    random.setstate((version, tuple(values), gauss))
    if "cuda" in states and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
