"""Verdicts against chance, slopes over levels, and the finding that is stated from them."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from report_data import score_table

from lightning_vista.metrics.level_slopes import level_slopes
from lightning_vista.reports.page.cast import cast, judges_of
from lightning_vista.reports.page.length_plots import length_plots
from lightning_vista.reports.page.verdict_table import verdict_table
from lightning_vista.reports.page.verdict_text import Verdicts, read_verdicts, sentences, title
from lightning_vista.reports.results import build_results
from lightning_vista.reports.verdicts import ABOVE, ASPECTS, AT, BELOW, UNKNOWN
from lightning_vista.reports.view import views
from lightning_vista.vista.tables import SCORE_COLUMNS, ScoreTable, order_rows

pytestmark = pytest.mark.portable
TYPES = ("foundation/objects", "foundation/toggle", *(f"level_{n}/remix" for n in range(2, 7)))
ORDERS = tuple(f"level_{n}/permutation_go_only" for n in range(2, 7))


def skilled(model: str, skill: Callable[[str, int], float], sets: int = 8) -> ScoreTable:
    """A scorer whose skill depends on type and level; each type has some sets with three labels and six videos."""
    noise = random.Random(model)
    rows = []
    for place in (*TYPES, *ORDERS):
        level = int(place.split("/")[0].removeprefix("level_")) if place.startswith("level_") else 1
        for number in range(sets):
            name = f"home/{place}/{number}"
            for video in range(6):
                for label in range(3):
                    is_true = video % 3 == label
                    score = noise.random() + skill(place.split("/")[1], level) * is_true
                    rows.append((model, name, f"{name}/{video}.mp4", "abc"[label], score, is_true, None))
    return ScoreTable(order_rows(pl.DataFrame(rows, schema=SCORE_COLUMNS, orient="row")))


def fades(type: str, level: int) -> float:
    return max(0.0, 3.0 - 0.9 * (level - 2)) if type == "permutation_go_only" else 2.0


JUDGES = {
    "fading": skilled("fading", fades),
    "blind": skilled("blind", lambda type, _: 0.0 if type == "permutation_go_only" else 2.0),
    "able": skilled("able", lambda type, _: 2.0),
    "none": skilled("none", lambda type, _: 0.0),
}


def found(*names: str) -> dict[str, Verdicts]:
    results = build_results([JUDGES[name] for name in names], "none")
    view = views(results)[0]
    return {m.name: read_verdicts(view, m.name, "home") for m in judges_of(cast(results, view, {}))}


def test_the_verdict_is_the_sign_of_the_paired_difference_to_chance() -> None:
    results = build_results([JUDGES["fading"], JUDGES["none"]], "none")
    chance = results["random"]["problem_sets"]
    for model in ("fading", "none"):
        for row in results[model]["common"]["verdicts"]:
            if (row["environment"], row["level"], row["aspect"]) != ("home", "all", "order"):
                continue
            own = {id: e["macro_f1"] for id, e in results[model]["problem_sets"].items() if "go_only" in id}
            assert row["problem_sets"] == len(own) == 40
            assert row["mean_macro_f1"] == pytest.approx(np.mean(list(own.values())))
            assert row["chance"] == pytest.approx(np.mean([chance[id]["macro_f1"] for id in own]))
            assert row["difference"] == pytest.approx(np.mean([own[id] - chance[id]["macro_f1"] for id in own]))
            assert row["difference_low"] < row["difference"] < row["difference_high"]
            assert row["verdict"] == {"fading": ABOVE, "none": AT}[model]


def test_a_scorer_that_is_wrong_on_purpose_is_below_chance() -> None:
    table = JUDGES["able"]
    turned = replace(table, rows=table.rows.with_columns(-pl.col("score")))
    rows = build_results([turned], "none")["able"]["common"]["verdicts"]
    assert {row["verdict"] for row in rows if row["level"] == "all"} == {BELOW}


def test_one_set_gives_no_verdict() -> None:
    table = JUDGES["able"]
    few = replace(table, rows=table.rows.filter(pl.col("problem_set") == "home/foundation/objects/0"))
    (row,) = (r for r in build_results([few], "none")["able"]["verdicts"] if r["environment"] == "home")
    assert (row["verdict"], row["difference_low"]) == ("too few sets", None)


def test_where_there_is_no_verdict_the_title_states_none() -> None:
    """A scorer that is right on its only problem set was once said not to be above chance."""
    unknown: Any = {"verdict": UNKNOWN}
    alone = {"able": Verdicts({"actions": unknown}, {}, {})}
    assert title(alone) == "There are too few problem sets for a verdict"
    assert sentences(alone) == []
    mixed = {"able": Verdicts({"objects": {"verdict": ABOVE}, "actions": unknown, "order": unknown}, {}, {})}
    assert title(mixed) == "It sees what is there"
    assert ["".join(text for text, _ in sentence) for sentence in sentences(mixed)] == ["able tells objects apart."]


@pytest.mark.parametrize("seed", range(3))
def test_slopes_agree_with_numpy(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(30, 2, generator=generator, dtype=torch.float64)
    levels = torch.randint(2, 9, (30,), generator=generator)
    values[3, 1] = torch.nan
    found = level_slopes(values, levels, torch.arange(30), "test")
    for column in range(2):
        kept = ~values[:, column].isnan()
        expected = np.polyfit(levels[kept].numpy(), values[kept, column].numpy(), 1)[0]
        assert found[0, column].item() == pytest.approx(expected)
        assert found[1, column] < found[0, column] < found[2, column]


def test_a_slope_needs_two_levels_and_its_interval_three_clusters() -> None:
    values = torch.tensor([[0.9], [0.5], [0.4]], dtype=torch.float64)
    assert level_slopes(values, torch.tensor([2, 2, 2]), torch.arange(3), "a").isnan().all()
    pair = level_slopes(values, torch.tensor([2, 3, 3]), torch.tensor([0, 1, 1]), "a")
    assert pair[0, 0].item() == pytest.approx(-0.45)
    assert pair[1:].isnan().all()


TITLES = {
    ("fading",): "It sees what is there and what is done; order fails as tasks get longer",
    ("fading", "blind"): "They see what is there and what is done; order fails as tasks get longer",
    ("blind",): "It sees what is there and what is done, but not the order of steps",
    ("able",): "It sees what is there and what is done, and the order of steps",
    ("able", "blind"): "They see what is there and what is done; only some see the order of steps",
    ("none",): "The scorer is not above chance",
}


@pytest.mark.parametrize("names", TITLES, ids="-".join)
def test_the_title_states_the_finding(names: tuple[str, ...]) -> None:
    assert title(found(*names)) == TITLES[names]


def test_the_sentences_name_who_sees_order() -> None:
    said = ["".join(text for text, _ in sentence) for sentence in sentences(found("fading", "blind", "able"))]
    assert said == [
        "All 3 scorers tell objects apart.",
        "able sees order at every length.",
        "fading sees order in short tasks and is back at chance with 6 steps.",
        "blind is at chance where only the order of steps differs.",
    ]


def test_many_names_are_counted() -> None:
    above: Any = {"verdict": ABOVE}
    crowd = {f"judge {number}": Verdicts({"objects": above, "order": above}, {}, {}) for number in range(10)}
    text = "".join(piece for piece, _ in sentences(crowd)[-1])
    assert text == "judge 0, judge 1, judge 2 and 7 others see order at every length."


def test_a_random_scorer_neither_limits_nor_ranks() -> None:
    able, drawn = JUDGES["able"], replace(JUDGES["none"], is_baseline=True)
    few = replace(drawn, rows=drawn.rows.filter(pl.col("problem_set").str.contains("remix")))
    results = build_results([few, able], "none")
    assert results["none"]["baseline"] is True
    assert results["able"]["common"]["problem_sets"] == len(results["able"]["problem_sets"])
    assert results["none"]["common"]["not_scored"] == []
    members = cast(results, views(results)[0], {})
    assert [(m.name, m.is_baseline) for m in members][:2] == [("able", False), ("none", True)]
    alone = build_results([few], "none")  # without another scorer it is shown as one
    assert not cast(alone, views(alone)[0], {})[0].is_baseline


def test_held_out_sets_are_averaged_apart() -> None:
    table = replace(
        score_table("judge", 0.5), held_out={"home/level_2/remix/c": True, "home/foundation/objects/a": False}
    )
    rows = build_results([table], "none")["judge"]["common"]["types"]
    splits = {(row["type"], row["split"]) for row in rows if row["environment"] == "home"}
    assert {("remix", "all"), ("remix", "held_out"), ("objects", "seen")} <= splits
    assert ("remix", "seen") not in splits


def test_the_table_tells_each_verdict_beside_chance() -> None:
    results = build_results([JUDGES["fading"], JUDGES["blind"]], "none")
    view = views(results)[0]
    members = cast(results, view, {})
    table = verdict_table(view, members, "home")
    assert [aspect.title for aspect in table.aspects] == list(ASPECTS.values())
    assert [aspect.scope for aspect in table.aspects] == [
        *("level 1", "level 1"),
        *("levels 2–6", "trace-free, levels 2–6"),  # noqa: RUF001
    ]
    cells = {member.name: row for member, row in table.rows}
    assert next(iter(cells)) == "fading"  # the best on order first
    for name, order in (("fading", ABOVE), ("blind", AT)):
        assert [cell.verdict if cell else "" for cell in cells[name]] == [ABOVE, ABOVE, ABOVE, order]
        assert all(cell and "stroke-dasharray" in cell.track and "<rect" in cell.track for cell in cells[name])
        assert all(cell and cell.sets and "chance 0." in cell.detail for cell in cells[name])
    notes = {plot.member.name: plot.notes for plot in length_plots(view, judges_of(members), "home")}
    assert re.fullmatch(r"order -0\.\d{3} per step \(-0\.\d{3} to -0\.\d{3}\)", notes["fading"][1])
