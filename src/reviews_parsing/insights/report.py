"""The report: one HTML page that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from reviews_parsing.data.files import write_bytes
from reviews_parsing.errors import DataError
from reviews_parsing.insights.figures import figures
from reviews_parsing.insights.svg import inline
from reviews_parsing.insights.tables import Insights

TEMPLATES = Path(__file__).parent / "templates"


def write_report(insights: Insights, path: str | Path) -> None:
    """Write the page whole, or leave what was there. Raises DataError where that fails."""
    target = Path(path)
    if target.is_dir():
        raise DataError(f"{target} is a folder: give the name of a file, such as {target / 'report.html'}")
    if not target.parent.is_dir():
        raise DataError(f"{target.parent} is no folder: make it, or write elsewhere")
    write_bytes(target, render(insights).encode("utf-8", "replace"))


def render(insights: Insights) -> str:
    """The page. Everything that comes from reviews is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plots = {name: inline(figure, name) for name, figure in figures(insights).items()}
    return environment.get_template("report.html").render(it=insights, plots=plots)
