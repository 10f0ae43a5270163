"""Options of the commands `shards` and `export`; `cli.py` runs them."""

import argparse
from collections.abc import Callable
from typing import Any

Run = Callable[[argparse.Namespace], None]


def add_shards_options(commands: Any, run: Run) -> None:  # argparse's own type is private
    """Add the command `shards`; the namespace's `action` names the chosen one.

    Args:
        commands: Subparsers of the main command.
        run: Function that runs the action.
    """
    shards = commands.add_parser("shards", help="build, merge or verify WebDataset shards")
    actions = shards.add_subparsers(title="commands", metavar="COMMAND", dest="action", required=True)
    build = actions.add_parser("build", help="pack problem sets and their videos into shards")
    build.add_argument("tasks", help="the folder of the problem sets (`tasks`)")
    build.add_argument("videos", help="the folder of the videos: <environment>/<path> below it")
    build.add_argument("out", help="the folder to write")
    build.add_argument("--select", nargs="+", default=["*"], metavar="GLOB", help="only problem sets whose id matches")
    build.add_argument("--max-shard-mb", type=float, default=128, help="size of a shard (default: %(default)s)")
    build.add_argument(
        "--missing", choices=("error", "skip"), default="error", help="what to do about absent or undecodable videos"
    )
    build.add_argument("--frames", type=int, help="store this many frames as JPEG images instead of the videos")
    build.add_argument("--size", type=int, help="their height and width in pixels")
    build.add_argument(
        "--sampling",
        choices=("uniform", "stride"),
        default="uniform",
        help="the rule that chooses frames (default: %(default)s)",
    )
    build.add_argument("--overwrite", action="store_true", help="replace a finished build of other data")
    build.add_argument("--part", metavar="I/N", help="build the I-th of N parts, for `shards merge`")
    build.add_argument("--split", help="the data's split, for reports (default: that of the embedded dataset, or none)")
    merge = actions.add_parser("merge", help="join the parts of a build")
    merge.add_argument("parts", nargs="+", metavar="PART", help="the folders of all parts")
    merge.add_argument("out", help="the folder to write")
    merge.add_argument("--overwrite", action="store_true", help="replace other shards in it")
    verify = actions.add_parser("verify", help="check every sample against the index and decode its ends")
    verify.add_argument("dir", help="the folder, or address, of the shards")
    verify.add_argument("--attempts", type=int, default=6, help="attempts at a remote file (default: %(default)s)")
    verify.add_argument(
        "--read-timeout", type=float, default=60, help="seconds without data before another one (default: %(default)s)"
    )
    for each in (build, merge, verify):
        each.set_defaults(run=run)
    for each in (build, verify):
        each.add_argument("--workers", type=int, help="threads (default: one per core)")
        each.add_argument("--max-pixels", type=int, help="refuse frames of more pixels (default: 40 million)")
        each.add_argument("--max-frames", type=int, help="refuse videos of more frames (default: 1 million)")
        each.add_argument("--max-video-mb", type=float, help="refuse larger video files, in megabytes (default: 2000)")


def add_export_options(commands: Any, run: Run) -> None:  # as above
    """Add the command `export`; the namespace's `format` names the chosen one.

    Args:
        commands: Subparsers of the main command.
        run: Function that exports.
    """
    export = commands.add_parser("export", help="write the benchmark or its results for other tools")
    formats = export.add_subparsers(title="formats", metavar="FORMAT", dest="format", required=True)
    task = formats.add_parser("lmms-eval", help="the benchmark as a task of lmms-eval")
    task.add_argument("shards", help="the folder, or address, of shards with whole videos")
    task.add_argument("--select", nargs="+", default=["*"], metavar="GLOB", help="only problem sets whose id matches")
    task.add_argument("--task", default="vista", help="name of the task (default: %(default)s)")
    task.add_argument("--out", required=True, help="the folder to write; give it to lmms_eval as --include_path")
    board = formats.add_parser("leaderboard", help="score tables as one CSV with level, kind and description")
    board.add_argument("runs", nargs="+", metavar="RUN_OR_TABLE", help="run folders or scores.parquet files")
    board.add_argument("--dataset", required=True, help="shards or `tasks` folder, for the descriptions")
    board.add_argument("--out", required=True, help="the CSV file to write")
    robot = formats.add_parser("lerobot", help="progress curves of a run as LeRobot's progress.parquet")
    robot.add_argument("runs", metavar="RUN", help="a run folder that the callback ProgressCurves has completed")
    robot.add_argument("--out", required=True, help="the parquet file to write")
    for each in (task, board, robot):
        each.set_defaults(run=run)
