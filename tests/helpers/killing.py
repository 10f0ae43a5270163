"""Kills work at a chosen moment, as a power cut or a scheduler would."""

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess

from lightning_vista.vista.frame_order import Control

#: Imported once by the server that processes are forked from, so that they start with the work; polars, whose threads
#: do not survive a fork, is only imported there, never used.
_PRELOADED = ["lightning", "lightning_vista.scorers", "lightning_vista.datamodules", "lightning_vista.vista.shards"]


def killed_after(seconds: float, work: Callable[..., object], *args: object) -> bool:
    """Do the work in a process of its own and kill that after some seconds; whether it was killed before it ended.

    Args:
        seconds: How long it may take.
        work: A function of a module.
        *args: Its arguments.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process: BaseProcess = context.Process(target=work, args=args)  # the server takes a while the first time
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    if process.exitcode not in (0, -9):
        raise RuntimeError(f"the work itself failed with exit code {process.exitcode}")
    return process.exitcode == -9


def evaluate_random_scorer(shards: str, run_dir: str, controls: Sequence[Control] = ()) -> None:
    """Evaluate the random scorer into a run folder."""
    import lightning as L
    import torch

    from lightning_vista.callbacks import Evaluation
    from lightning_vista.datamodules import ViSTaDataModule
    from lightning_vista.scorers import RandomScorer

    torch.set_num_threads(1)
    scorer = RandomScorer()
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Evaluation(run_dir, controls=controls)],
    )
    datamodule = ViSTaDataModule(shards, scorer.frame_spec, batch_size=1, num_workers=0)
    trainer.test(scorer, datamodule, verbose=False)


def build_small_shards(dataset: str, out: str) -> None:
    """Build shards of a few videos each."""
    from lightning_vista.vista.shards import build_shards

    build_shards(f"{dataset}/tasks", f"{dataset}/videos", out, max_shard_mb=0.008, num_workers=1)
