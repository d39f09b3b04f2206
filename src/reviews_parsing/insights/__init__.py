"""Insights from parsed reviews: counts of categories, changes, group comparisons, words, quotes, and the report."""

from reviews_parsing.insights.analyse import analyse
from reviews_parsing.insights.export import check_targets, tables, to_json, write_tables
from reviews_parsing.insights.findings import findings
from reviews_parsing.insights.plots import figures
from reviews_parsing.insights.report import write_report
from reviews_parsing.insights.results import Insights

__all__ = [
    "Insights",
    "analyse",
    "check_targets",
    "figures",
    "findings",
    "tables",
    "to_json",
    "write_report",
    "write_tables",
]
