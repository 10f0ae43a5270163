"""The tables, CSV and verdicts of docs/results/scorer_regions.md, from the results of the study.

Run it as `python benchmarks/scorer_regions.py STUDY_FOLDER OUT.csv`; it prints Markdown.
"""

import csv
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch

from lightning_vista.datamodules import MiniTrainingDataModule
from lightning_vista.metrics import random_baseline
from lightning_vista.metrics.aggregation import SeedMean, seed_mean

KINDS = {
    "objects": ("home/objects",),
    "properties": ("home/on_v_off", "home/open_v_closed"),
    "actions": ("home/pick_v_put", "home/toggle", "home/opening_v_closing"),
    "general": ("home/remix",),
    "order, mixed": ("home/permutation",),
    "order, trace-free": ("home/permutation_go_only",),
    "craft, general": ("craft/remix",),
    "craft, order": ("craft/permutation", "craft/permutation_go_only"),
}
#: Name of a state of a scorer -> what its figures begin with.
STATES = {
    "whole": "test/f1/",
    "cut": "test/relearned/0/f1/",
    "relearned from 4": "test/relearned/4/f1/",
    "relearned from 16": "test/relearned/16/f1/",
    "relearned from 64": "test/relearned/64/f1/",
}
#: What each route is to localise, and what is to stay.
GOALS = {
    "order": (("order, mixed", "order, trace-free"), ("objects", "properties", "actions", "general")),
    "skill": (("actions",), ("objects", "properties", "order, trace-free")),
    "world": (("craft, general", "craft, order"), ("objects", "properties", "actions", "general", "order, trace-free")),
}
LEVELS = range(1, 9)
Seeds = Mapping[int, float]
#: Kind and level, None for all levels -> macro F1 of random predictions.
Chance = Mapping[tuple[str, int | None], float]


class Row(NamedTuple):
    """The figures of all seeds of a run, in one state, for one kind at one level; None for all levels."""

    run: str
    state: str
    kind: str
    level: int | None
    seeds: Seeds


def by_seed(metrics: Mapping[str, Mapping[str, Mapping[str, float]]], names: Sequence[str]) -> Seeds:
    """Average figures over names, seed by seed; empty if one is missing."""
    tables = [metrics[name]["seeds"] for name in names if name in metrics]
    if len(tables) < len(names):
        return {}
    return {int(seed): fmean(table[seed] for table in tables) for seed in tables[0]}


def figures(study: Path) -> Iterator[Row]:
    """Yield the figures of all runs in the folder of a study."""
    for row in json.loads((study / "results.json").read_text(encoding="utf-8"))["rows"]:
        metrics = row["metrics"]
        profiles = dict.fromkeys(name.split("/")[2] for name in metrics if name.startswith("test/profile/"))
        # `whole` and `cut` are the same as the states of these names.
        states = STATES | {f"profile {name}": f"test/profile/{name}/f1/" for name in profiles if "-" not in name}
        for (state, start), (kind, types), level in product(states.items(), KINDS.items(), (None, *LEVELS)):
            ends = [f"{start}{each}" + ("" if level is None else f"/level_{level}") for each in types]
            if state not in ("profile whole", "profile cut") and (seeds := by_seed(metrics, ends)):
                yield Row(row["run"], state, kind, level, seeds)


def chance(worlds: Sequence[str], max_level: int, cache_dir: str | None) -> dict[tuple[str, int | None], float]:
    """Compute the expected macro F1 of random predictions by kind and level."""
    data = MiniTrainingDataModule(
        frame_weights="shipped", cache_dir=cache_dir, worlds=worlds, max_level=max_level, sets_per_batch=1
    )
    drawn: dict[tuple[str, int], list[float]] = {}
    for number, batch in enumerate(data.test_dataloader()):
        targets = batch.answers[:, None] == torch.arange(len(batch.texts))
        key = batch.text_types[0], int(batch.levels[0])
        drawn.setdefault(key, []).append(random_baseline(targets, f"{key}{number}").macro_f1)
    found: dict[tuple[str, int | None], float] = {}
    for (kind, types), level in product(KINDS.items(), (None, *LEVELS)):
        of_types = [
            [value for (name, at), values in drawn.items() if name == each and level in (None, at) for value in values]
            for each in types
        ]
        if all(of_types):
            found[kind, level] = fmean(map(fmean, of_types))
    return found


def cell(mean: SeedMean) -> str:
    """Format a mean with its interval."""
    return f"{mean.mean:.2f} ({mean.ci_low:.2f} to {mean.ci_high:.2f})"


def print_tables(rows: Sequence[Row], random: Chance) -> None:
    """Print a table of runs and states by kind for each route."""
    table = {(row.run, row.state, row.kind): row.seeds for row in rows if row.level is None}
    for route in (*GOALS, "three profiles"):
        places = list(dict.fromkeys((run, state) for run, state, _ in table if run.startswith(route)))
        kinds = [kind for kind in KINDS if any((*place, kind) in table for place in places)]
        if places:
            print(f"\n### {route}\n\n| | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
            print(f"| chance | {' | '.join(f'{random[kind, None]:.2f}' for kind in kinds)} |")
        for run, state in places:
            found = [table.get((run, state, kind)) for kind in kinds]
            cells = [cell(seed_mean(list(seeds.values()))) if seeds else "" for seeds in found]
            print(f"| {run.removeprefix(f'{route}, ')}, {state} | {' | '.join(cells)} |")


def print_verdicts(rows: Sequence[Row], random: Chance) -> None:
    """Print the figures on which the rule of the protocol decides for each route."""
    table = {(row.run, row.state, row.kind): row.seeds for row in rows if row.level is None}

    def less(one: tuple[str, str, str], other: tuple[str, str, str]) -> str:
        if one not in table or other not in table:
            return "not run"
        return cell(seed_mean([table[one][seed] - table[other][seed] for seed in table[one] if seed in table[other]]))

    for route, (gone, kept) in GOALS.items():
        routed, filtered, unrouted = (f"{route}, {arm}" for arm in ("routed", "filtered", "unrouted"))
        if (routed, "whole", gone[0]) not in table:
            continue
        print(f"\n### Rule for {route}\n")
        for kind in gone:
            for state in ("whole", "cut"):
                above = [value - random[kind, None] for value in table[routed, state, kind].values()]
                print(f"- {kind}, {state}, above chance: {cell(seed_mean(above))}")
            for name, arm in (("filtered", filtered), ("unrouted", unrouted)):
                print(f"- {kind}, cut, less {name}: {less((routed, 'cut', kind), (arm, 'cut', kind))}")
        for kind in kept:
            here = (routed, "cut", kind)
            print(f"- {kind}, cut, less whole: {less(here, (routed, 'whole', kind))}")
            print(f"- {kind}, cut, less filtered: {less(here, (filtered, 'cut', kind))}")
            print(f"- {kind}, unrouted, cut, less whole: {less((unrouted, 'cut', kind), (unrouted, 'whole', kind))}")


def write_csv(rows: Sequence[Row], random: Chance, path: str) -> None:
    """Write all figures with intervals, chance and seeds."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", "state", "kind", "level", "mean", "ci_low", "ci_high", "chance", "seeds"])
        for row in rows:
            values = (*seed_mean(list(row.seeds.values())), random.get((row.kind, row.level), math.nan))
            seeds = " ".join(f"{seed}:{value:.4f}" for seed, value in row.seeds.items())
            place = [row.run, row.state, row.kind, row.level or "all"]
            writer.writerow([*place, *(f"{value:.4f}" for value in values), seeds])


def main() -> None:
    """Read the study, print tables, and write the CSV."""
    folder, out, *cache = sys.argv[1:]
    rows = list(figures(Path(folder)))
    worlds = ["home", "craft"] if any(row.kind.startswith("craft") for row in rows) else ["home"]
    random = chance(worlds, 4, cache[0] if cache else "runs/groups")
    print_tables(rows, random)
    print_verdicts(rows, random)
    write_csv(rows, random, out)


if __name__ == "__main__":
    main()
