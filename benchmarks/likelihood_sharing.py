"""CPU time of LikelihoodScorer for many candidates, divided by that for one: the frames pass through the model once.

    OMP_NUM_THREADS=1 python benchmarks/likelihood_sharing.py

The model is a Qwen3-VL with random weights, as small as those of the tests but for `--width` and `--layers`. The wider
it is, the less the fixed cost of a call counts. Frames are of the scorer's own size.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from lightning_vista.scorers import LikelihoodScorer

TARGET = 1.3
_HELPERS = Path(__file__).parents[1] / "tests" / "helpers"


def tiny_scorer(folder: str, options: argparse.Namespace) -> LikelihoodScorer:
    """Return a scorer with random weights, whose processor keeps the frames' own size."""
    sys.path.insert(0, str(_HELPERS))
    from tiny_video_models import save_qwen3_vl

    checkpoint = save_qwen3_vl(Path(folder), options.width, options.layers)
    scorer = LikelihoodScorer(checkpoint, num_frames=options.frames, size=options.size, candidate_batch_size=32)
    scorer.processor.video_processor.size = {"shortest_edge": 1, "longest_edge": 2**30}
    return scorer


def seconds_of(scorer: LikelihoodScorer, frames: torch.Tensor, candidates: int) -> float:
    """Return the CPU seconds to score one video."""
    descriptions = [f"We pick up the ball number {number} and put it into the box" for number in range(candidates)]
    times = [[0.5 * number for number in range(frames.shape[1])]]
    start = time.process_time()
    scorer.score_clips(frames, descriptions, times)
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scorer = tiny_scorer(folder, options)
        frames = torch.randint(0, 255, (1, options.frames, 3, options.size, options.size), dtype=torch.uint8)
        seconds_of(scorer, frames, 2)  # the first video is also checked, and counts as a warm-up
        measured: dict[int, list[float]] = {1: [], **{number: [] for number in options.candidates}}
        for _ in range(options.rounds):
            for number, seconds in measured.items():
                seconds.append(seconds_of(scorer, frames, number))
    one = median(measured.pop(1))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; one candidate: {one:.2f} s of CPU time")
    for number, seconds in measured.items():
        ratio = median(seconds) / one
        verdict = "met" if ratio <= TARGET else "NOT MET"
        print(f"{number} candidates / one: ratio {ratio:.2f}, target <= {TARGET:g}: {verdict}")


def parse() -> argparse.Namespace:
    """Parse the options; all of them have defaults."""
    parser = argparse.ArgumentParser(description="Compare the cost of many candidates with that of one.")
    parser.add_argument("--candidates", type=int, nargs="+", default=[4, 8, 16, 32], help="numbers of candidates")
    parser.add_argument("--frames", type=int, default=16, help="number of frames of the video")
    parser.add_argument("--size", type=int, default=384, help="height and width of the frames in pixels")
    parser.add_argument("--width", type=int, default=128, help="width of the model")
    parser.add_argument("--layers", type=int, default=4, help="layers of the vision tower, and of the language model")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; the median counts")
    return parser.parse_args()


if __name__ == "__main__":
    main()
