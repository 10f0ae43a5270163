"""Static SVG of progress in a video: the value of its true description over time, one line for each scorer."""

import html
from collections.abc import Mapping, Sequence

from lightning_vista.evaluation.progress_file import Progress
from lightning_vista.reports.style import styles

#: In pixels: the plot, and its margins for the words at the axes.
_WIDTH, _HEIGHT = 240, 96
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 6, 8, 18


def draw_progress(curves: Mapping[str, Progress], models: Sequence[str]) -> str:
    """Draw curves of the same video.

    Curves of scorers with different ranges share one axis, from the lowest value to the highest. Unscored points
    interrupt a line.

    Args:
        curves: Model -> its curve.
        models: All models of the page, whose colours the lines have.

    Returns:
        An SVG element; empty if no point is scored.

    Example:
        >>> curve = Progress("We wait", (1, 5, 9), (0.0, 0.5, 1.0), (0.1, 0.4, 0.9))
        >>> draw_progress({"clip": curve}, ["clip"]).count("<polyline")
        1
    """
    values = [value for curve in curves.values() for value in curve.values if value == value]
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    end = max(curve.times[-1] for curve in curves.values()) or 1.0
    looks = styles(models)
    lines = []
    for model, curve in curves.items():
        for run in _runs(curve):
            points = " ".join(
                f"{_LEFT + _WIDTH * time / end:.1f},{_TOP + _HEIGHT * (high - value) / span:.1f}" for time, value in run
            )
            title = html.escape(f"{model}: {_order(curve)}")
            colour = f'stroke="{looks[model].colour}"'
            lines.append(
                f'<polyline points="{points}" fill="none" {colour} stroke-width="2"><title>{title}</title></polyline>'
            )
    said = html.escape(value_orders(curves), quote=True)
    bottom = _TOP + _HEIGHT
    axes = (
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{_LEFT + _WIDTH}" fill="none" stroke="var(--axis)"/>'
        f"{_words(_LEFT - 3, _TOP + 4, 'end', f'{high:.2f}')}{_words(_LEFT - 3, bottom, 'end', f'{low:.2f}')}"
        f"{_words(_LEFT, bottom + 13, 'start', '0 s')}{_words(_LEFT + _WIDTH, bottom + 13, 'end', f'{end:.1f} s')}"
    )
    size = f'viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {bottom + _BOTTOM}"'
    look = 'role="img" font-size="10" fill="var(--muted)"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {look} '
        f'aria-label="Score of the true description over time. {said}">{axes}{"".join(lines)}</svg>'
    )


def value_orders(curves: Mapping[str, Progress]) -> str:
    """Return each scorer's value order in words.

    Args:
        curves: Model -> its curve.

    Example:
        >>> value_orders({"clip": Progress("We wait", (1, 5, 9), (0.0, 0.5, 1.0), (0.1, 0.4, 0.9))})
        'clip: value order 1.00'
    """
    return "; ".join(f"{model}: {_order(curve)}" for model, curve in curves.items())


def _runs(curve: Progress) -> list[list[tuple[float, float]]]:
    """Return the stretches of scored points, as (time, value)."""
    runs: list[list[tuple[float, float]]] = [[]]
    for time, value in zip(curve.times, curve.values, strict=True):
        if value == value:
            runs[-1].append((time, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _order(curve: Progress) -> str:
    """Return the value-order correlation in words."""
    if not curve.is_scored:
        return "some points unscored"
    order = curve.value_order
    return "constant" if order != order else f"value order {order:.2f}"


def _words(x: int, y: int, anchor: str, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'
