"""Tables of reviews written in random dialects of delimited text, without the code under test."""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass

from hypothesis import strategies as st

WORDS = ["soup", "waiter", "harbour view", "cider", "the gnocchi", "our room", "breakfast", "parking", "Tom's pie"]
VERDICTS = ["was cold", "were superb", "is so-so", "cost $9", "took 45 minutes", "isn't bad", "made our day", "-- wow"]
JOINTS = [", ", "; ", " | ", " and ", ". ", " - ", "\n", "\t", ' "quoted" ', ",", ";", "...", " (really) ", " / "]
ACCENTS = ["café", "crème brûlée", "don’t", "“fine”", "£9", "jalapeño", "Müller", "naïve", "€5", "Škoda", "寿司", "🍜"]
TEXT_HEADERS = ["text", "review", "Review Text", "reviewText", "reviews.text", "COMMENT", "Body", "review_content"]
OTHER_HEADERS = [
    "id",
    "date",
    "rating",
    "city",
    "user name",
    "Stars",
    "helpful_count",
    "url",
    "Date of visit",
    "place.id",
]
TITLES = ["Export of reviews", "Generated 2024-01-06", "Customer feedback report", "Filter: all"]
CELLS = {
    "number": st.integers(0, 99999).map(str),
    "decimal": st.sampled_from(["4.5", "3.0", "5", "1.25"]),
    "comma decimal": st.sampled_from(["4,5", "3,0", "5", "1,25"]),
    "day": st.dates().map(str),
    "city": st.sampled_from(["Graz", "Ulm, Germany", "Bath; UK", "Nice", "", "N/A"]),
    "word": st.sampled_from(["yes", "no", "maybe", ""]),
    "link": st.sampled_from(["https://a.example/1?x=1;y=2", "https://b.example/,2"]),
}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1", "cp1250"]
ENCODINGS += ["mac_roman", "cp437", "shift_jis", "cp1251", "gb18030", "iso8859-15"]

sentences = st.tuples(st.sampled_from(WORDS), st.sampled_from(VERDICTS)).map(" ".join)


@st.composite
def reviews(draw: st.DrawFn) -> str:
    """Return a review of some sentences with delimiters, quotes, line ends and accents in it; sometimes empty."""
    parts = draw(st.lists(sentences, min_size=1, max_size=4))
    text = parts[0]
    for part in parts[1:]:
        text += draw(st.sampled_from(JOINTS)) + part
    if draw(st.integers(0, 3)) == 0:
        text += " " + draw(st.sampled_from(ACCENTS))
    return "" if draw(st.integers(0, 15)) == 0 else text


@dataclass(frozen=True)
class Dialect:
    """Dialect of a delimited table."""

    delimiter: str
    quoting: int
    doubled_quotes: bool
    line_end: str
    encoding: str
    header: bool
    preamble: tuple[str, ...]
    separator_line: bool


@dataclass(frozen=True)
class WrittenTable:
    """A table, and its bytes in a dialect; `header` is empty if the file has none."""

    dialect: Dialect
    header: list[str]
    rows: list[list[str]]
    text_index: int
    content: bytes

    @property
    def texts(self) -> list[str]:
        return [row[self.text_index] for row in self.rows]


dialects = st.builds(
    Dialect,
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    doubled_quotes=st.sampled_from([True, True, True, False]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.one_of(st.just("utf-8"), st.sampled_from(ENCODINGS)),
    header=st.sampled_from([True, True, False]),
    preamble=st.one_of(st.just(()), st.lists(st.sampled_from(TITLES), min_size=1, max_size=2, unique=True).map(tuple)),
    separator_line=st.sampled_from([False, False, False, True]),
)


@st.composite
def written_tables(draw: st.DrawFn) -> WrittenTable:
    """Return a table of reviews in a random dialect whose encoding has all of its characters."""
    dialect = draw(dialects)
    names = draw(st.lists(st.sampled_from(OTHER_HEADERS), max_size=4, unique=True))
    kinds = [draw(st.sampled_from(sorted(CELLS))) for _ in names]
    text_index = draw(st.integers(0, len(names)))
    names.insert(text_index, draw(st.sampled_from(TEXT_HEADERS)))
    kinds.insert(text_index, "")
    row = st.tuples(*(CELLS[kind] if kind else reviews() for kind in kinds)).map(list)
    rows = draw(st.lists(row, min_size=1, max_size=12))
    rows = [[_encodable(cell, dialect.encoding) for cell in cells] for cells in rows]
    rows = [cells for cells in rows if any(cells)]
    header = names if dialect.header else []
    return WrittenTable(dialect, header, rows, text_index, _write(dialect, header, rows))


def _encodable(cell: str, encoding: str) -> str:
    return cell.encode(encoding, "ignore").decode(encoding)


def _write(dialect: Dialect, header: list[str], rows: list[list[str]]) -> bytes:
    file = io.StringIO(newline="")
    if dialect.separator_line:
        file.write(f"sep={dialect.delimiter}{dialect.line_end}")
    for line in dialect.preamble:
        file.write(line + dialect.line_end)
    writer = csv.writer(
        file,
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.quoting == csv.QUOTE_MINIMAL else csv.QUOTE_ALL,
        doublequote=dialect.doubled_quotes,
        escapechar=None if dialect.doubled_quotes else "\\",
        lineterminator=dialect.line_end,
    )
    writer.writerows([header, *rows] if header else rows)
    content = file.getvalue().encode(dialect.encoding)
    if dialect.encoding == "utf-16":
        return codecs.BOM_UTF16_LE + file.getvalue().encode("utf-16-le")
    return content
