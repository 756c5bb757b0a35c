"""Reports: a result as one HTML page that opens offline, and in words."""

from thalweg.report.atlas import atlas_html, save_atlas_report
from thalweg.report.comparison import comparison_html, save_comparison_report
from thalweg.report.html import connection_html, plane_beside, save_report
from thalweg.report.study import save_study_report, study_html
from thalweg.report.words import MEANING, answer, comparison_rows, criterion, facts

__all__ = [
    "MEANING",
    "answer",
    "atlas_html",
    "comparison_html",
    "comparison_rows",
    "connection_html",
    "criterion",
    "facts",
    "plane_beside",
    "save_atlas_report",
    "save_comparison_report",
    "save_report",
    "save_study_report",
    "study_html",
]
