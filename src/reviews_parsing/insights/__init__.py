"""What parsed reviews say: how often each category comes up, how people feel about it, since when, in which words."""

from reviews_parsing.insights.analyse import analyse
from reviews_parsing.insights.export import check_targets, tables, to_json, write_tables
from reviews_parsing.insights.figures import figures
from reviews_parsing.insights.report import write_report
from reviews_parsing.insights.summary import findings
from reviews_parsing.insights.tables import Insights

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
