"""Reports of evaluations: result tables and one HTML page."""

from lightning_vista.reports.report import write_report
from lightning_vista.reports.results import build_results, write_results

__all__ = ["build_results", "write_report", "write_results"]
