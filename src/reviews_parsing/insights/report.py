"""The report: one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reviews_parsing.errors import DataError
from reviews_parsing.insights import groups, plots_groups, plots_time, summary
from reviews_parsing.insights.counting import NEGATIVE, POSITIVE
from reviews_parsing.insights.drawing import percent, points
from reviews_parsing.insights.figures import MOST as MOST_BARS
from reviews_parsing.insights.figures import figures
from reviews_parsing.insights.svg import inline
from reviews_parsing.insights.tables import Insights, Sentence, Span
from reviews_parsing.io import filesystems
from reviews_parsing.io.files import write_bytes

TEMPLATES = Path(__file__).parent / "templates"
SIDES = (("Praised", POSITIVE), ("Blamed", NEGATIVE))
MOST_WORDS = 6


class Piece(NamedTuple):
    """A stretch of a review, with the span that it is, if it is one."""

    text: str
    span: Span | None


def write_report(insights: Insights, path: str | Path) -> None:
    """Write the page whole, or leave what was there. Raises DataError where that fails."""
    target = Path(path)
    check_page(target)
    write_bytes(target, render(insights).encode("utf-8", "replace"))


def check_page(target: Path) -> None:
    """Raises DataError where no page can be written there, before any work is done for it."""
    if target.suffix.lower() not in (".html", ".htm"):
        raise DataError(f"{target}: the report is a page: give a name that ends in .html")
    if filesystems.is_folder(str(target)):
        raise DataError(f"{target} is a folder: give the name of a file, such as {target / 'report.html'}")
    filesystems.require_writable(str(target))


def render(insights: Insights) -> str:
    """The page. Everything that comes from reviews is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        percent=percent,
        number=lambda n: f"{n:,}",
        points=points,
        p=lambda value: "< 0.001" if value < 0.001 else f"{value:.3f}",
        sure=lambda value: "p\u00a0<\u00a00.001" if value < 0.001 else f"p\u00a0=\u00a0{value:.3f}",
        only=lambda most: f"; the {most} categories most mentioned" if len(insights.categories) > most else "",
        most_bars=MOST_BARS,
        most_lines=plots_time.MOST,
        most_columns=plots_groups.MOST,
        day=summary.day_name,
        period=summary.period_name,
        told=summary.told,
        change_sentence=summary.change_sentence,
        contrast_sentence=summary.contrast_sentence,
        significant=summary.significant,
        pieces=pieces,
        side=side,
        sign=sign,
        least=groups.LEAST,
        most_groups=groups.MOST,
    )
    plots = {name: inline(figure, f"plot{n}") for n, (name, figure) in enumerate(figures(insights).items())}
    page = environment.get_template("report.html").render(
        it=insights,
        plots=plots,
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),  # noqa: S704  our own file
        findings=summary.findings(insights),
        vocabulary=_vocabulary(insights),
        quotes=_quotes(insights),
    )
    return page.lstrip()


def pieces(text: str, spans: Sequence[Span]) -> Iterator[Piece]:
    """A review cut at its spans; of two that overlap the first is kept."""
    at = 0
    for span in spans:
        if at <= span.start < span.end <= len(text):
            if at < span.start:
                yield Piece(text[at : span.start], None)
            yield Piece(text[span.start : span.end], span)
            at = span.end
    if at < len(text):
        yield Piece(text[at:], None)


def side(polarity: str | None) -> str:
    """The class of a polarity in the page."""
    return polarity if polarity in (POSITIVE, NEGATIVE) else "other"


def sign(polarity: str | None) -> str:
    """What stands beside colour."""
    return {POSITIVE: "+", NEGATIVE: "−"}.get(polarity or "", "·")


def _vocabulary(insights: Insights) -> dict[str, list[tuple[str, str, list[dict[str, Any]], list[str]]]]:
    """By category, for praise and blame: its words with the widths of their bars, and what judges the category."""
    found: dict[str, list[tuple[str, str, list[dict[str, Any]], list[str]]]] = {}
    for category in dict.fromkeys(word.category for word in insights.words):
        words = [word for word in insights.words if word.category == category]
        most = max(max(word.positive, word.negative) for word in words)
        for name, polarity in SIDES:
            counted = [(getattr(word, polarity), word) for word in words if getattr(word, polarity)]
            counted.sort(key=lambda pair: (-pair[0], pair[1].word))
            rows = [
                {
                    "word": word.word,
                    "n": n,
                    "width": round(100 * n / most, 1),
                    "with": word.praised_with if polarity == POSITIVE else word.blamed_with,
                }
                for n, word in counted[:MOST_WORDS]
            ]
            judged = [
                j.opinion
                for j in insights.judgements
                if (j.category, j.polarity) == (category, polarity) and j.aspects > 1
            ]
            found.setdefault(category, []).append((name, polarity, rows, judged[:6]))
    return found


def _quotes(insights: Insights) -> dict[str, list[tuple[str, str, list[Sentence]]]]:
    """By category, the sentences that praise and those that blame."""
    return {
        category: [
            (name, polarity, [s for s in insights.sentences if (s.category, s.polarity) == (category, polarity)])
            for name, polarity in SIDES
        ]
        for category in dict.fromkeys(sentence.category for sentence in insights.sentences)
    }
