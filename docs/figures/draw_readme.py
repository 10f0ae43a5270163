"""Draws README's picture: what scorers say about one task, and steps against order for each of them.

    python docs/figures/draw_readme.py --demo demo   # after `make demo`; also renews the two files that it draws from
    python docs/figures/draw_readme.py               # from these files, as `make figures` does

`demo_levels.csv` has the means of the demo's results.json, `demo_strips.png` the frames of the task. Order is measured
on trace-free permutation sets, as in README's table: in the others, traces of the steps reveal something about it.
"""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lightning_vista.video import FrameSpec, decode_video

HERE = Path(__file__).parent
LEVELS, STRIPS = HERE / "demo_levels.csv", HERE / "demo_strips.png"
COLUMNS = ("model", "kind", "level", "mean_macro_f1", "ci_low", "ci_high", "problem_sets")
SCORERS = {
    "dual-mean": "dual-mean: cannot see order",
    "dual-temporal": "dual-temporal: sees it",
    "dual-slot": "dual-slot: sees it",
}
STEPS, ORDER, INK, GREY, RULE = "#0072b2", "#d55e00", "#1c1e21", "#575c63", "#dcd8cf"
TASK = "home/level_3/permutation_go_only/test_03"
#: Two of the task's videos by label, with what happens in them.
DESCRIPTIONS = {
    "a": "go to the yellow door, then go to the yellow tray, then go to the grey ball",
    "b": "go to the yellow tray, then go to the yellow door, then go to the grey ball",
}
Row = Mapping[str, Any]


def renew(demo: Path) -> None:
    """Write the means and the frames that the picture is drawn from."""
    results = json.loads((demo / "report" / "results.json").read_text(encoding="utf-8"))
    rows = [
        {**row, "model": model, "kind": kind}
        for model in (*SCORERS, "random")
        for kind, part, key, value in (
            ("general", "aggregates", "kind", "general"),
            ("trace-free", "order_leak", "split", "go_only"),
        )
        for row in results[model][part]
        if row["environment"] == "home" and row[key] == value and row["level"] != "all"
    ]
    with LEVELS.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    folder = demo / "mini" / "test"
    videos = json.loads((folder / "tasks" / f"{TASK}_data.json").read_text(encoding="utf-8"))
    by_label = {video["label"]: folder / "videos" / "home" / video["path"] for video in videos}
    strips = []
    for label in DESCRIPTIONS:
        clip = decode_video(by_label[label].read_bytes(), FrameSpec(6, size=128))
        strips.append(np.concatenate([*clip.frames.permute(0, 2, 3, 1).numpy()], axis=1))
    Image.fromarray(np.concatenate(strips)).save(STRIPS, optimize=True)


def draw(out: Path) -> None:
    """Draw the picture, 1200 x 420 pixels."""
    with LEVELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with mpl.rc_context({"font.size": 9, "text.color": INK}):
        figure = Figure((12, 4.2), dpi=100)
        draw_strips(figure)
        for number, (model, title) in enumerate(SCORERS.items()):
            axes = figure.add_axes((0.475 + 0.178 * number, 0.21, 0.145, 0.55))
            draw_scorer(axes, rows, model, title, is_first=number == 0)
        figure.text(0.445, 0.93, "Mean macro F1 over the number of steps", fontsize=12, fontweight="bold")
        figure.text(0.445, 0.865, "steps differ", color=STEPS, fontweight="bold")
        figure.text(0.525, 0.865, "only the order of steps differs (trace-free)", color=ORDER, fontweight="bold")
        figure.text(0.445, 0.03, "dotted: chance; bands: 95 % intervals over problem sets", color=GREY)
        figure.savefig(out)
    print(out)


def draw_strips(figure: Figure) -> None:
    """Draw the frames of one task in two orders."""
    picture = np.asarray(Image.open(STRIPS))
    half = picture.shape[0] // 2
    figure.text(0.015, 0.93, "One task of three steps, two videos", fontsize=12, fontweight="bold")
    for number, text in enumerate(DESCRIPTIONS.values()):
        bottom = 0.5 - 0.4 * number
        axes = figure.add_axes((0.015, bottom, 0.4, 0.2))
        axes.imshow(picture[number * half : (number + 1) * half], aspect="auto", interpolation="nearest")
        axes.set_axis_off()
        figure.text(0.015, bottom + 0.265, "right order" if number == 0 else "wrong order", fontweight="bold",
                    color=STEPS if number == 0 else ORDER)  # fmt: skip
        figure.text(0.015, bottom + 0.215, text, color=GREY, fontsize=8.5)


def draw_scorer(axes: Any, rows: Sequence[Row], model: str, title: str, is_first: bool) -> None:
    """Draw a scorer's curves."""
    for kind, colour in (("general", STEPS), ("trace-free", ORDER)):
        chance = points_of(rows, "random", kind)
        axes.plot(chance[:, 0], chance[:, 1], color=colour, linestyle=(0, (1, 2)), linewidth=1.4)
        own = points_of(rows, model, kind)
        axes.fill_between(own[:, 0], own[:, 2], own[:, 3], color=colour, alpha=0.15, linewidth=0)
        axes.plot(own[:, 0], own[:, 1], color=colour, marker="o", markersize=3.5)
    axes.set_title(title, fontsize=9.5, loc="left", color=INK)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(range(2, 9))
    axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"] if is_first else ["", "", ""])
    axes.set_xlabel("steps", color=GREY)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(length=2, colors=GREY, labelcolor=INK)


def points_of(rows: Sequence[Row], model: str, kind: str) -> Any:
    """Return level, mean and the ends of the interval `(levels, 4)`."""
    own = [row for row in rows if (row["model"], row["kind"]) == (model, kind)]
    names = ("level", "mean_macro_f1", "ci_low", "ci_high")
    return np.array([[float(row[name] or row["mean_macro_f1"]) for name in names] for row in own])


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, help="folder of `make demo`, to renew the data")
    options = parser.parse_args()
    if options.demo is not None:
        renew(options.demo)
    draw(HERE.parent / "demo.png")


if __name__ == "__main__":
    main()
