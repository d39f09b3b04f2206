"""Insights from parsed reviews: counts of categories, changes, group comparisons, words, quotes, and the report."""

from reviews_parsing.insights.analyse import (
    AnalysisOptions,
    analyse,
    find_place_column,
    list_group_columns,
    open_analysis,
)
from reviews_parsing.insights.digest import alerts, make_digest, parse_alerts, write_digest
from reviews_parsing.insights.export import (
    check_targets,
    tables,
    to_json,
    write_json,
    write_pictures,
    write_tables,
    write_workbook,
)
from reviews_parsing.insights.findings import findings
from reviews_parsing.insights.plots import figures
from reviews_parsing.insights.report import missing_sentences, write_report
from reviews_parsing.insights.results import Insights
from reviews_parsing.insights.serve import report_server

__all__ = [
    "AnalysisOptions",
    "Insights",
    "alerts",
    "analyse",
    "check_targets",
    "figures",
    "find_place_column",
    "findings",
    "list_group_columns",
    "make_digest",
    "missing_sentences",
    "open_analysis",
    "parse_alerts",
    "report_server",
    "tables",
    "to_json",
    "write_digest",
    "write_json",
    "write_pictures",
    "write_report",
    "write_tables",
    "write_workbook",
]
