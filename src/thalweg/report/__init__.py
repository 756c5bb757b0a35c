"""Reports: a result as one HTML page that opens offline, and in words."""

from thalweg.report.html import connection_html, save_report
from thalweg.report.words import MEANING, answer, comparison_rows, criterion, facts

__all__ = [
    "MEANING",
    "answer",
    "comparison_rows",
    "connection_html",
    "criterion",
    "facts",
    "save_report",
]
