"""Score tables, results and run folders for the tests of the report page; every free text is hostile."""

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from tiny_data import moving_square

from lightning_vista.reports.results import build_results
from lightning_vista.video import encode_mp4
from lightning_vista.vista.tables import SCORE_COLUMNS, ScoreTable, order_rows

ATTACK = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\u2028&amp;"
BOLD = '<b>judge</b> <a href="javascript:window.hacked=1">x</a>'
IMAGE = "<img src=x onerror='window.hacked=1'>"
SETS = {
    "home/foundation/objects/a": 6,
    f"home/foundation/clean/{IMAGE}": 6,
    "home/level_2/remix/c": 6,
    "home/level_3/permutation/d": 6,
    "home/level_2/permutation/e": 4,
    "home/level_2/permutation_go_only/f": 4,
    "home/level_3/permutation_go_only/g": 4,
    "craft/foundation/foundation/many": 6,
    "craft/level_2/remix/i": 4,
}
LABELS = ("z", "y", ATTACK)


def score_table(model: str, skill: float, sets: Iterable[str] = tuple(SETS)) -> ScoreTable:
    """A judge with some skill, ties (its scores are rounded) and one unscored video per set; `many` is multi-label."""
    noise = random.Random(model)
    rows = []
    for problem_set in sets:
        environment = problem_set.split("/")[0]
        for number in range(SETS.get(problem_set, 9)):
            name = f"{environment}/{problem_set.split('/')[-1]} {number}{'.mp4' if number else ATTACK}"
            true = {number % 3} | ({(number + 1) % 3} if problem_set.endswith("many") and number % 2 else set())
            unscored = number == 3
            for place, label in enumerate(LABELS):
                score = None if unscored else round(noise.random() + skill * (place in true), 1)
                reason = ATTACK if unscored else None
                rows.append((model, problem_set, name, label, score, place in true, reason))
    return ScoreTable(order_rows(pl.DataFrame(rows, schema=SCORE_COLUMNS, orient="row")))


def tables() -> list[ScoreTable]:
    """Two judges with names that a careless page would run."""
    return [score_table(BOLD, 0.6), score_table("plain judge", 0.2)]


def minimal() -> tuple[dict[str, dict[str, Any]], list[ScoreTable]]:
    """One judge in one environment, its results without any of the optional parts."""
    table = score_table("judge", 0.5, [name for name in SETS if name.startswith("home")])
    needed = ("rescaling", "problem_sets", "aggregates")
    results = build_results([table])
    return {model: {key: part[key] for key in needed} for model, part in results.items()}, [table]


def run_folder(root: Path, judged: Sequence[ScoreTable], num_examples: int = 3) -> Path:
    """A run folder with example videos and one transcript."""
    examples = root / "run" / "examples"
    examples.mkdir(parents=True)
    videos = judged[0].rows.select("problem_set", "video").unique(maintain_order=True).rows()[:: 40 // num_examples]
    entries = []
    for number, (problem_set, video) in enumerate(videos[:num_examples]):
        (examples / f"key{number}.mp4").write_bytes(encode_mp4(moving_square(number)))
        descriptions = {label: f"First, we go to {label}, and then we wait" for label in LABELS}
        entries.append(
            {"video": video, "file": f"key{number}.mp4", "problem_set": problem_set, "descriptions": descriptions}
        )
    (examples / "examples.json").write_text(json.dumps(entries), encoding="utf-8")
    (root / "run" / "transcripts").mkdir()
    (root / "run" / "transcripts" / "key0.txt").write_text(f"user: {ATTACK}", encoding="utf-8")
    return root / "run"
