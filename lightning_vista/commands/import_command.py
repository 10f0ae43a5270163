"""The command `import`: problem sets of the official layout from a user's own videos."""

import argparse
from pathlib import Path
from typing import Any

from lightning_vista.commands.command_parser import key_values


def add_import_command(commands: Any) -> None:  # argparse's own type is private
    """Add the command `import`.

    Args:
        commands: Subparsers of the main command.
    """
    command = commands.add_parser("import", help="make problem sets of your own videos, in the official layout")
    command.add_argument("source", help="a CSV, JSONL or JSON file, a Hugging Face dataset's folder, or WebDataset's")
    command.add_argument("out", help="the folder to write: tasks/, metadata.csv and videos/")
    command.add_argument(
        "--format",
        choices=("auto", "table", "huggingface", "webdataset", "questions"),
        default="auto",
        help="what the source is (default: told from its names)",
    )
    command.add_argument("--videos", metavar="DIR", help="folder of the videos that a file names (default: its own)")
    command.add_argument("--environment", help="first part of the problem sets' ids (default: the source's name)")
    command.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME=COLUMN",
        help="columns of the source for video, description, set, level, kind, candidates",
    )
    command.add_argument("--link", action="store_true", help="make hard links of the videos instead of copies")
    command.set_defaults(run=import_command)


def import_command(options: argparse.Namespace) -> None:
    """Import a source and print the next command."""
    from lightning_vista.vista.importing import import_problem_sets

    problem_sets = import_problem_sets(
        options.source,
        options.out,
        source_format=options.format,
        videos=options.videos,
        environment=options.environment,
        columns=key_values("--columns", options.columns),
        link=options.link,
    )
    out = Path(options.out)
    print(f"{len(problem_sets)} problem sets, {len(problem_sets.memberships())} videos in {out}")
    print(f"Next: lightning-vista shards build {out / 'tasks'} {out / 'videos'} {out / 'shards'}")
