"""Arrangement of panels on one picture."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from lightning_vista.drawing.chart_drawing import draw_chart
from lightning_vista.drawing.charts import Chart
from lightning_vista.drawing.pictures import render_figure


def panel(chart: Chart) -> Image.Image:
    """Draw a chart as a panel."""
    return Image.fromarray(render_figure(draw_chart(chart), tight=True).numpy())


def sheet(panels: Sequence[Image.Image], path: Path, columns: int = 2, gap: int = 28) -> None:
    """Arrange panels in columns, each panel in the column that is shortest so far, and write the picture."""
    heights, places = [gap] * columns, []
    width = max(one.width for one in panels)
    for one in panels:
        column = heights.index(min(heights))
        places.append((gap + column * (width + gap), heights[column]))
        heights[column] += one.height + gap
    picture = Image.new("RGB", (gap + columns * (width + gap), max(heights)), "white")
    for one, place in zip(panels, places, strict=True):
        picture.paste(one, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)
    print(path)
