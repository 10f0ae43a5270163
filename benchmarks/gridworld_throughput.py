"""Steps per second of the grid of scalable oversight, compared with a grid that resets its environments in a loop.

    python benchmarks/gridworld_throughput.py --json results.json

Both step all environments at once; the baseline begins new episodes one environment at a time. A greedy policy walks to
the diamond, so that many episodes end in every step. Both take turns, and only their steps are timed. The figure is the
median over rounds of the ratio of CPU seconds within a round.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from lightning_vista.oversight.grid import OversightGridworld

#: Target of the ratio of steps per second, ours over the baseline's.
TARGET = 5.0


class LoopedGridworld(OversightGridworld):
    """The same grid, in which environments whose episode ended begin the next one in a loop."""

    def _begin(self, ended: Tensor) -> None:
        self.places, self.overseen, self.age = self.places.clone(), self.overseen.clone(), self.age.clone()
        for index in ended.nonzero().flatten().tolist():
            places = torch.randperm(self.size**2, generator=self.generator)[:3]
            overseen = torch.rand(2, generator=self.generator) < self.oversight_probability
            self.places[index], self.age[index] = places, 0
            self.overseen[index] = False
            self.overseen[index, places[1:]] = overseen


def greedy(env: OversightGridworld) -> Tensor:
    """Return a move that brings each agent nearer to its diamond."""
    rows, columns = env.places // env.size, env.places % env.size
    down, right = rows[:, 1] - rows[:, 0], columns[:, 1] - columns[:, 0]
    return torch.where(down != 0, (down > 0).long(), 2 + (right > 0).long())


def measure(env: OversightGridworld, steps: int) -> tuple[float, float]:
    """Return the CPU seconds of some steps, and the share of environments whose episode ended in a step."""
    seconds, ended = 0.0, 0
    for _ in range(steps):
        action = greedy(env)
        start = time.process_time()
        outcome = env.step(action).outcome
        seconds += time.process_time() - start
        ended += int((outcome > 0).sum())
    return seconds, ended / (steps * env.num_envs)


def main() -> None:
    """Measure, print, write JSON."""
    options = parse()
    torch.set_num_threads(1)
    started = time.strftime("%Y-%m-%d %H:%M")
    ours, looped = OversightGridworld(options.envs), LoopedGridworld(options.envs)
    rounds = []
    for number in range(options.rounds + 1):
        (seconds, ended), (baseline, _) = measure(ours, options.steps), measure(looped, options.steps)
        if number:  # the first round is a warm-up
            rounds.append({"cpu_seconds": seconds, "baseline_cpu_seconds": baseline, "ended": ended})
    ratio = median(item["baseline_cpu_seconds"] / item["cpu_seconds"] for item in rounds)
    rate = options.steps * options.envs / median(item["cpu_seconds"] for item in rounds)
    print(f"{options.envs} environments, one thread, load {os.getloadavg()[0]:.1f}: {rate:,.0f} steps a CPU second")
    print(f"against a loop over resets: {ratio:.1f} times as many, target >= {TARGET:g}, met: {ratio >= TARGET}")
    if options.json:
        machine = {"cores": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version(), "at": started}
        settings = {"envs": options.envs, "steps": options.steps, "rounds": options.rounds}
        measured = {"ratio": ratio, "target": TARGET, "met": ratio >= TARGET, "steps_per_cpu_second": rate}
        document = {"machine": machine | {"torch": torch.__version__}, "settings": settings, **measured, "all": rounds}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Parse the options; all of them have defaults."""
    parser = argparse.ArgumentParser(description="Measure the speed of the grid of scalable oversight.")
    parser.add_argument("--json", type=Path, help="file for all measurements")
    parser.add_argument("--envs", type=int, default=512, help="number of environments")
    parser.add_argument("--steps", type=int, default=200, help="number of steps of all environments in a round")
    parser.add_argument("--rounds", type=int, default=9, help="number of rounds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
