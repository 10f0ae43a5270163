import math
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from matplotlib.lines import Line2D

from lightning_vista.drawing.chart_drawing import chart_svg, draw_chart
from lightning_vista.drawing.charts import Chart, Point, series_look, spread

ROWS = Chart("", {"a": [Point("one", (0.9, 1.0, 1.0)), Point("two", (0.1, math.nan))]}, y_title="Share", rows=True)


def offsets(chart: Chart) -> list[tuple[float, float]]:
    """The places of all dots of seeds, in the chart's own units."""
    (axes,) = draw_chart(chart).axes
    found: list[Any] = [place for dots in axes.collections for place in np.asarray(dots.get_offsets())]
    return [(float(x), float(y)) for x, y in found]


def xy(line: Line2D) -> tuple[list[float], list[float]]:
    """The places of a line."""
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def test_every_seed_is_a_dot_and_nothing_lies_beyond_the_values() -> None:
    assert offsets(ROWS) == [(0.9, 0.0), (1.0, 0.0), (1.0, 0.0)]  # a single value is its own mean
    (axes,) = draw_chart(ROWS).axes
    low, high = axes.get_xlim()
    assert (low, round(high, 3)) == (0, 1.04)
    means = [xy(line)[0][0] for line in axes.lines if xy(line)[0]]
    assert means == [pytest.approx(0.9 + 0.2 / 3), 0.1]


def test_lines_go_through_means_and_have_their_names_at_the_end() -> None:
    chart = Chart("", {name: [Point(x, (x, 3 * x)) for x in (1, 10)] for name in "ab"}, lines=True, log_x=True)
    (axes,) = draw_chart(chart).axes
    assert [xy(line)[1] for line in axes.lines if len(xy(line)[0]) == 2] == [[2, 20], [2, 20]]
    names = [text for text in axes.texts if text.get_text() in ("a", "b")]
    heights = [text.get_window_extent().y0 for text in names]
    assert abs(heights[0] - heights[1]) >= 10, "names of lines that end at one place lie beside each other"


def test_a_page_colours_the_chart_and_takes_no_markup_from_names() -> None:
    series = {'<script>alert("x")</script> $x^2$': [Point("</svg><b>", (1.0, 2.0))]}
    svg = chart_svg(Chart("", series, y_title="a & b", rows=True, references={"<i>": 1.5}))
    root = ET.fromstring(svg)
    words = {text.strip() for text in root.itertext()}
    assert words >= {"</svg><b>", "<i>", "a & b"}
    assert not [node for node in root.iter() if node.tag.endswith("script")]
    assert "var(--series-1)" in svg
    assert "#1c1e21" not in svg
    assert svg == chart_svg(Chart("", series, y_title="a & b", rows=True, references={"<i>": 1.5}))


def test_long_titles_go_on_in_another_line() -> None:
    title = "The share of all unlabelled stories of the forest that a model remembers after the cut, on the test data"
    (axes,) = draw_chart(Chart(title, ROWS.series, rows=True)).axes
    (written,) = [text.get_text() for text in axes.texts if text.get_text().startswith("The share")]
    assert written.replace("\n", " ") == title


def test_perplexities_get_a_logarithmic_axis() -> None:
    (axes,) = draw_chart(Chart("", {"a": [Point(1, (10.0, 1e5)), Point(2, (10.0,))]}, lines=True, log_y=True)).axes
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] > 0


def test_labels_move_as_little_as_needed() -> None:
    places = [0.0, 10.0, 10.5, 30.0, 10.2]
    moved = spread(places, 2.0)
    assert sorted(moved) == pytest.approx([0, 8.2333, 10.2333, 12.2333, 30], abs=1e-3)
    assert [moved.index(place) for place in sorted(moved)] == [places.index(place) for place in sorted(places)]
    assert len({series_look(number) for number in range(56)}) == 56


def test_intervals_end_at_what_is_possible() -> None:
    point = Point("one", (0.9,), (0.6, 1.2))
    (axes,) = draw_chart(Chart("", {"a": [point]}, rows=True, bounds=(0, 1))).axes
    assert [xy(line)[0] for line in axes.lines if len(xy(line)[0]) == 2] == [[0.6, 1.0]]
    assert axes.get_xlim()[1] < 1.05
