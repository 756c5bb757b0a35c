"""Reports: a result as one HTML page that opens offline, and in words."""

from thalweg.report.html import connection_html, save_report
from thalweg.report.words import answer, facts

__all__ = ["answer", "connection_html", "facts", "save_report"]
