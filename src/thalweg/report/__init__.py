"""Reports: a result as one HTML page that opens offline, and in words."""

from thalweg.report.html import connection_html, save_report
from thalweg.report.words import answer, comparison_rows, facts

__all__ = ["answer", "comparison_rows", "connection_html", "facts", "save_report"]
