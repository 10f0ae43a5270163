"""The parts of the report page: cards that are chosen, plots, tracks, matrix, types, and the facts of scorers."""

import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from report_data import LABELS, SETS, score_table

from lightning_vista.evaluation.provenance import Provenance, write_provenance
from lightning_vista.reports.joining import predictions
from lightning_vista.reports.page.cast import cast, judges_of
from lightning_vista.reports.page.difference_matrix import difference_matrix
from lightning_vista.reports.page.example_cards import Card, chosen_first, make_card, raw_scores
from lightning_vista.reports.page.level_plot import LevelPoint, Line, draw_levels
from lightning_vista.reports.page.panels import build_panels
from lightning_vista.reports.page.reward_table import reward_table
from lightning_vista.reports.page.scorer_facts import scorer_facts
from lightning_vista.reports.page.type_table import overview, type_rows
from lightning_vista.reports.results import build_results
from lightning_vista.reports.view import views
from lightning_vista.vista.tables import ScoreTable

pytestmark = pytest.mark.portable
ORDERED = "home/level_3/permutation/d"


def certain(model: str, shift: int) -> ScoreTable:
    """A scorer that gives the true label the highest score, or with a shift one that is wrong."""
    made = score_table(model, 0.0)
    places = {label: place for place, label in enumerate(LABELS)}
    own = pl.col("label").replace_strict(places, return_dtype=pl.Int64)
    true = own.filter(pl.col("target")).first().over("problem_set", "video")
    score = ((own - true - shift) % len(LABELS) == 0).cast(pl.Float64)
    return replace(made, rows=made.rows.with_columns(score=score, reason=pl.lit(None, pl.String)))


def cards(*judged: ScoreTable) -> list[Card]:
    """A card for the first video of each set but the one with several true labels."""
    results = build_results(judged, "none")
    view = views(results)[0]
    judges = judges_of(cast(results, view, {}))
    predicted = predictions(judged, ["none"])
    pairs = [(id, predicted[id]["videos"][0]) for id in sorted(SETS) if not id.endswith("many")]
    scores = raw_scores(judged, set(pairs))
    return [make_card(view, judges, predicted, (), scores[pair], *pair, strip=None) for pair in pairs]


def test_the_three_telling_cards_come_first() -> None:
    right, wrong = certain("right", 0), certain("wrong", 1)
    in_order = wrong.rows["problem_set"] == ORDERED
    # `mostly` is right but for one permutation set; `other` takes the wrong order there, and fails on objects.
    mostly = replace(wrong, rows=pl.concat([certain("a", 0).rows.filter(~in_order), wrong.rows.filter(in_order)]))
    mostly = replace(mostly, rows=mostly.rows.with_columns(model=pl.lit("mostly")))
    objects = right.rows["problem_set"] == "home/foundation/objects/a"
    other = pl.concat([mostly.rows.filter(~objects), wrong.rows.filter(objects)]).with_columns(model=pl.lit("other"))
    found = chosen_first(cards(mostly, replace(wrong, rows=other)))
    assert [card.heading for card in found[:3]] == [
        "All scorers are right",
        "All scorers take the wrong order",
        "The scorers disagree",
    ]
    assert found[1].problem_set == ORDERED
    assert found[2].problem_set == "home/foundation/objects/a"
    assert [card.heading for card in found[3:]] == [""] * (len(found) - 3)
    assert len(found) == len(SETS) - 1


def test_a_card_tells_outcome_and_rank() -> None:
    for judged, outcome, rank in ((certain("right", 0), "right", "1 of 3"), (certain("wrong", 1), "wrong", "2 of 3")):
        for card in cards(judged):
            assert [(said.outcome, said.rank) for said in card.said] == [(outcome, rank)]
            assert [shown for shown, _ in card.said[0].scores].count("1.000") == 1
            assert [is_picked for _, is_picked in card.said[0].scores].count(True) == 1


def test_plots_name_their_axes_and_lines_and_count_sets() -> None:
    points = [LevelPoint(2, 0.9, 0.8, 1.0, 8), LevelPoint(3, 0.4, 0.2, 0.6, 7)]
    lines = [Line(name, "red", "circle", points, {2: 0.5, 3: 0.3}) for name in ("steps", "order")]
    words = re.findall(r"<text[^>]*>([^<]*)</text>", draw_levels("Title", lines))
    assert words[:4] == ["macro F1", "0", "0.5", "1"]
    assert words.count("8") == words.count("7") == 2  # n, under the ticks of each line
    assert words[-4:] == ["steps", "order", "chance", "chance"]  # at the ends of the lines
    heights = re.findall(r'<text x="[\d.]+" y="([\d.]+)"[^>]*>(?:steps|order)</text>', draw_levels("Title", lines))
    assert len(set(heights)) == len(heights)  # names of lines that end together stand apart


def test_a_difference_is_grey_where_its_interval_contains_zero() -> None:
    judged = [certain("best", 0), certain("worst", 1), score_table("random 1", 0.0), score_table("random 2", 0.0)]
    results = build_results(judged, "none")
    view = views(results)[0]
    members = cast(results, view, {})
    matrix = difference_matrix(view, members, "all")
    tones = {
        (row.name, column.name): cell.tone
        for row, cells in matrix.rows
        for column, cell in zip(matrix.columns, cells, strict=True)
        if cell
    }
    assert tones["best", "worst"] == "up"
    assert tones["worst", "best"] == "down"
    assert tones["random 1", "random 2"] == tones["random 2", "random 1"] == "none"
    assert len(tones) == 4 * 5  # each against the three others and the two baselines


def test_types_show_seen_and_held_out_as_a_pair() -> None:
    held_out = {id: id.endswith(("d", "g")) for id in SETS}
    extra = [*SETS, "home/level_3/permutation/x", "home/level_3/permutation_go_only/y"]
    table = replace(score_table("judge", 0.5, extra), held_out=held_out | {extra[-1]: True, extra[-2]: False})
    results = build_results([table], "none")
    view = views(results)[0]
    rows = {row.name: row for row in type_rows(view, judges_of(cast(results, view, {})), "home")}
    (drawn, text) = rows["permutation"].cells[0] or ("", "")
    assert rows["permutation"].split == "2 seen, 1 held out"
    assert " / " in text
    assert drawn.count("<circle") == 2
    assert drawn.count('fill="var(--surface)"') == 1  # the hollow mark
    assert rows["remix"].split == ""


def test_unscored_videos_have_a_column_only_where_there_are_any() -> None:
    for table, expected in ((certain("right", 0), False), (score_table("judge", 0.5), True)):
        results = build_results([table], "none")
        view = views(results)[0]
        found = overview(view, cast(results, view, {}), "all")
        assert found.has_unscored is expected
        assert found.rows[0][0].name == table.model
        assert found.columns[0][0] == "Trace-free order"  # by which the rows are sorted


def test_auc_stands_on_a_line_with_a_tick_at_a_half() -> None:
    results = build_results([certain("right", 0)], "none")
    view = views(results)[0]
    ((_, cells),) = reward_table(view, judges_of(cast(results, view, {})), "home").rows
    middle = 180 / 2  # of the track's width
    for track, text in (cell for cell in cells if cell):
        assert f'd="M{middle:.1f} 1.0L{middle:.1f} 21.0" stroke="var(--ink)"' in track
        assert text == "1.00"


def test_the_finding_says_what_it_means_for_rewards() -> None:
    results = build_results([certain("right", 0), certain("wrong", 1)], "none")
    shown = views(results)
    (panel, *_) = build_panels(results, shown, cast(results, shown[0], {}))
    said = "".join(text for text, _ in panel.reward)
    assert said.startswith("As a reward, right pays a wrong order as much as the right one in 0% of the permutation")
    assert said.endswith("wrong in 100%.")


def test_the_facts_of_scorers_are_their_differences(tmp_path: Path) -> None:
    judged = [score_table(name, 0.5) for name in ("one", "two", "three")]
    results = build_results(judged, "none")
    data = {"environments": ["home"], "problem_sets": 9, "videos": 40, "plan": "0123456789abcdef"}
    folders = []
    for name, frames in (("one", 8), ("two", 16)):
        folder = tmp_path / name
        folder.mkdir()
        write_provenance(
            Provenance(
                model=name,
                class_path="package.Scorer",
                arguments={"num_frames": str(frames), "weights": "shared"},
                frames={"num_frames": frames, "sampling": "uniform", "size": 96},
                controls=("reversed",),
                precision="32-true",
                device="cpu",
                dataset=data,
                facts={"licence": "MIT", "cost": "$0.10"},
                videos=40,
                seconds=1200,
                finished=f"2026-01-0{frames % 7}T00:00:00+00:00",
            ),
            folder,
        )
        folders.append(folder)
    facts = scorer_facts(results, cast(results, views(results)[0], {}), folders)
    at = {member.name: place for place, member in enumerate(facts.members)}
    rows = dict(facts.rows)
    assert set(at) == {"one", "two", "three"}
    assert (facts.dataset, facts.date) == ("home (shards 0123456789ab)", "2026-01-02")
    assert [rows["Arguments"][at[name]] for name in ("one", "two", "three")] == [
        "num_frames=8",
        "num_frames=16",
        "not recorded",
    ]
    assert rows["Frames"][at["one"]] == "8 uniform, 96 px; also reversed"
    assert rows["Licence"][at["one"]] == "MIT"
    assert rows["Cost"][at["two"]] == "$0.10"
    assert rows["Time"][at["two"]] == "1,200 s for 40 videos on cpu"
    assert rows["Unscored"][at["three"]].startswith(f"{len(SETS)} of ")
    assert str(tmp_path) not in str(facts)
