"""Tables and one page of what judges were scored at."""

from lightning_vista.reports.report import write_report
from lightning_vista.reports.results import build_results, write_results

__all__ = ["build_results", "write_report", "write_results"]
