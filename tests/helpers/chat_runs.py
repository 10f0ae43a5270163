"""Evaluates a chat judge, also in a process of its own."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from chat_server import ChatServer

from lightning_vista.callbacks import Evaluation
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.scorers import ChatScorer
from lightning_vista.scorers.chat.limits import Limits
from lightning_vista.vista.frame_order import Control

SECRET = "sk-very-secret"


def evaluate(
    judge: ChatScorer, shards: Path, run_dir: Path, dry_run: bool = False, controls: Sequence[Control] = ()
) -> None:
    """Run `test` in small batches."""
    datamodule = ViSTaDataModule(str(shards), judge.frame_spec, batch_size=5, num_workers=0)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Evaluation(str(run_dir), controls=controls, dry_run=dry_run)],
    )
    trainer.test(judge, datamodule, verbose=False)


def run_chat_scorer(url: str, shards: str, run_dir: str) -> None:
    """A run that sends two requests at once."""
    os.environ["OPENAI_API_KEY"] = SECRET
    torch.set_num_threads(1)
    judge = ChatScorer("tiny", url, num_frames=3, size=16, limits=Limits(concurrency=2))
    evaluate(judge, Path(shards), Path(run_dir))


def killed_at(server: ChatServer, requests: int, shards: Path, run_dir: Path) -> bool:
    """Run in a process of its own and kill that when the server has got so many requests; whether it came to that.

    From then on the server holds its replies, so that the run cannot end before the kill reaches it.
    """
    faults = server.fault
    server.fault = lambda body, earlier: "stall" if sum(server.received.values()) >= requests else None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lightning", "lightning_vista.scorers", "lightning_vista.datamodules", "openai"])
    process = context.Process(target=run_chat_scorer, args=(server.url, str(shards), str(run_dir)))
    process.start()
    while process.is_alive() and sum(server.received.values()) < requests:
        time.sleep(0.005)
    process.kill()
    process.join()
    server.fault = faults
    if process.exitcode not in (0, -9):
        raise RuntimeError(f"the run itself failed with exit code {process.exitcode}")
    return process.exitcode == -9
