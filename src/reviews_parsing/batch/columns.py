"""Columns of inputs: the one with the texts, and the columns of several inputs together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reviews_parsing.errors import DataError
from reviews_parsing.io.encoded_values import encoded_type
from reviews_parsing.io.filesystems import first_line

if TYPE_CHECKING:
    import pyarrow as pa

ASPECTS, LANGUAGE, FOREIGN = "aspects", "language", "foreign"
"""Columns that the output adds; of the last two, an input keeps its own."""
TEXT_NAMES = ("text", "review", "review_text", "content", "comment", "body", "review_body", "review_content")
_COLLAPSED_NAMES = {name.replace("_", ""): name for name in (*TEXT_NAMES, "review_comment", "comment_text", "feedback")}
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")
_DELIMITERS = ",;\t|"
_GENERATED_NAME = re.compile(r"column_\d+")
_OBJECT_FAULT = re.compile(r" is (?:an object|struct<.*>), not a string")
_OTHER_WORDS = set("address location city country category url link email reply response answer".split())  # noqa: SIM905
"""Words in usual names of columns of strings that are not the reviews."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an input.

    `fault` names a value that is not a string, None if all are; `has_texts` is True if a value is. `has_words` is False
    if the values are numbers, dates or empty, `has_prose` if none of them has several words, `has_sentences` if these
    are all names (words that begin with capitals or digits) or JSON. `delimiters` are those in equal numbers in each
    value. `is_inferred` is True if the type was inferred from the values. `encoded` names a value that is an object or
    list as a string, '' if not all are.
    """

    field: pa.Field
    fault: str | None = None
    has_texts: bool = True
    has_words: bool = True
    has_prose: bool = True
    has_sentences: bool = True
    delimiters: str = ""
    is_inferred: bool = False
    encoded: str = ""

    @property
    def name(self) -> str:
        """Name of the column."""
        return self.field.name  # type: ignore[no-any-return]

    @property
    def is_object(self) -> bool:
        """True if a value is an object."""
        return self.fault is not None and _OBJECT_FAULT.search(self.fault) is not None

    def described_by(self, sample: ValueSample, location: str) -> Column:
        """Return the column with what a sample of its values tells."""
        encoded = f"{location}: '{self.name}' holds {sample.encoded_type} as a string in each row"
        return replace(
            self,
            has_words=sample.has_words,
            has_prose=sample.has_prose,
            has_sentences=sample.has_sentences,
            encoded=encoded if sample.encoded_type else "",
        )


def normalize_name(name: str) -> str:
    """Return a column name as lower-case words in the singular: `reviewText` and `Reviews.text` are `review_text`.

    >>> normalize_name("Date of visit")
    'date_of_visit'
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    return "_".join(word[:-1] if len(word) > 3 and word.endswith("s") and word[-2] != "s" else word for word in words)


def text_name(name: str) -> str | None:
    """Return the usual name of a text column of which `name` is a spelling, else None."""
    return _COLLAPSED_NAMES.get(normalize_name(name).replace("_", ""))


def refuse_duplicate_columns(names: Sequence[str], name: str) -> None:
    """Raise DataError if two columns of the input have the same name."""
    if len(set(names)) < len(names):
        duplicate, number = next((column, count) for column, count in Counter(names).items() if count > 1)
        if not duplicate.strip():
            raise DataError(
                f"{name} has {number} columns without a name: name them, or pass over the header by --no-header and "
                "--skip-lines"
            )
        raise DataError(f"{name} has two columns '{duplicate}': rename one")


def header_fault(values: Sequence[object], names: Sequence[str], location: str) -> str:
    """Return the fault of a row that repeats the header, as in files that were joined; '' for any other row.

    Raises DataError if it has the columns in another order: the rows after it would be in the wrong columns.
    """
    if values[:1] == names[:1] and list(values) == list(names):
        return "the header again"
    if not any(value in names for value in values[:2]) and not str(values[0] if values else "").startswith("\ufeff"):
        return ""
    cells = [str(value) for value in values]
    cells[0] = cells[0].removeprefix("\ufeff").strip('"')  # the byte order mark of the second file
    if cells == list(names):
        return "the header again"
    if len(cells) > 1 and sorted(cells) == sorted(names) and any(map(text_name, names)):
        raise DataError(
            f"{location}: a second header with the columns in another order ({', '.join(cells):.60}): give the joined "
            "files one by one"
        )
    return ""


def refuse_aspects_column(columns: Sequence[Column], name: str) -> None:
    """Raise DataError if the input has a column `aspects`, as parsed files have."""
    if existing := next((column.name for column in columns if column.name.lower() == ASPECTS), None):
        raise DataError(f"{name} already has a column '{existing}', where the parsed ones go: rename or remove it")


def choose_text_column(columns: Sequence[Column], name: str, requested: str | None) -> str:
    """Return the column of the texts: the requested one, else one with a usual name, else the only one of strings.

    Raises DataError if it is not found (the message lists the columns), if it holds no string, or if it was not
    requested and seems to hold several columns.
    """
    if requested is not None:
        chosen = next((column for column in columns if column.name == requested), None)
    else:
        chosen = _by_name(columns, name) or _only_strings(columns)
    if chosen is None:
        description = "that is clearly the texts" if requested is None else f"'{requested}'"
        names = ", ".join(column.name for column in columns)
        objects = ", ".join(column.name for column in columns if column.is_object)
        remedy = f"; of objects ({objects}), the fields are read by --records (JSON) or as columns" if objects else ""
        raise DataError(
            f"{name} has no column {description}: name the text column by --text-column, one of {names}{remedy}"
        )
    if chosen.fault is not None and not chosen.has_texts:
        fields = ", or read its fields by --records (JSON)" if chosen.is_object else ""
        raise DataError(f"{chosen.fault.partition(': correct')[0]}: correct it, or name another --text-column{fields}")
    if requested is None:
        if chosen.encoded:
            raise DataError(
                f"{chosen.encoded}: write the text itself into a column, or confirm the column by --text-column"
            )
        _refuse_delimiters(chosen, name)
    return chosen.name


def _by_name(columns: Sequence[Column], name: str) -> Column | None:
    """Return the column with a usual name: prose goes before other strings, exact names before similar ones."""
    strings = [column for column in columns if column.fault is None and column.has_texts]
    prose, words = [c for c in strings if c.has_prose and c.has_words], [c for c in strings if c.has_words]
    groups = prose, words, strings, [c for c in columns if c.has_texts], columns
    for group in groups:
        exact = [[column for column in group if column.name == usual_name] for usual_name in TEXT_NAMES]
        similar = [
            [column for column in group if text_name(column.name) == usual_name]
            for usual_name in _COLLAPSED_NAMES.values()
        ]
        matches: Sequence[Column] = next(filter(None, exact + similar), [])
        if len(matches) > 1:
            names = ", ".join(column.name for column in matches)
            raise DataError(f"{name} has several columns of texts ({names}): name one by --text-column")
        if matches:
            if group is not prose and group is not words and matches[0].name != TEXT_NAMES[0]:
                _refuse_other_prose(matches[0], columns, name)
            return matches[0]
    return None


def _refuse_other_prose(chosen: Column, columns: Sequence[Column], name: str) -> None:
    """Raise DataError if a column with a usual name (not `text`) holds numbers, links or nothing, and another prose."""
    other = next((c for c in columns if c.fault is None and c.has_texts and c.has_words and c.has_sentences), None)
    if other is not None and chosen.fault is None:
        raise DataError(
            f"{name}: the column '{chosen.name}' holds no words in its first rows, unlike '{other.name}': name the "
            "texts by --text-column"
        )


def _only_strings(columns: Sequence[Column]) -> Column | None:
    """Return the only column of prose, unless it seems to hold names, addresses, replies or JSON.

    The only column of an input may hold anything, and the only one of strings single words if columns have no names.
    """
    strings = [column for column in columns if column.fault is None and column.has_texts and column.has_words]
    candidates = [column for column in strings if column.has_prose] or strings
    if len(candidates) != 1:
        return None
    (chosen,) = candidates
    is_other = _OTHER_WORDS.intersection(normalize_name(chosen.name).split("_"))
    is_review = chosen.has_sentences or (not chosen.has_prose and _GENERATED_NAME.fullmatch(chosen.name))
    return chosen if (is_review and not is_other) or len(columns) == 1 else None


def _refuse_delimiters(column: Column, name: str) -> None:
    """Raise DataError if a column that was not requested seems to be a row that was not split."""
    in_name = [delimiter for delimiter in _DELIMITERS if delimiter in column.name.strip()]
    if in_name or column.delimiters:
        separator = "tabs" if (in_name or column.delimiters)[0] == "\t" else f"'{(in_name or column.delimiters)[0]}'"
        raise DataError(
            f"{name}: the column '{column.name:.60}' seems to hold several columns with {separator} between them: give "
            "--delimiter, or confirm the column by --text-column"
        )


def merge_columns(inputs: Sequence[Sequence[Column]]) -> list[pa.Field]:
    """Return the columns of all inputs, in the order in which they first appear.

    Types that widen without loss (int and double, null and any) are widened. Raises DataError if two inputs disagree
    otherwise.
    """
    fields: dict[str, pa.Field] = {}
    inferred: dict[str, bool] = {}
    for columns in inputs:
        for column in columns:
            field = column.field if len(inputs) == 1 else column.field.with_nullable(True)
            fields[column.name] = _merge_fields(fields.get(column.name, field), field)
            inferred[column.name] = inferred.get(column.name, True) and column.is_inferred
    return [_without_nulls(field) if inferred[name] else field for name, field in fields.items()]


def column_names(inputs: Sequence[Sequence[Column]]) -> list[str]:
    """Return the names of the columns of all inputs, in the order in which they first appear."""
    return list(dict.fromkeys(column.name for columns in inputs for column in columns))


def added_columns(names: Iterable[str], with_languages: bool) -> tuple[str, ...]:
    """Return the columns that the output adds to the columns `names`: aspects, language and foreign.

    Those of the language are left out if the input has a column of that name in any case, or the parser identifies no
    languages.
    """
    lower = {name.lower() for name in names}
    return (ASPECTS, *(name for name in (LANGUAGE, FOREIGN) if with_languages and name not in lower))


def _without_nulls(field: pa.Field) -> pa.Field:
    from reviews_parsing.batch.arrow_types import replace_nulls

    return field.with_type(replace_nulls(field.type))


def _merge_fields(first: pa.Field, second: pa.Field) -> pa.Field:
    import pyarrow as pa

    if first.equals(second):
        return first
    try:
        return pa.unify_schemas([pa.schema([first]), pa.schema([second])], promote_options="permissive").field(0)
    except pa.ArrowException as error:
        raise DataError(
            f"column '{first.name}' is {first.type} in one input and {second.type} in another ({first_line(error)}): "
            "parse them one by one, or write .jsonl"
        ) from None


def split_text(row: dict[str, object], column: str) -> tuple[str, dict[str, object]]:
    """Return the text of a row, and its other columns."""
    text = row.get(column)
    return text if isinstance(text, str) else "", {key: value for key, value in row.items() if key != column}


class ValueSample:
    """Running summary of the first values of a column of strings."""

    SIZE, MAX_NAME_WORDS = 1000, 8

    def __init__(self) -> None:
        self.has_words = self.has_prose = self.has_sentences = False
        self.encoded_type = ""
        self._count = 0
        self._delimiters: dict[str, int] = {}

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, value: str) -> None:
        """Look at a value; blank ones and those after the first `SIZE` are ignored."""
        if self._count >= self.SIZE or not value.strip():
            return
        # With and without those before a space; the comma before a space is that of prose.
        counts = {d: value.count(d) - value.count(f"{d} ") for d in _DELIMITERS}
        counts |= {f"{d} ": value.count(d) for d in _DELIMITERS if d != ","}
        may_be_row = any(map(str.isalnum, value))
        self._delimiters = {
            delimiter: number
            for delimiter, number in counts.items()
            if number and may_be_row and (not self._count or self._delimiters.get(delimiter) == number)
        }
        if not self._count or self.encoded_type:
            self.encoded_type = encoded_type(value)
        self._count += 1
        if self.has_sentences or is_number_or_date(value):
            return
        words = value.split()
        self.has_words = True
        self.has_prose = self.has_prose or len(words) > 1
        is_sentence = len(words) > self.MAX_NAME_WORDS or any(map(_is_lower_case, words))
        self.has_sentences = len(words) > 1 and is_sentence and not _JSON_VALUE.fullmatch(value)

    @property
    def delimiters(self) -> str:
        """The delimiters that all values have equally often, '' if there are too few values to tell."""
        return "".join(delimiter[0] for delimiter in self._delimiters) if self._count > 1 else ""


_JSON_VALUE = re.compile(r"""\s*(?:\{\s*["'].*\}|\[\s*[\[({"'\d].*\])\s*""", re.DOTALL)


def _is_lower_case(word: str) -> bool:
    """Return True if a word is not written like a part of a name, or its script has no capitals."""
    return word[0].isalpha() and not word[0].isupper()


_NUMBER_OR_DATE = re.compile(
    r"\s*(?:[^\w\s]?[-+\d.,\s%]*\d[\d.,\s%]*[^\w\s]?|[\d./:\-\sTZ+]+|\d+\s*(?:stars?|out of \d+|/\s*\d+)"
    r"|(?:\w{3,9},? )?\w{3,9}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4}.{0,15}|\d{1,2}\.? \w{3,9}\.?,? \d{4}.{0,15}|true|false"
    r"|https?://\S*|[^@\s]+@[^@\s]+)\s*",
    re.IGNORECASE,
)


def is_number_or_date(value: str) -> bool:
    """Return True if a value is a number, amount, date, time, link or address."""
    return len(value) < 200 and _NUMBER_OR_DATE.fullmatch(value) is not None
