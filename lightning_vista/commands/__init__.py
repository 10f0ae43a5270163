"""Commands that need neither callbacks nor datamodules, and what command lines say about mistakes."""

from typing import Any

from lightning_vista.commands.command_parser import CommandParser
from lightning_vista.commands.compose_command import add_compose_command
from lightning_vista.commands.configs_command import add_configs_command
from lightning_vista.commands.doctor import add_doctor_command
from lightning_vista.commands.import_command import add_import_command
from lightning_vista.commands.pretrained_command import add_pretrained_command


def add_commands(commands: Any) -> None:  # argparse's own type is private
    """Add the commands of this folder.

    Args:
        commands: Subparsers of the main command.
    """
    add_import_command(commands)
    add_compose_command(commands)
    add_pretrained_command(commands)
    add_configs_command(commands)
    add_doctor_command(commands)


__all__ = ["CommandParser", "add_commands"]
