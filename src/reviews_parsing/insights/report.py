"""HTML report: one self-contained page."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from urllib.parse import urlencode

from reviews_parsing.insights import evidence, groups, plots
from reviews_parsing.insights.charts import library_scripts, read_charts
from reviews_parsing.insights.counts import NEGATIVE, POSITIVE
from reviews_parsing.insights.files import check_page, write_parts
from reviews_parsing.insights.findings import (
    change_sentence,
    contrast_sentence,
    impact_sentence,
    overview,
    range_sentence,
    reportable_changes,
    reportable_contrasts,
    reportable_differences,
)
from reviews_parsing.insights.plots import figures
from reviews_parsing.insights.results import (
    Change,
    Contrast,
    Finding,
    GroupComparison,
    Insights,
    RangeComparison,
    RangeDifference,
    Sentence,
    Span,
)
from reviews_parsing.insights.similar import merge_lines
from reviews_parsing.insights.svg import inline
from reviews_parsing.insights.text import day_name, percent, period_name, points

TEMPLATES = Path(__file__).parent / "templates"
DATA = "<sentences>"
"""Place of the sentences in the page; no escaped text can hold it."""
BLOCK = 2000
"""Rows of a list that are written at once."""
SERVE_PORT, MAX_SOURCES = 8350, 3
"""Port, and number of files, in the command that the page of a large analysis names."""
SIDES = (("Praised", POSITIVE), ("Blamed", NEGATIVE))
MAX_WORDS = 6
MAX_FINDINGS, MAX_TOPICS = 15, 40
"""Findings and topics that are shown at once; the others are behind a click."""


class TextPiece(NamedTuple):
    """A piece of a review, with its span if it is one."""

    text: str
    span: Span | None


def write_report(insights: Insights, path: str | Path) -> None:
    """Write the page atomically. Raises DataError if it cannot be written."""
    target = Path(path)
    check_page(target)
    write_parts(target, render(insights))


def render(insights: Insights, remote: dict[str, Any] | None = None) -> Iterator[bytes]:
    """Yield the page in parts. Texts of reviews are escaped.

    The sentences, which make up most of a large page, are never in memory as one text. With `remote`, they come from
    the server of the page.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    document = remote or insights.evidence
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
        p_equals=p_equals,
        limited=lambda n: f"; the {n} categories most mentioned" if len(insights.categories) > n else "",
        stars_text=plots.stars_text,
        panels=_panels_caption(insights),
        max_bars=plots.MAX_BARS,
        max_panels=plots.MAX_PANELS,
        day=day_name,
        period=period_name,
        changes=_overall_changes(insights),
        change_sentence=change_sentence,
        contrast_sentence=contrast_sentence,
        distinct_contrasts=_distinct_contrasts,
        reportable_differences=reportable_differences,
        range_sentence=range_sentence,
        finding_filter=lambda finding: finding_filter(insights, finding),
        missing_sentences=missing_sentences(insights),
        change_filter=change_filter,
        contrast_filter=contrast_filter,
        range_filter=range_filter,
        urlencode=lambda **filters: urlencode(filters),
        linked=document is not None,
        pieces=pieces,
        side=side,
        sign=sign,
        min_reviews=groups.MIN_REVIEWS,
        max_groups=groups.MAX_GROUPS,
        max_findings=MAX_FINDINGS,
        max_topics=MAX_TOPICS,
    )
    linked = document is not None
    svgs = {name: inline(figure, f"plot{n}", linked) for n, (name, figure) in enumerate(figures(insights).items())}
    charts = read_charts(insights)
    scripts = [*library_scripts(), _template("charts.js")] if charts else []
    scripts += [_template("report.js")] if linked else []
    page = environment.get_template("report.html").render(
        insights=insights,
        plots=svgs,
        style=Markup(_template("report.css")),  # noqa: S704  our own file
        charts=charts,
        chart_data=Markup(_json(charts)),  # noqa: S704  no tag can begin
        scripts=[Markup(script) for script in scripts],  # noqa: S704  our own files and vendored ones
        connect_source="'self'" if remote else "'none'",
        script_source=" ".join(map(_script_hash, scripts)) or "'none'",
        data=Markup(DATA),  # noqa: S704  replaced below
        sources=", ".join(_file_name(source) for source in insights.sources),
        overview=overview(insights),
        impact_text=impact_sentence(insights.rating),
        merge_lines=merge_lines(insights.similar_topics),
        vocabulary=_vocabulary(insights),
        quotes=_quotes(insights),
    )
    before, *after = page.lstrip().encode("utf-8", "replace").split(DATA.encode())
    yield before
    for rest in after:
        yield from _json_blocks(document or {})
        yield rest


def _json_blocks(document: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield a document as JSON; its lists in blocks."""
    opening = "{"
    for name, value in document.items():
        yield f"{opening}{_json(name)}:".encode()
        opening = ","
        if isinstance(value, list):
            separator = b"["
            for start in range(0, len(value), BLOCK):
                yield separator + _json(value[start : start + BLOCK])[1:-1].encode("utf-8", "replace")
                separator = b","
            yield b"]" if value else b"[]"
        else:
            yield _json(value).encode("utf-8", "replace")
    yield b"}" if document else b"{}"


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _json(document: Any) -> str:
    """Return a document as JSON in which no HTML tag can begin."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _script_hash(script: str) -> str:
    """Return the source of a script for the content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def p_equals(value: float) -> str:
    """Return a p-value as text."""
    return "p\u00a0<\u00a00.001" if value < 0.001 else f"p\u00a0=\u00a0{value:.3f}"


def _file_name(source: str) -> str:
    """Return the last part of a path or URL: folders of a server are not for readers of its reports."""
    return PurePosixPath(PureWindowsPath(source).as_posix()).name or source


def missing_sentences(insights: Insights) -> str | None:
    """Return a sentence with the command that serves the sentences if there are too many for the page, or None.

    Files are named without their folders.
    """
    if not insights.categories or insights.reviews <= evidence.MAX_REVIEWS:
        return None
    options = [f"--by {shlex.quote(','.join(insights.by))}"] if insights.by else []
    options += [f"--min-score {insights.min_score:g}"] if insights.min_score else []
    names = [shlex.quote(_file_name(source)) for source in insights.sources[:MAX_SOURCES]]
    names += ["..."] if len(insights.sources) > MAX_SOURCES else []
    command = " ".join(["reviews-parsing insights", *names, *options, f"--serve {SERVE_PORT}"])
    return (
        f"The sentences of more than {evidence.MAX_REVIEWS:,} reviews do not fit into one page; this command serves the"
        f" report with all of them: {command}"
    )


def _panels_caption(insights: Insights) -> str:
    """Return the part of a caption that says which categories have a panel, or an empty text."""
    number, total = len(plots.panel_categories(insights)), len(insights.categories)
    return f"; {number} of {total} categories, those with enough reviews, on one scale" if number < total else ""


def _overall_changes(insights: Insights) -> list[Change]:
    """Return the most significant reportable change over all reviews of each category."""
    best: dict[str, Change] = {}
    for change in reportable_changes(insights.changes):
        if change.column is None:
            best.setdefault(change.category, change)
    return list(best.values())


def _distinct_contrasts(comparison: GroupComparison) -> list[Contrast]:
    """Return the most significant reportable difference of each group and category, in order of their p-values."""
    best: dict[tuple[str, str], Contrast] = {}
    for contrast in sorted(reportable_contrasts(comparison), key=lambda contrast: contrast.adjusted):
        best.setdefault((contrast.value, contrast.category), contrast)
    return list(best.values())


def finding_filter(insights: Insights, finding: Finding) -> str:
    """Return the filter of the sentences behind a finding, as a query string."""
    filters = {"category": finding.category or "", "topic": finding.topic or ""}
    measure = finding.measure
    if finding.kind == "rating":
        measure = "blame" if ":blame:" in finding.id else "praise"
    filters["polarity"] = plots.SIDES.get(measure, "")
    if finding.column in insights.by and finding.group is not None:
        filters[f"by:{finding.column}"] = finding.group
    elif finding.column == "weekday" and finding.group:
        filters["weekday"] = finding.group[0]
    if finding.since:
        filters["from"] = finding.since.isoformat()
    return _query(**filters)


def contrast_filter(comparison: GroupComparison, contrast: Contrast) -> str:
    """Return the filter of the sentences behind a cell of a heat map."""
    group = {f"by:{comparison.column}": contrast.value}
    return _query(category=contrast.category, polarity=plots.SIDES[contrast.measure], **group)


def change_filter(change: Change) -> str:
    """Return the filter of the sentences since a change over all reviews."""
    days = {"from": change.since.isoformat()}
    return _query(category=change.category, polarity=plots.SIDES[change.measure], **days)


def range_filter(compared: RangeComparison, difference: RangeDifference) -> str:
    """Return the filter of the current sentences behind a difference between two ranges."""
    days = {"from": f"{compared.first}", "to": f"{compared.last}"}
    group = {} if difference.column is None else {f"by:{difference.column}": f"{difference.group}"}
    topic = difference.topic or ""
    return _query(category=difference.category, topic=topic, polarity=plots.SIDES[difference.measure], **group, **days)


def _query(**filters: str) -> str:
    return urlencode({name: value for name, value in filters.items() if value})


def pieces(text: str, spans: Sequence[Span]) -> Iterator[TextPiece]:
    """Split a review at its spans; of two overlapping spans the first is used."""
    position = 0
    for span in spans:
        if position <= span.start < span.end <= len(text):
            if position < span.start:
                yield TextPiece(text[position : span.start], None)
            yield TextPiece(text[span.start : span.end], span)
            position = span.end
    if position < len(text):
        yield TextPiece(text[position:], None)


def side(polarity: str | None) -> str:
    """Return the CSS class of a polarity."""
    return polarity if polarity in (POSITIVE, NEGATIVE) else "other"


def sign(polarity: str | None) -> str:
    """Return the sign of a polarity, so that colour is not the only mark."""
    return {POSITIVE: "+", NEGATIVE: "−"}.get(polarity or "", "·")


def _vocabulary(insights: Insights) -> dict[str, list[tuple[str, str, list[dict[str, Any]], list[str]]]]:
    """Return by category, for praise and blame: words with bar widths, and the opinion expressions."""
    vocabulary: dict[str, list[tuple[str, str, list[dict[str, Any]], list[str]]]] = {}
    for category in dict.fromkeys(word.category for word in insights.words):
        words = [word for word in insights.words if word.category == category]
        longest = max(max(word.positive, word.negative) for word in words)
        for name, polarity in SIDES:
            counts = [(getattr(word, polarity), word) for word in words if getattr(word, polarity)]
            counts.sort(key=lambda pair: (-pair[0], pair[1].word))
            rows = [
                {
                    "word": word.word,
                    "id": evidence.word_entry(word)[0],
                    "n": n,
                    "width": round(100 * n / longest, 1),
                    "opinions": word.praised_with if polarity == POSITIVE else word.blamed_with,
                }
                for n, word in counts[:MAX_WORDS]
            ]
            opinions = [
                judgement.opinion
                for judgement in insights.judgements
                if (judgement.category, judgement.polarity) == (category, polarity) and judgement.aspects > 1
            ]
            vocabulary.setdefault(category, []).append((name, polarity, rows, opinions[:6]))
    return vocabulary


def _quotes(insights: Insights) -> dict[str, list[tuple[str, str, list[Sentence]]]]:
    """Return by category the quotes that praise and those that blame."""
    return {
        category: [
            (name, polarity, [s for s in insights.sentences if (s.category, s.polarity) == (category, polarity)])
            for name, polarity in SIDES
        ]
        for category in dict.fromkeys(sentence.category for sentence in insights.sentences)
    }
