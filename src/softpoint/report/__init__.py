"""The report of an evaluation or a comparison: one HTML file that needs no network, script or other file."""

from softpoint.report.pages import comparison_page, evaluation_page

__all__ = ["comparison_page", "evaluation_page"]
