"""The time that the shipped scorers take to load, and to score the embedded dataset's test split.

Run it as `python benchmarks/shipped_speed.py`. It renders the split and prints seconds up to the score table.
"""

import argparse
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import get_args

import lightning as L

from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.mini import build_mini
from lightning_vista.scorers import DualEncoderScorer
from lightning_vista.scorers.dual.heads import Head
from lightning_vista.vista.shards import build_shards

_BATCH = 32


def seconds_of(head: Head, shards: Path, run_dir: Path) -> tuple[float, float]:
    """Return the seconds to load a scorer, and to score every problem set of its world."""
    start = time.perf_counter()
    scorer = DualEncoderScorer(head, weights="shipped")
    loaded = time.perf_counter()
    data = ViSTaDataModule(str(shards), scorer.frame_spec, batch_size=_BATCH)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run_dir,
    )
    trainer.test(scorer, data, verbose=False)
    return loaded - start, time.perf_counter() - loaded


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time the scorers that ship with the package.")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the embedded dataset")
    scale = parser.parse_args().scale
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*treespec.*")  # from Lightning with a newer torch
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build_mini(root / "mini", scale=scale, splits=["test"])
        test = root / "mini" / "test"
        index = build_shards(test / "tasks", test / "videos", root / "shards", select=["home/*"])
        print(f"{len(index.samples)} videos, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for head in get_args(Head):
            load, score = seconds_of(head, root / "shards", root / head)
            print(f"dual-{head}: loaded in {load:.2f} s, scored in {score:.1f} s")


if __name__ == "__main__":
    main()
