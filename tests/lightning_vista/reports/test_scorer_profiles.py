"""What is inside a scorer: runs with all of its modules, and without some."""

import json
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from report_data import LABELS, score_table

from lightning_vista.evaluation.provenance import Provenance, write_provenance
from lightning_vista.reports.page import write_page
from lightning_vista.reports.page.scorer_profiles import ScorerProfiles, scorer_profiles
from lightning_vista.reports.results import build_results
from lightning_vista.vista.tables import ScoreTable

WHOLE = Provenance(
    model="whole",
    class_path="package.Scorer",
    arguments={"weights": "file", "without": "[]", "name": "whole"},
    frames={"num_frames": 8, "sampling": "uniform", "size": 96},
    controls=(),
    precision="32-true",
    device="cpu",
    dataset={"environments": ["home"], "problem_sets": 9, "videos": 40, "plan": "0123456789abcdef"},
)
SHORT = ("remix/a", "remix/b", "remix/c")
ORDERS = ("permutation/d", "permutation/e", "permutation/f", "permutation/g")
IDS = tuple(f"home/level_2/{name}" for name in (*SHORT, *ORDERS))


def run_of(folder: Path, model: str, **changes: str) -> Path:
    """A run folder with the circumstances of a run whose arguments differ in this."""
    arguments = {**WHOLE.arguments, "name": model, **changes}
    (folder / model).mkdir()
    write_provenance(replace(WHOLE, model=model, arguments=arguments), folder / model)
    return folder / model


def judged(model: str, is_right: dict[str, bool]) -> ScoreTable:
    """A scorer that gives the true label the highest score in sets of some types, and a wrong one elsewhere."""
    made = score_table(model, 0.0, IDS)
    own = pl.col("label").replace_strict({label: place for place, label in enumerate(LABELS)}, return_dtype=pl.Int64)
    true = own.filter(pl.col("target")).first().over("problem_set", "video")
    shift = (
        pl.col("problem_set").str.split("/").list.get(2).replace_strict({k: int(not v) for k, v in is_right.items()})
    )
    score = ((own - true - shift) % len(LABELS) == 0).cast(pl.Float64)
    return replace(made, rows=made.rows.with_columns(score=score, reason=pl.lit(None, pl.String)))


def test_runs_of_one_scorer_belong_together(tmp_path: Path) -> None:
    runs = [
        run_of(tmp_path, "whole"),
        run_of(tmp_path, "cut", without="['order']"),
        run_of(tmp_path, "tuple", without="('order', 'actions')"),
        run_of(tmp_path, "other weights", weights="another", without="[order]"),
        run_of(tmp_path, "alone", weights="third"),
    ]
    models = [run.name for run in runs]
    assert scorer_profiles(models, runs) == [ScorerProfiles("whole", {"cut": "order", "tuple": "order, actions"})]
    assert scorer_profiles(models, runs[1:]) == []  # without the whole scorer, a cut one is a scorer like any other
    assert scorer_profiles(["whole"], runs) == []
    assert scorer_profiles(models, []) == []


@pytest.mark.parametrize("has_runs", [True, False])
def test_the_page_shows_a_cut_scorer_beside_the_whole_one(tmp_path: Path, has_runs: bool) -> None:
    tables = [
        judged("whole", {"remix": True, "permutation": True}),
        judged("cut", {"remix": True, "permutation": False}),
    ]
    runs = [run_of(tmp_path, "whole"), run_of(tmp_path, "cut", without="[order]")] if has_runs else []
    page = write_page(build_results(tables, "none"), tables, tmp_path / "page.html", runs).read_text("utf-8")
    section = re.search(r'<section id="inside".*?</section>', page, re.DOTALL)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data
    models = {model["name"] for model in json.loads(data[1])["models"]}
    assert bool(section) == has_runs
    assert ("cut" in models) != has_runs  # elsewhere it would be taken for another scorer
    if section:
        assert "Without order: no longer above chance: only the order differs 1.00 → 0.00" in section[0]
        assert "still above chance: the steps differ 1.00 → 1.00" in section[0]
        assert page.count(">cut</span>") == len(re.findall(">cut</span>", section[0])) > 0
