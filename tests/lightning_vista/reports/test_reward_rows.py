import pytest
from report_data import score_table, tables

from lightning_vista.metrics.reward_quality import reward_quality
from lightning_vista.reports.joining import join_tables
from lightning_vista.reports.page.cast import cast, judges_of
from lightning_vista.reports.page.length_plots import wrong_order_plots
from lightning_vista.reports.page.reward_table import reward_table
from lightning_vista.reports.results import build_results
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
    results = build_results([score_table("good", 2.0), score_table("bad", 0.0)])
    view = views(results)[0]
    judges = judges_of(cast(results, view, {}))
    table = reward_table(view, judges, "home")
    assert {member.name for member, _ in table.rows} == {"good", "bad"}
    assert all(len(row) == len(table.columns) for row in table.cells)
    whole = {row[0]: row for row in table.cells if row[1:3] == ("Overall", "all")}
    assert whole["good"][3] == "1.000"
    assert float(whole["bad"][3]) < 0.8
    shares = {each.member.name: [row[1] for row in each.rows] for each in wrong_order_plots(view, judges, "home")}
    assert shares == {"good": ["0.00", "0.00"], "bad": ["1.00", "1.00"]}


def test_an_environment_without_orders_has_no_figure_of_them() -> None:
    results = build_results(tables())
    view = views(results)[0]
    judges = judges_of(cast(results, view, {}))
    assert reward_table(view, judges, "craft").rows
    assert wrong_order_plots(view, judges, "craft") == []
