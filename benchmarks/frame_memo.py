"""CPU time of a shipped scorer on the embedded dataset, intact and with controls, with the frame memo or without it.

    OMP_NUM_THREADS=1 python benchmarks/frame_memo.py

The memo encodes frames once that are equal: within a batch, and under controls. Decoding and the writing of the run
folder count, all in one process. Runs take turns, and the median of the rounds counts.
"""

import argparse
import logging
import os
import tempfile
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from unittest.mock import patch

import lightning as L
import torch
from torch import Tensor

from lightning_vista.callbacks import Evaluation
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.mini import build_mini
from lightning_vista.scorers import DualEncoderScorer
from lightning_vista.scorers.frame_memo import FrameMemo
from lightning_vista.vista.frame_order import CONTROLS
from lightning_vista.vista.shards import build_shards

_BATCH = 32


class CountingScorer(DualEncoderScorer):
    """A shipped scorer that counts the frames that its encoder sees."""

    encoded = 0

    def count(self, module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Count frames, as a hook before the encoder."""
        self.encoded += len(inputs[0])


def evaluate(shards: Path, run_dir: Path, with_controls: bool, with_memo: bool) -> tuple[float, int]:
    """Return the CPU seconds of an evaluation, and the number of encoded frames."""
    scorer = CountingScorer("temporal", weights="shipped")
    scorer.frames.register_forward_pre_hook(scorer.count)
    data = ViSTaDataModule(str(shards), scorer.frame_spec, batch_size=_BATCH, num_workers=0)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Evaluation(str(run_dir), controls=CONTROLS if with_controls else ())],
    )
    forgetful: AbstractContextManager[object] = patch.object(FrameMemo, "using", lambda memo: nullcontext())
    with nullcontext() if with_memo else forgetful:
        start = time.process_time()
        trainer.test(scorer, data, verbose=False)
        return time.process_time() - start, scorer.encoded


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what the memo of equal frames saves.")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the embedded dataset")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the median counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*(treespec|num_workers|many workers).*")  # one process on purpose
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build_mini(root / "mini", scale=options.scale, splits=["test"])
        test = root / "mini" / "test"
        index = build_shards(test / "tasks", test / "videos", root / "shards", select=["home/*"])
        print(f"{len(index.samples)} videos, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        kinds = {"intact": False, "intact and four controls": True}
        for name, with_controls in kinds.items():
            seconds: dict[bool, list[float]] = {True: [], False: []}
            frames: dict[bool, int] = {}
            for number in range(options.rounds):
                for memo in seconds:
                    run_dir = root / f"{with_controls}-{memo}-{number}"
                    spent, frames[memo] = evaluate(root / "shards", run_dir, with_controls, memo)
                    seconds[memo].append(spent)
            with_memo, without = median(seconds[True]), median(seconds[False])
            print(
                f"{name}: {frames[True]} frames encoded with the memo, {frames[False]} without; CPU time "
                f"{with_memo:.1f} s / {without:.1f} s = {with_memo / without:.2f}"
            )


if __name__ == "__main__":
    main()
