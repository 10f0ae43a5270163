"""Reports of evaluations: result tables, one HTML page, and exports for other tools."""

# ruff: noqa: E402  # the check comes first, because its error names the extra to install

from lightning_vista.optional import require

require("polars", extra="vista")

from lightning_vista.reports.leaderboard import export_leaderboard
from lightning_vista.reports.lerobot_progress import export_lerobot, write_lerobot_progress
from lightning_vista.reports.lmms_eval_task import export_lmms_eval
from lightning_vista.reports.report import write_report
from lightning_vista.reports.results import build_results, write_results

__all__ = [
    "build_results",
    "export_leaderboard",
    "export_lerobot",
    "export_lmms_eval",
    "write_lerobot_progress",
    "write_report",
    "write_results",
]
