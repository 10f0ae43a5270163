import pytest
from report_data import score_table, tables

from lightning_vista.metrics.reward_quality import reward_quality
from lightning_vista.reports.joining import join_tables
from lightning_vista.reports.results import build_results
from lightning_vista.reports.reward_figures import reward_figures
from lightning_vista.reports.view import views


def test_a_row_is_the_mean_over_its_problem_sets() -> None:
    table = score_table("judge", 0.6)
    joined = join_tables([table]).problem_sets
    chosen = [item for item in joined if item.outline.kind == "permutation" and item.outline.level == 2]
    expected = sum(reward_quality(item.scores["judge"], item.targets).auc for item in chosen) / len(chosen)
    rows = build_results([table])["judge"]["reward_quality"]
    (row,) = [
        row
        for row in rows
        if (row["figure"], row["environment"], row["level"], row["kind"]) == ("auc", "home", 2, "permutation")
    ]
    assert row["problem_sets"] == len(chosen) == 2
    assert row["mean"] == pytest.approx(expected)
    assert row["ci_low"] <= row["mean"] <= row["ci_high"]


def test_only_orders_can_be_exploited() -> None:
    results = build_results(tables())
    for model in ("majority", "random"):
        assert results[model]["reward_quality"] == []
    rows = [row for row in results["plain judge"]["reward_quality"] if row["figure"] == "exploitable"]
    assert {row["kind"] for row in rows} == {"permutation", "all"}
    assert max(row["problem_sets"] for row in rows) == 4


def test_a_better_scorer_is_exploited_less_and_the_tables_say_all() -> None:
    view = views(build_results([score_table("good", 2.0), score_table("bad", 0.0)]))[0]
    videos, orders = reward_figures(view, "home")
    for figure in (videos, orders):
        assert [trace["name"] for trace in figure.plot["data"]] == ["good", "bad"]
        assert all(len(row) == len(figure.columns) for row in figure.rows)
    assert [trace["y"] for trace in orders.plot["data"]] == [[0, 0], [1, 1]]
    whole = {row[0]: row for row in videos.rows if row[1:3] == ("All kinds", "all")}
    assert whole["good"][3] == "1.000"
    assert float(whole["bad"][3]) < 0.8


def test_an_environment_without_orders_has_no_figure_of_them() -> None:
    (figure,) = reward_figures(views(build_results(tables()))[0], "craft")
    assert figure.rows
