"""The report page: what it shows (one file for each part), its pictures, and the HTML file."""

from lightning_vista.reports.page.html_page import write_page

__all__ = ["write_page"]
