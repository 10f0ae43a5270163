"""Embedded dataset: problem sets in small grid worlds, rendered on demand."""

# ruff: noqa: E402  # the check comes first, because its error names the extra to install

from lightning_vista.optional import require

require("minigrid", extra="mini")
require("crafter", extra="mini")

from lightning_vista.mini.build import SplitTotals, build_mini
from lightning_vista.mini.checker import check_draft, check_mini
from lightning_vista.mini.draft import Draft, Episode, World
from lightning_vista.mini.home_task import HomeTask, Task, sample_task
from lightning_vista.mini.slots import SPLITS, WORLDS, Slot, sample_draft, slots
from lightning_vista.mini.steps import Step, describe, words

__all__ = [
    "build_mini",
    "SplitTotals",
    "check_draft",
    "check_mini",
    "Draft",
    "Episode",
    "World",
    "SPLITS",
    "WORLDS",
    "Slot",
    "sample_draft",
    "slots",
    "Step",
    "describe",
    "words",
    "HomeTask",
    "Task",
    "sample_task",
]
