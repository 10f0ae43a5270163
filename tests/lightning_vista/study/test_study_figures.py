import math
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_vista.study import FigureSpec, LeakageSpec
from lightning_vista.study.study_figures import collect_series, plan_figure
from lightning_vista.study.study_table import StudyRow, add_differences, add_leakages, row_results, write_table


def row(variant: str, size: int, value: float) -> StudyRow:
    values = {f"test/{x}": {0: value + x, 1: value + x} for x in (0, 1)}
    return StudyRow(f"{variant}, size {size}", variant, {"model.size": size}, Path(), values)


ROWS = [row("a", 8, 1.0), row("a", 16, 2.0), row("b", 8, 5.0), row("b", 16, 6.0)]


def means(spec: FigureSpec, rows: list[StudyRow]) -> dict[str, list[tuple[object, float]]]:
    return {name: [(p.place, p.mean) for p in points] for name, points in collect_series(spec, rows).items()}


def test_the_axis_is_a_key_of_the_grid() -> None:
    spec = FigureSpec("t", {"value": "test/0"}, x="model.size")
    assert means(spec, ROWS) == {"a": [(8, 1.0), (16, 2.0)], "b": [(8, 5.0), (16, 6.0)]}
    assert plan_figure(spec, ROWS).lines
    assert plan_figure(replace(spec, log_x=True), ROWS).log_x


def test_a_run_without_a_place_along_the_axis_is_left_out() -> None:
    reference = StudyRow("reference", "reference", {}, Path(), {"test/0": {0: 9.0}})
    assert list(means(FigureSpec("t", {"value": "test/0"}, x="model.size"), [*ROWS, reference])) == ["a", "b"]
    assert ("reference", 9.0) in means(FigureSpec("t", {"value": "test/0"}), [*ROWS, reference])["value"]


def test_the_axis_is_the_run() -> None:
    spec = FigureSpec("t", {"first": "test/0", "second": "test/1"}, runs=["b"])
    assert means(spec, ROWS[2:]) == {
        "first": [("b, size 8", 5.0), ("b, size 16", 6.0)],
        "second": [("b, size 8", 6.0), ("b, size 16", 7.0)],
    }
    chart = plan_figure(spec, ROWS)
    assert chart.rows
    assert chart.places == ["b, size 8", "b, size 16"]
    assert chart.series["first"][0].values == (5.0, 5.0), "one dot for each seed"


def test_the_axis_is_part_of_the_metric() -> None:
    spec = FigureSpec("t", {"value": "test/{x}", "twice": "test/{x}"}, x=[0, 1, 2])
    chart = plan_figure(spec, ROWS[:1])
    assert list(chart.series) == ["a, size 8: value", "a, size 8: twice"]
    assert chart.places == ["0", "1", "2"], "columns beside each other, whatever their numbers are"
    assert [point.values for point in chart.series["a, size 8: value"]] == [(1.0, 1.0), (2.0, 2.0), ()]


def test_lines_over_a_list_keep_its_numbers() -> None:
    spec = FigureSpec("t", {"value": "test/{x}"}, x=[0, 1], lines=True)
    chart = plan_figure(spec, ROWS[:1])
    assert chart.places == [0, 1]
    assert chart.lines
    assert not chart.log_x


def test_the_axis_is_what_was_logged() -> None:
    spec = FigureSpec("t", {"value": "test/1"}, x="test/0")
    rows = [*ROWS[:2], replace(ROWS[0], name="c", values={"test/0": {0: 3.0, 1: 4.0}, "test/1": {1: 5.0, 2: 6.0}})]
    chart = plan_figure(spec, rows)
    assert not chart.lines
    assert {name: (point.place, point.values) for name, (point,) in chart.series.items()} == {
        "a, size 8": ((1.0, 1.0), (2.0, 2.0)),
        "a, size 16": ((2.0, 2.0), (3.0, 3.0)),
        "c": ((4.0,), (5.0,)),  # seeds that have both
    }


def test_references_are_numbers_or_means_of_variants() -> None:
    spec = FigureSpec("t", {"value": "test/0"}, runs=["b"], reference={"chance": 0.5, "ordinary": "a", "none": "c"})
    assert plan_figure(spec, ROWS).references == {"chance": 0.5, "ordinary": 1.0}
    both = replace(spec, series={"first": "test/0", "second": "test/1"}, reference={"ordinary": "a"})
    assert plan_figure(both, ROWS).references == {"ordinary, first": 1.0, "ordinary, second": 2.0}


def test_differences_are_those_to_the_baseline_at_the_same_point_and_seed() -> None:
    names = add_differences(ROWS, {"more": "test/0"}, "a")
    assert names == {"more": "test/0 - a"}
    assert [row.values["test/0 - a"] for row in ROWS] == [{0: 0.0, 1: 0.0}] * 2 + [{0: 4.0, 1: 4.0}] * 2
    lonely = StudyRow("c", "c", {"model.size": 32}, Path(), {"test/0": {0: 1.0}})
    add_differences([*ROWS, lonely], {"more": "test/0"}, "a")
    assert "test/0 - a" not in lonely.values
    alone = StudyRow("alone", "alone", {}, Path(), {"test/0": {0: 0.25}})  # whatever the grid
    add_differences([alone, lonely], {"more": "test/0"}, "alone")
    assert lonely.values["test/0 - alone"] == {0: 0.75}


def test_what_one_seed_does_not_reach_is_not_reached(tmp_path: Path) -> None:
    values = {"steps": {0: 10.0, 1: math.inf}, "nothing": {0: math.nan, 1: 4.0}}
    lost = StudyRow("a", "a", {}, Path(), values)
    assert lost.mean("steps").mean == math.inf
    assert lost.mean("nothing").mean == 4
    (point,) = plan_figure(FigureSpec("t", {"steps": "steps"}), [lost]).series["steps"]
    assert point.mean == math.inf
    assert "| a | inf | 4.000 |" in write_table([lost], {"steps": "steps", "nothing": "nothing"}, tmp_path)
    assert (tmp_path / "seeds.csv").read_text(encoding="utf-8").splitlines()[1:3] == ["a,steps,0,10.0", "a,steps,1,inf"]
    means = (tmp_path / "results.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert means == ["a,steps,inf,,,2", "a,nothing,4.0,,,1"]
    assert row_results([lost])[0]["metrics"]["steps"]["mean"] is None


def test_leakage_is_read_off_filtering_with_other_shares_of_labels() -> None:
    def row(variant: str, size: int, share: float | None, *losses: float) -> StudyRow:
        point = {"size": size} | ({} if share is None else {"share": share})
        return StudyRow(f"{variant} {point}", variant, point, Path(), {"loss": dict(enumerate(losses))})

    # Shares of .9, .5 and 0 leave .1, .5 and 1 of the forget data to be seen openly.
    curve = [
        row("filter", 1, share, *losses) for share, *losses in ((0.0, 1, 4), (1.0, 4, 9), (0.5, 2, 5), (0.9, 3, 6))
    ]
    other = [row("filter", 2, share, *losses) for share, *losses in ((0.0, 1.0), (0.5, 2.0))]
    ours = [row("ours", 1, 0.5, 3.0, 7.5, math.nan), row("ours", 2, 0.5, 1.5), row("ours", 1, None, 3.5)]
    alone = row("ours", 3, 0.5, 1.0)
    rows = [*curve, *other, *ours, alone]
    specs = {"seen": LeakageSpec("loss", "share", relative=False), "leakage": LeakageSpec("loss", "share", "filter")}
    names = add_leakages(rows, specs, "filter")
    assert names == {"seen": "openly seen share by loss of filter", "leakage": "leakage by loss of filter"}
    seen, relative = ([row.values.get(name) for row in rows] for name in names.values())
    assert seen[: len(curve)] == [pytest.approx({0: share, 1: share}) for share in (1, 0, 0.5, 0.1)]
    assert relative[: len(curve)] == [pytest.approx({0: 1, 1: 1}), None, pytest.approx({0: 1, 1: 1}), {0: 1, 1: 1}]
    assert seen[-4:] == [pytest.approx({0: 0.1, 1: 0.05}), pytest.approx({0: 0.5**0.5}), pytest.approx({0: 0.05}), None]
    assert relative[-4:] == [pytest.approx({0: 0.2, 1: 0.1}), pytest.approx({0: 2**0.5}), None, None]
