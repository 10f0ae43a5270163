"""The evaluation to measure: `Trainer.test` with random scores."""

import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import lightning as L
from torch.utils.data import DataLoader

from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.scorers import RandomScorer
from lightning_vista.video import FrameSpec
from lightning_vista.vista.batch import VideoBatch


class Cost(NamedTuple):
    """The time that some work took.

    Attributes:
        seconds: Wall-clock seconds.
        cpu: CPU seconds of this process and of its child processes that have ended.
    """

    seconds: float
    cpu: float

    @classmethod
    def of(cls, work: Callable[[], object]) -> "Cost":
        """Do the work and time it."""
        start, cpu, workers = time.perf_counter(), time.process_time(), _ended_workers()
        work()
        return cls(time.perf_counter() - start, time.process_time() - cpu + _ended_workers() - workers)


class _TimedData(ViSTaDataModule):
    """A datamodule that records when its loader is made: the workers start then, before Lightning's first batch."""

    started = cpu_started = 0.0

    def test_dataloader(self) -> DataLoader[VideoBatch]:
        """Make the loader as the base class does, and record the time."""
        self.started, self.cpu_started = time.perf_counter(), time.process_time()
        return super().test_dataloader()


class _Stop(L.Callback):
    """A callback that records the end of the last batch."""

    stopped = cpu_stopped = 0.0

    def on_test_batch_end(self, *_: object) -> None:
        """Record the time after each batch."""
        self.stopped, self.cpu_stopped = time.perf_counter(), time.process_time()


def evaluate(
    shards: Path,
    spec: FrameSpec,
    num_workers: int,
    run_dir: Path,
    batch_size: int = 8,
    callbacks: Sequence[L.Callback] = (),
) -> tuple[Cost, Cost]:
    """Evaluate once, in a run folder that does not exist yet.

    Args:
        shards: Folder of the shards.
        spec: Frames of each video.
        num_workers: Number of decoding processes.
        run_dir: The run folder.
        batch_size: Number of videos in a batch.
        callbacks: Further callbacks of the trainer.

    Returns:
        Cost of the loop, from before the workers start to the end of the last batch, and of the whole `Trainer.test`,
        which also reads the index, joins the scores and writes the run folder with its example videos.
    """
    scorer, stop = RandomScorer(), _Stop()
    scorer.frame_spec = spec
    data = _TimedData(str(shards), spec, batch_size=batch_size, num_workers=num_workers)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[*callbacks, stop],
        default_root_dir=run_dir,
    )
    workers = _ended_workers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about few workers, and about deprecations inside Lightning
        whole = Cost.of(lambda: trainer.test(scorer, data, verbose=False))
    cpu = stop.cpu_stopped - data.cpu_started + _ended_workers() - workers
    return Cost(stop.stopped - data.started, cpu), whole


def _ended_workers() -> float:
    times = os.times()
    return times.children_user + times.children_system
