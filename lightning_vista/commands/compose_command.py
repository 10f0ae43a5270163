"""The command `compose`: problem sets of sequences from a user's own single-step clips."""

import argparse
import re
from pathlib import Path
from typing import Any


def add_compose_command(commands: Any) -> None:  # argparse's own type is private
    """Add the command `compose`.

    Args:
        commands: Subparsers of the main command.
    """
    command = commands.add_parser("compose", help="make sequences, with their problem sets, of your own one-step clips")
    command.add_argument("clips", help="a CSV or JSONL with the columns clip and step [start, end, split]")
    command.add_argument("out", help="the folder to write: <split>/tasks, <split>/videos, <split>/leaks.csv")
    command.add_argument(
        "--levels", default="1-8", help="numbers of steps, such as 2-8 or 1,2,4 (default: %(default)s)"
    )
    command.add_argument(
        "--kinds", nargs="+", choices=("general", "permutation"), default=["general", "permutation"],
        help="other steps, or other orders (default: both)",
    )  # fmt: skip
    command.add_argument("--splits", nargs="+", default=["test"], help="such as train val test (default: test)")
    command.add_argument("--sets", type=int, default=6, help="sets of each level and kind (default: %(default)s)")
    command.add_argument("--candidates", type=int, default=6, help="descriptions of a general set (default: 6)")
    command.add_argument("--size", type=int, default=224, help="height and width in pixels (default: %(default)s)")
    command.add_argument("--fps", type=int, default=8, help="frames per second (default: %(default)s)")
    command.add_argument("--videos", metavar="DIR", help="folder of the clips (default: that of the table)")
    command.add_argument("--environment", default="composed", help="first part of the ids (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: %(default)s)")
    command.set_defaults(run=compose_command)


def compose_command(options: argparse.Namespace) -> None:
    """Compose problem sets, and print what parts of the videos give away."""
    from lightning_vista.vista.composing import compose_problem_sets
    from lightning_vista.vista.leaks import leak_lines

    leaks = compose_problem_sets(
        options.clips,
        options.out,
        levels=parse_levels(options.levels),
        kinds=options.kinds,
        splits=options.splits,
        num_sets=options.sets,
        candidates=options.candidates,
        size=options.size,
        fps=options.fps,
        environment=options.environment,
        videos=options.videos,
        seed=options.seed,
    )
    for split, found in leaks.items():
        folder = Path(options.out, split)
        print(
            f"{split}: {len(found)} problem sets in {folder}. Accuracy of a viewer who recognises every step it sees:"
        )
        print("\n".join(leak_lines(found)))
        places = f"{folder / 'tasks'} {folder / 'videos'} {folder / 'shards'}"
        print(f"Next: lightning-vista shards build {places} --split {split}")


def parse_levels(text: str) -> list[int]:
    """Return the levels that a text such as `2-8` or `1,2,4` names.

    Args:
        text: Numbers and ranges between commas.

    Raises:
        ValueError: If the text has another form.

    Example:
        >>> parse_levels("1,3-5")
        [1, 3, 4, 5]
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([1-9]\d*)(?:-([1-9]\d*))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"`levels`: expected numbers and ranges such as 2-8 or 1,2,4, got {text!r}.")
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(found)
