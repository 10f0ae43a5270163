"""Capability profiles on the report page: runs of a scorer with all of its modules, and without some."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from report_data import LABELS, score_table

from lightning_vista.evaluation.provenance import Provenance, public_argument, read_provenance, write_provenance
from lightning_vista.reports.against import compare_with_earlier
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


@pytest.mark.parametrize("changes", [{"frames": {**WHOLE.frames, "num_frames": 4}}, {"precision": "bf16-mixed"}])
def test_runs_of_other_frames_or_precision_are_not_compared(changes: dict[str, Any], tmp_path: Path) -> None:
    runs = [run_of(tmp_path, "whole"), run_of(tmp_path, "cut", without="['order']")]
    assert scorer_profiles(["whole", "cut"], runs)
    run = read_provenance(runs[1])
    assert run is not None
    write_provenance(replace(run, **changes), runs[1])
    assert scorer_profiles(["whole", "cut"], runs) == []


@pytest.mark.parametrize("has_runs", [True, False])
def test_the_page_shows_a_cut_scorer_beside_the_whole_one(tmp_path: Path, has_runs: bool) -> None:
    tables = [
        judged("whole", {"remix": True, "permutation": True}),
        judged("cut", {"remix": True, "permutation": False}),
    ]
    runs = [run_of(tmp_path, "whole"), run_of(tmp_path, "cut", without="[order]")] if has_runs else []
    page = write_page(build_results(tables, "none"), tables, tmp_path / "page.html", runs).read_text("utf-8")
    section = re.search(r'<section id="profiles".*?</section>', page, re.DOTALL)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data
    models = {model["name"] for model in json.loads(data[1])["models"]}
    assert bool(section) == has_runs
    assert ("cut" in models) != has_runs  # elsewhere it would be taken for another scorer
    if section:
        assert "Without order: no longer above chance: only the order differs 1.00 → 0.00" in section[0]
        assert "still above chance: the steps differ 1.00 → 1.00" in section[0]
        assert page.count(">cut</span>") == len(re.findall(">cut</span>", section[0])) > 0


def test_weights_of_one_name_are_those_of_two_scorers(tmp_path: Path) -> None:
    """Every seed of a study writes `scorer.safetensors`; a cut scorer of another seed says nothing about this one."""
    runs = []
    for model, seed, without in (("whole", 0, []), ("cut", 1, ["order"]), ("cut too", 0, ["order"])):
        weights = tmp_path / str(seed) / "scorer.safetensors"
        weights.parent.mkdir(exist_ok=True)
        weights.write_bytes(bytes([seed]))
        arguments = {"weights": public_argument(str(weights)), "without": public_argument(without)}
        (tmp_path / model).mkdir()
        write_provenance(replace(WHOLE, model=model, arguments=arguments), tmp_path / model)
        runs.append(tmp_path / model)
    assert scorer_profiles([run.name for run in runs], runs) == [ScorerProfiles("whole", {"cut too": "order"})]


def test_a_partial_or_changed_cut_scorer_is_told(tmp_path: Path) -> None:
    tables = [judged(model, {"remix": True, "permutation": model == "whole"}) for model in ("whole", "cut")]
    results = build_results(tables, "none")
    results["cut"] |= {"partial": True, "videos_scored": 8, "videos_planned": 13}
    changes = compare_with_earlier(results, {model: results[model] for model in ("whole", "cut")}, tables)
    assert {change.model for change in changes} == {"whole", "cut"}
    runs = [run_of(tmp_path, "whole"), run_of(tmp_path, "cut", without="['order']")]
    page = write_page(results, tables, tmp_path / "page.html", runs, changes).read_text("utf-8")
    assert "Not every video was scored.</strong> cut: 8 of 13 videos scored" in page
    assert page.count(">cut</span>") == 1  # in its own section, and not among the changes
