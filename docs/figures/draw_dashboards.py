"""Draws the pictures of docs/dashboards.md: makes real offline runs, and reads wandb's run files back.

    python docs/figures/draw_dashboards.py --shards demo/shards --work runs/dashboards

Three runs, half an hour on 2 CPU cores that other processes kept busy: the classifier of digits trains with a routing
monitor, a small language model trains with GRAM and is attacked, and a shipped scorer is tested on the shards of `make
demo`. Each logs to wandb (offline) and to TensorBoard. A run whose files are there is not repeated. The same in
TensorBoard: `tensorboard --logdir runs/dashboards/tensorboard`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFont
from sheets import panel, sheet

from lightning_vista.cli import main as lightning_vista
from lightning_vista.drawing.boards import Table
from lightning_vista.drawing.charts import Chart, Point
from lightning_vista.video import FrameSpec, decode_video

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
#: A change of shipped configurations that makes each run short.
STORIES = [
    "--trainer.max_steps=150",
    "--trainer.val_check_interval=50",
    "--trainer.limit_val_batches=4",
    "--trainer.limit_test_batches=4",
]


def loggers(work: Path, name: str) -> dict[str, Any]:
    """Return the loggers of a run, as a configuration."""
    wandb = {"save_dir": str(work), "project": "dashboards", "name": name, "offline": True}
    board = {"save_dir": str(work / "tensorboard"), "name": name, "version": ""}
    path = "lightning.pytorch.loggers."
    return {
        "trainer": {
            "logger": [
                {"class_path": f"{path}WandbLogger", "init_args": wandb},
                {"class_path": f"{path}TensorBoardLogger", "init_args": board},
            ],
            "enable_progress_bar": False,
        }
    }


def make_runs(work: Path, shards: Path) -> dict[str, list[Path]]:
    """Do the runs that are missing, and return the folders of their wandb files, by name."""
    monitor = {"class_path": "lightning_vista.callbacks.RoutingMonitor", "init_args": {"every_n_steps": 5}}
    digits = CONFIGS / "routing/partition_classifier.yaml"
    texts = [
        CONFIGS / name for name in ("routing/language_model.yaml", "unlearning/stories.yaml", "unlearning/gram.yaml")
    ]
    commands: dict[str, list[list[str]]] = {
        "routing": [["fit", *configs(digits)]],
        "scores": [
            [
                "test",
                *configs(CONFIGS / "vista/shipped.yaml"),
                f"--data.shards={shards.resolve()}",
                "--data.problem_sets=['home/*']",
                "--evaluation.controls=[reversed, shuffled]",
                f"--evaluation.run_dir={work / 'scores'}",
            ]
        ],
        "unlearning": [["fit", *configs(*texts), *STORIES], ["test", *configs(*texts), *STORIES, "--ckpt_path={last}"]],
    }
    for name, lines in commands.items():
        if (work / f"{name}.done").exists():
            continue
        extra = work / f"{name}.yaml"
        added = loggers(work, name)
        if name == "routing":
            added["trainer"]["callbacks+"] = [monitor]
        added["trainer"]["default_root_dir"] = str(work / name)
        extra.write_text(yaml.safe_dump(added), encoding="utf-8")
        for command, *arguments in lines:
            found = sorted(work.rglob("checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
            last = found[-1] if found else None  # of the fit just before
            lightning_vista([command, *(text.replace("{last}", str(last)) for text in arguments), f"--config={extra}"])
        (work / f"{name}.done").touch()
    runs: dict[str, list[Path]] = {}
    for folder in sorted((work / "wandb").glob("offline-run-*")):
        runs.setdefault(records(folder, "run")[0]["display_name"], []).append(folder)
    return runs


def configs(*paths: Path) -> list[str]:
    """Return the options for configuration files."""
    return [f"--config={path}" for path in paths]


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    """Read the records of one kind from a wandb run file."""
    lines = map(json.loads, inspect(run).splitlines())
    return [line[kind] for line in lines if line["type"] == kind]


def inspect(run: Path, *options: str) -> str:
    """Run wandb's own reader."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(run)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def summary(run: Path) -> dict[str, Any]:
    """Read the last value of everything that a run logged."""
    return dict(json.loads(inspect(run, "--summary"))["summary"])


def table_of(run: Path, entry: dict[str, Any]) -> Table:
    """Read a table."""
    content = json.loads((run / "files" / entry["path"]).read_text(encoding="utf-8"))
    return Table(tuple(content["columns"]), [tuple(row) for row in content["data"]])


def image_of(run: Path, entry: dict[str, Any]) -> Image.Image:
    """Read the picture of a panel."""
    return Image.open(run / "files" / entry["filenames"][0]).convert("RGB")


def chart_of(run: Path, logged: dict[str, Any], name: str, **options: Any) -> Image.Image:
    """Draw the table behind a chart of wandb, which only its own pages draw."""
    head, _, tail = name.rpartition("/")
    points = table_of(run, logged[f"Custom Chart Tables/{head}/{tail}_table"])
    lines: dict[str, list[Point]] = {}
    for place, series, value in points.rows:
        lines.setdefault(str(series), []).append(Point(place, (float(value),)))  # type: ignore[arg-type] # numbers
    chart = Chart(name, lines, points.columns[0], points.columns[2], **options)
    return panel(chart)


def text_panel(title: str, lines: Sequence[str]) -> Image.Image:
    """Draw lines of text."""
    font = ImageFont.load_default(13)
    picture = Image.new("RGB", (620, 26 + 19 * len(lines)), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((0, 0), title, "#1c1e21", ImageFont.load_default(15))
    for number, line in enumerate(lines):
        draw.text((0, 24 + 19 * number), line, "#575c63", font)
    return picture


def video_rows(run: Path, logged: dict[str, Any], count: int) -> Iterator[Image.Image]:
    """Draw rows of the table of videos that have media, as wandb shows them: wrong ones first."""
    rows = table_of(run, logged["test/videos"])
    artifact = next(
        record["manifest"]["contents"]
        for record in records(run, "artifact")
        if any(file["path"] == "test/videos.table.json" for file in record["manifest"]["contents"])
    )
    files = {file["path"]: Path(file["local_path"]) for file in artifact}
    content = json.loads(files["test/videos.table.json"].read_text(encoding="utf-8"))
    cells = [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
    shown = [cell for cell in cells if cell["media"] and cell["prediction"]]
    right = [cell for cell in shown if cell["correct"]]
    wrong = [cell for cell in shown if not cell["correct"]]
    names = ("problem_set", "target", "prediction", "correct")
    for cell in [*wrong[: count // 2], *right][:count]:
        clip = decode_video(files[cell["media"]["path"]].read_bytes(), FrameSpec(6, size=72))
        strip = Image.fromarray(np.concatenate([*clip.frames.permute(0, 2, 3, 1).numpy()], axis=1))
        text = text_panel(f"test/videos, {len(rows.rows)} rows", [f"{name}: {cell[name]}" for name in names])
        row = Image.new("RGB", (620, text.height + strip.height + 4), "white")
        row.paste(text, (0, 0))
        row.paste(strip, (0, text.height + 2))
        yield row


def draw_routing(run: Path, out: Path) -> None:
    """Draw the heat maps and the shares over steps of a run with a routing monitor."""
    logged, module = summary(run), "network.layer4"
    places = ("before_mask", "behind_mask")
    curves = [chart_of(run, logged, f"routing/{module}/{place}", lines=True, reach=(0, 1)) for place in places]
    maps = image_of(run, logged[f"routing/{module}"])
    maps.save(out.parent / "routing_monitor.png", optimize=True)  # of the README
    sheet([maps, *curves], out / "routing.png", columns=1)


def draw_unlearning(run: Path, out: Path) -> None:
    """Draw the relearning curves, profiles and titration of a tested model."""
    logged = summary(run)
    curves = [chart_of(run, logged, f"test/relearning/{kind}", lines=True) for kind in ("forget", "retain")]
    pictures = [image_of(run, logged[name]) for name in ("test/profiles", "test/titration/core+forest")]
    sheet([*curves, *pictures], out / "unlearning.png", columns=1)


def draw_scores(run: Path, out: Path) -> None:
    """Draw the charts, the verdict and rows of the table of videos of a tested scorer."""
    logged = summary(run)
    charts = [chart_of(run, logged, "test/f1_by_level/home", lines=True, reach=(0, 1))]
    charts += [chart_of(run, logged, "test/f1_at_level_1/home", rows=True, reach=(0, 1))]
    verdicts = [f"{model}: {verdict}" for model, verdict in table_of(run, logged["test/order_verdicts"]).rows]
    sheet([*charts, text_panel("test/order_verdicts", verdicts), *video_rows(run, logged, 4)], out / "scores.png")


def main() -> None:
    """Make the runs and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, default=Path("demo/shards"), help="as `make demo` writes them")
    parser.add_argument("--work", type=Path, default=Path("runs/dashboards"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "dashboards", help="folder of the pictures")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    runs = make_runs(work, options.shards)
    for name, draw in (("routing", draw_routing), ("scores", draw_scores), ("unlearning", draw_unlearning)):
        draw(runs[name][-1], options.out)  # of several runs of one name the last: that of `test`


if __name__ == "__main__":
    main()
