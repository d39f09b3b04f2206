"""A whole file: its columns, its parsing under way, and what came out."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing import batch
from reviews_parsing.batch.columns import ASPECTS
from reviews_parsing.demo import leftout, marks
from reviews_parsing.demo.client import Client, Stream
from reviews_parsing.demo.marks import plural
from reviews_parsing.demo.one import note
from reviews_parsing.errors import DataError, ReviewsParsingError, Stopped
from reviews_parsing.schema import Aspect, ParsedReview

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".gz", ".zst"]
ROWS = 50
"""Reviews of a file that are shown."""
LONGEST = 600
"""Characters of such a review that are shown."""
TICK = 0.25
"""Between two looks at the work under way, in seconds."""
CAPTIONS = {
    "mentions": "Share of reviews that mention each category",
    "polarity": "How people feel about each category",
    "time_mentions": "Mentions over time",
    "time_polarity": "Feelings over time",
}
UNWATCHED = 20.0
"""Work that nobody has looked at for as long is ended, in seconds."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the page shows of a file under way; the files to fetch and the outcome once it is done."""

    message: str
    outcome: str = ""
    parsed: Path | None = None
    report: Path | None = None
    left_out: Path | None = None


def text_columns(path: str) -> tuple[list[str], str | None]:
    """The columns of a file that may hold texts, and the one that is likely to. Raises DataError."""
    preview = batch.preview_file(path)
    if not preview.text_columns:
        raise DataError(f"no column of strings: it has {', '.join(preview.columns)}")
    return preview.text_columns, preview.text_column


def parse(client: Client, path: str, column: str) -> Iterator[Step]:
    """Parse a file, step by step. Whoever closes the iterator, or forgets it, ends the work; nothing is left then.

    The files of the last step are there until the iterator is asked for more.
    """
    with tempfile.TemporaryDirectory(prefix="reviews-parsing-page-") as folder:
        work = _Work(client, path, column, Path(folder) / f"{_stem(path)}-parsed.parquet")
        try:
            while not work.ended.wait(TICK):
                yield Step(work.progress())
            if work.failure is not None:
                yield Step(note(without_folder(str(work.failure), path)))
                return
            yield Step(work.progress("Drawing …"))
            yield work.outcome()
        finally:
            work.stop()


class _Work:
    """A file that is parsed in a thread."""

    def __init__(self, client: Client, path: str, column: str, target: Path) -> None:
        self._path = path
        self._column = column
        self._target = target
        self._stopping = threading.Event()
        self._stream = Stream(client, self._stopping)
        self._begun = self._watched = time.monotonic()
        self._total = 0
        self._report: batch.Report | None = None
        self.failure: ReviewsParsingError | OSError | None = None
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="parses-a-file", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def progress(self, words: str | None = None) -> str:
        """How far it is, as HTML."""
        self._watched = time.monotonic()
        seconds, done, total = self._watched - self._begun, self._stream.answered, self._total
        left = f", about {_time(seconds * (total - done) / done)} left" if total > done > 0 and seconds > 2 else ""
        said = words or f"{plural(done, 'review')}, {done / seconds:,.0f} a second{left}"
        share = f' max="1" value="{min(1.0, done / total):.3f}"' if total else ""
        return (
            f'<div class="rp-progress"><progress{share} aria-label="Done so far"></progress>'
            f'<p role="status">{said}</p></div>'
        )

    def outcome(self) -> Step:
        report, target = self._report, self._target
        assert report is not None  # it has ended without a failure
        from reviews_parsing import insights

        page = target.with_name(f"{_stem(self._path)}-insights.html")
        try:
            found = insights.analyse([target])
            insights.write_report(found, page)
            drawn = pictures(insights.figures(found))
        except ReviewsParsingError as error:
            # What was parsed is not lost for want of a picture.
            drawn = note(str(error))
        rejects = Path(report.rejects) if report.rejects else None
        why = str(leftout.tidied(rejects, Path(self._path).name)) if rejects else ""
        html = summary(report, self._stream, why) + counted(report.counts) + drawn
        html += reviews(target, self._column, report)
        return Step("", html, target, page if page.exists() else None, rejects)

    def _run(self) -> None:
        try:
            self._report = batch.parse_files(
                self._stream, [self._path], self._target, text_column=self._column, progress=self._on_rows
            )
        except (ReviewsParsingError, OSError) as error:
            self.failure = error
        finally:
            self.ended.set()

    def _on_rows(self, done: int, total: int, rows: int) -> None:
        self._total = total
        if self._stopping.is_set() or time.monotonic() - self._watched > UNWATCHED:
            self._stopping.set()
            raise Stopped("stopped")


def summary(report: batch.Report, stream: Stream, left_out: str) -> str:
    """What was done, in words; `left_out` says what was not."""
    who = " and ".join(f"version {escape(version)}" for version in sorted(stream.versions))
    rate = report.parsed / report.seconds if report.seconds else 0.0
    by = f" by {who}" if who else ""
    said = [
        f"{plural(report.aspects, 'aspect')} found{by} in {_time(report.seconds)}, {rate:,.0f} reviews a second.",
    ]
    if report.rows > report.parsed:
        said.append(f"Without a text: {plural(report.rows - report.parsed, 'row')}.")
    if stream.skipped:
        said.append(f"Longer than the server takes, so without aspects: {plural(stream.skipped, 'text')}.")
    lost = f'<p class="rp-note rp-hint">{escape(left_out)}</p>' if left_out else ""
    return f'<h3>{plural(report.rows, "review")}</h3><p role="status">{" ".join(said)}</p>{lost}'


def counted(counts: Mapping[tuple[str, str | None], int]) -> str:
    """A table of categories by polarity, the most frequent first."""
    totals: Counter[str] = Counter()
    for (category, _), number in counts.items():
        totals[category] += number
    polarities = sorted({polarity for _, polarity in counts if polarity is not None})
    head = "".join(f'<th scope="col">{marks.SIGNS.get(p, marks.OTHER_SIGN)} {escape(p)}</th>' for p in polarities)
    rows = "".join(
        f'<tr><th scope="row">{escape(category)}</th><td>{total:,}</td>'
        + "".join(f"<td>{counts.get((category, polarity), 0):,}</td>" for polarity in polarities)
        + "</tr>"
        for category, total in totals.most_common()
    )
    return (
        '<div class="rp-scroll" tabindex="0" role="region" aria-label="Aspects by category and polarity">'
        '<table class="rp-table"><caption>Aspects by category and polarity</caption>'
        f'<thead><tr><th scope="col">Category</th><th scope="col">Aspects</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def pictures(figures: Mapping[str, Figure]) -> str:
    """Plots within the page, in its colours; the table beside them and the report say the same in words."""
    from reviews_parsing.insights.svg import inline

    shown = (
        f"<figure><figcaption>{escape(CAPTIONS.get(name, name.replace('_', ' ').capitalize()))}</figcaption>"
        f"{inline(figure, f'rp-{name}')}</figure>"
        for name, figure in figures.items()
    )
    return f'<div class="rp-pictures">{"".join(shown)}</div>'


def reviews(parsed: Path, column: str, report: batch.Report) -> str:
    """The first reviews of a parsed file, marked."""
    rows = []
    hue = marks.hues(category for category, _ in report.counts)
    for row in islice((row for row in batch.read_rows([str(parsed)]) if row[column]), ROWS):
        aspects = tuple(map(Aspect.from_json, row[ASPECTS]))
        shown = ParsedReview(row[column], aspects) if len(row[column]) <= LONGEST else _shortened(row[column], aspects)
        rows.append(f"<li>{marks.text(shown, hue)}</li>")
    return f'<h3>The first {len(rows)} of them</h3><ol class="rp-rows">{"".join(rows)}</ol>' if rows else ""


def _shortened(text: str, aspects: tuple[Aspect, ...]) -> ParsedReview:
    """The beginning of a long text, with the aspects that are in it."""

    def within(aspect: Aspect) -> bool:
        return all(part.end <= LONGEST for part in (aspect, aspect.opinion) if part and part.end is not None)

    return ParsedReview(f"{text[:LONGEST]} …", tuple(filter(within, aspects)))


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _stem(path: str) -> str:
    return Path(path).name.split(".")[0] or "reviews"


def without_folder(message: str, path: str) -> str:
    """Who uploaded a file knows its name, not where the page keeps it."""
    return message.replace(path, Path(path).name)
