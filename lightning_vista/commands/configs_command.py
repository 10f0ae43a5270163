"""The command `configs`: lists, prints and copies the shipped YAML files."""

import argparse
from pathlib import Path, PurePosixPath
from typing import Any

from lightning_vista.commands.shipped_configs import config_summary, copy_configs, shipped_configs, shipped_name


def add_configs_command(commands: Any) -> None:  # argparse's own type is private
    """Add the command `configs`.

    Args:
        commands: Subparsers of the main command.
    """
    configs = commands.add_parser("configs", help="list, print or copy the YAML files that come with the package")
    configs.add_argument("name", nargs="?", help="a folder to list, or a file to print, such as vista/clip_small.yaml")
    configs.add_argument(
        "--copy", metavar="DIR", help="copy them below this folder instead, with what studies refer to"
    )
    configs.set_defaults(run=configs_command)


def configs_command(options: argparse.Namespace) -> None:
    """List, print or copy shipped YAML files."""
    chosen = _chosen(options.name)
    if options.copy is not None:
        for path in copy_configs(chosen, Path(options.copy)):
            print(path)
    elif options.name is not None and len(chosen) == 1:
        print(shipped_configs()[chosen[0]].read_text(encoding="utf-8"), end="")
    else:
        width = max(map(len, chosen))
        for name in chosen:
            print(f"{name:{width}}  {config_summary(shipped_configs()[name])}")


def _chosen(name: str | None) -> list[str]:
    """Return the names of the files that an argument stands for: all, those of a folder, or one."""
    shipped = shipped_configs()
    if name is None:
        return list(shipped)
    folder = PurePosixPath(name.removeprefix("configs/"))
    below = [known for known in shipped if folder in PurePosixPath(known).parents]
    return below or [shipped_name(name, "studies")]
