"""Parsed reviews of any files as one DuckDB view, scanned anew by each query."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from reviews_parsing.cores import usable_cores
from reviews_parsing.errors import DataError
from reviews_parsing.insights.files import (
    DELIMITED_ENDINGS,
    JSON_ENDINGS,
    PARQUET,
    PARSE_FIRST,
    expand,
    fetch,
    format_of,
    modified,
)

if TYPE_CHECKING:
    import numpy as np
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

ASPECTS, FILE, ROW, ROW_ID = "aspects", "__file", "file_row_number", "__row_id"
TEXT_COLUMNS = ("text", "review", "review_text", "content", "comment", "body")
"""Usual names of the text column, for files in which no aspect tells it by its offsets."""
LANGUAGE, FOREIGN = "language", "foreign"
"""Columns in which `parse` writes the language of a text, and whether the model does not read it."""
IS_FOREIGN = f"(lower(coalesce(\"{FOREIGN}\"::VARCHAR, '')) = 'true')"
MAX_FOREIGN_SCORE = 0.5
"""Maximum score of an aspect in a text that the model does not read."""
BLANK = r"[\s\p{Z}\p{C}]*(?:NA|#?N/A|<NA>|NaN|nan|NULL|null|None|\\N)?[\s\p{Z}\p{C}]*"
"""Pattern of an empty text: spaces, control and zero-width characters, or a name of null."""
ROW_BITS = 40
"""Bits of ROW_ID that hold the row; the bits above hold the index of the file."""


def _struct(fields: dict[str, str]) -> str:
    """Return a struct type in SQL."""
    return "STRUCT(" + ", ".join(f'"{name}" {kind}' for name, kind in fields.items()) + ")"


OPINION = {"word": "VARCHAR", "start": "INTEGER", "end": "INTEGER"}
FIELDS = {
    "entity_group": "VARCHAR",
    "score": "DOUBLE",
    "word": "VARCHAR",
    "start": "INTEGER",
    "end": "INTEGER",
    "polarity": "VARCHAR",
    "polarity_score": "DOUBLE",
    "opinion": _struct(OPINION),
}
"""The fields of an aspect with their SQL types."""
ASPECT_TYPE = f"{_struct(FIELDS)}[]"
JSON_STRUCTURE = f"'{json.dumps([{**FIELDS, 'opinion': OPINION}])}'"
"""The structure of aspects for DuckDB's from_json, in SQL; missing fields are NULL."""
FROM_JSON = f"from_json({ASPECTS}, {JSON_STRUCTURE})"
"""SQL for the aspects of a JSON column."""
THREAD_MEMORY_MB, MAX_THREADS = 128, 8
"""Memory of DuckDB for each of its threads, and their maximum; larger queries spill to disk."""
MIN_MEMORY_MB = 256
MAX_ROW_BYTES = 2**25


@dataclass(frozen=True, slots=True)
class Reviews:
    """The view `reviews` of a connection: the input columns with their types, `aspects`, and ROW_ID.

    ROW_ID is unique and the same in every run: index of the file in `names`, then row from 0. `names` are the files as
    the user named them. `modified` is the latest modification of a local file, None if there are files in buckets.
    `text` is the column that the offsets of aspects refer to, or None. Rows with an empty text and no aspects are not
    reviews, and the aspects of reviews in a language that the model does not read are not reliable: the view leaves out
    both. `empty` is the number of the former, `foreign` those of the latter by language.
    """

    connection: DuckDBPyConnection
    columns: dict[str, DuckDBPyType]
    names: tuple[str, ...]
    modified: datetime | None
    text: str | None = None
    empty: int = 0
    foreign: tuple[tuple[str, int], ...] = ()

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Run a query and return its rows. Raises DataError if a file is damaged or the disk is full."""
        import duckdb

        try:
            return self.connection.execute(query, parameters).fetchall()
        except duckdb.Error as error:
            raise DataError(self._explain(error)) from None

    def arrays(self, query: str) -> dict[str, np.ndarray]:
        """Run a query and return its columns as arrays. Raises DataError like `rows`."""
        import duckdb

        try:
            return cast("dict[str, np.ndarray]", self.connection.execute(query).fetchnumpy())
        except duckdb.Error as error:
            raise DataError(self._explain(error)) from None

    def resolve(self, name: str) -> str | None:
        """Return the name in the view of a column of the files, or None if the files have no such column.

        Names that differ only in case from another one, or that the views use, have a number appended.
        """
        if name in self.columns:
            return name
        taken = {column.lower() for column in self.columns} | {FILE, ROW, ROW_ID}
        if name.lower() not in taken:  # `name_2` is a column of its own
            return None
        return next((column for column in self.columns if re.sub(r"_\d+$", "", column) == name), None)

    def insert(self, table: str, columns: Mapping[str, Sequence[object]], types: Sequence[str]) -> None:
        """Create a table from columns of equal length and SQL types."""
        import pyarrow as pa

        definitions = ", ".join(f"{name} {kind}" for name, kind in zip(columns, types, strict=True))
        self.connection.execute(f"CREATE TABLE {table} ({definitions})")
        if next(iter(columns.values())):
            self.connection.register("new_rows", pa.table({name: pa.array(rows) for name, rows in columns.items()}))
            self.connection.execute(f"INSERT INTO {table} SELECT * FROM new_rows")
            self.connection.unregister("new_rows")

    def _explain(self, error: Exception) -> str:
        message = _first_line(error)
        if re.search(
            r"No space left|out of disk|max_temp_directory_size|not enough disk space", str(error), re.IGNORECASE
        ):
            return "the folder for temporary files is full: free some space, or set TMPDIR to another folder"
        return f"{', '.join(self.names[:3])}: {message}: {PARSE_FIRST}"


def quoted(name: str) -> str:
    """Return a column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def normalised(column: str) -> str:
    """Return a column name in lower case with underscores, to compare with usual names."""
    return "_".join(column.lower().replace("-", " ").replace(".", " ").split())


@contextmanager
def open_reviews(paths: Sequence[str | Path]) -> Iterator[Reviews]:
    """Open the reviews of all files, folders, globs and URLs.

    Text files are converted to Parquet in a temporary folder, and files in buckets are copied there, because each query
    reads them again.

    Raises DataError if a file does not exist, cannot be read, has no reviews or no column of aspects, or if DuckDB is
    not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise DataError("insights need DuckDB: pip install 'reviews-parsing[insights]'") from None
    names = expand(paths)
    with tempfile.TemporaryDirectory(prefix="reviews-parsing-") as folder:
        threads = min(usable_cores(), MAX_THREADS)
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": f"{max(MIN_MEMORY_MB, THREAD_MEMORY_MB * threads)}MiB",
            "temp_directory": folder,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": False,
        }
        connection = duckdb.connect(str(Path(folder) / "insights.db"), config=config)
        try:
            parquet = [
                _as_parquet(connection, path, name, Path(folder) / f"{n}.parquet")
                for n, (path, name) in enumerate(zip(fetch(names, Path(folder)), names, strict=True))
            ]
            columns = _create_view(connection, parquet, names[0])
            reviews = Reviews(connection, columns, tuple(names), modified(names))
            text, empty = _leave_out_empty_texts(reviews)
            foreign = _leave_out_foreign_texts(reviews)
            yield replace(reviews, text=text, empty=empty, foreign=foreign)
        finally:
            connection.close()


def _as_parquet(connection: DuckDBPyConnection, path: Path, name: str, target: Path) -> Path:
    """Return the path of a Parquet file, or convert the file to Parquet at `target`; `name` is for messages."""
    import duckdb

    ending = format_of(name)
    if path.stat().st_size == 0:
        raise DataError(f"{name} is empty: {PARSE_FIRST}")
    try:
        if ending == PARQUET:
            table = f"read_parquet({literal(str(path))})"
            if not (renaming := _renaming(_check_aspects(connection, table, name))):
                return path
            query = f"SELECT *{renaming} FROM {table}"
        elif ending in JSON_ENDINGS:
            options = f"format='auto', maximum_object_size={MAX_ROW_BYTES}"  # lines, or an array
            table = f"read_json({literal(str(path))}, {options}"
            columns = _check_aspects(connection, f"{table}, sample_size=100000)", name)
            if _differ_in_case(columns):
                query = _objects_query(connection, f"read_json_objects({literal(str(path))}, {options})")
            else:
                types = {column: ASPECT_TYPE if column == ASPECTS else "VARCHAR" for column in columns}
                struct = ", ".join(f"{literal(column)}: {literal(kind)}" for column, kind in types.items())
                query = f"SELECT *{_renaming(columns)} FROM {table}, columns={{{struct}}})"
        elif ending in DELIMITED_ENDINGS:
            delimiter = "\t" if ending == ".tsv" else ","
            dialect = f"delim='{delimiter}', quote='\"', escape='\"', header=true, all_varchar=true"
            table = f"read_csv({literal(str(path))}, {dialect}, max_line_size={MAX_ROW_BYTES})"
            columns = _check_aspects(connection, table, name)
            query = f"SELECT * REPLACE ({FROM_JSON} AS {ASPECTS}){_renaming(columns)} FROM {table}"
        else:
            raise DataError(
                f"{name}: the ending '{path.suffix}' names no known format: give .parquet or .jsonl; {PARSE_FIRST}"
            )
        connection.execute(f"COPY ({query}) TO {literal(str(target))} (FORMAT parquet, PRESERVE_ORDER true)")
    except duckdb.Error as error:
        raise DataError(
            f"{name} cannot be read ({_first_line(error)}): give what reviews-parsing parse wrote"
        ) from None
    return target


def _renaming(columns: Sequence[str]) -> str:
    """Return SQL after `*` that renames columns with the names of the views' own columns, or an empty text."""
    added_columns = (FILE, ROW, ROW_ID)
    names = ", ".join(f"{quoted(c)} AS {quoted(_numbered(c, columns))}" for c in columns if c.lower() in added_columns)
    return f" RENAME ({names})" if names else ""


def _numbered(name: str, columns: Sequence[str]) -> str:
    """Return a name with the first number that makes it unique, as DuckDB does."""
    column_names = {column.lower() for column in columns}
    return next(f"{name}_{n}" for n in range(1, len(column_names) + 2) if f"{name}_{n}".lower() not in column_names)


def _differ_in_case(columns: Sequence[str]) -> bool:
    """Tell whether DuckDB has numbered columns, possibly because their names differ only in case from another one."""
    lower = {column.lower() for column in columns}
    return any(re.sub(r"_\d+$", "", name) in lower - {name} for name in lower)


def _objects_query(connection: DuckDBPyConnection, table: str) -> str:
    """Return SQL for the fields of JSON objects whose names differ only in case, the later ones numbered."""
    rows = connection.execute(
        f"SELECT key FROM (SELECT unnest(json_keys(json)) AS key FROM {table}) GROUP BY key ORDER BY key"
    ).fetchall()
    names: list[str] = [FILE, ROW, ROW_ID]
    fields = []
    for (key,) in rows:
        path = literal('$."' + key.replace('"', '\\"') + '"')
        if key == ASPECTS:
            value = f"from_json(json_extract(json, {path}), {JSON_STRUCTURE})"
        else:
            value = f"json_extract_string(json, {path})"
        name = key if key.lower() not in {n.lower() for n in names} else _numbered(key, names)
        names.append(name)
        fields.append(f"{value} AS {quoted(name)}")
    return f"SELECT {', '.join(fields)} FROM {table}"


def _check_aspects(connection: DuckDBPyConnection, table: str, name: str) -> list[str]:
    """Return the columns of a table. Raises DataError if `aspects` is not among them."""
    columns = connection.sql(f"FROM {table}").columns
    if ASPECTS not in columns:
        raise DataError(f"{name} has no column '{ASPECTS}', only {', '.join(columns)}: {PARSE_FIRST}")
    return columns


def _create_view(connection: DuckDBPyConnection, parquet: Sequence[Path], name: str) -> dict[str, DuckDBPyType]:
    """Create the view `all_rows` and return the input columns with their types; `name` is for messages."""
    import duckdb

    paths = ", ".join(literal(str(path)) for path in parquet)
    table = f"read_parquet([{paths}], union_by_name=true, filename={FILE}, {ROW}=true)"
    try:
        relation = connection.sql(f"FROM {table}")
        columns = dict(zip(relation.columns, relation.types, strict=True))
        aspects = _aspects_sql(columns.pop(ASPECTS), name)
        row_id = f"((list_position([{paths}], {FILE}) - 1)::BIGINT << {ROW_BITS}) + {ROW}"
        connection.execute(
            f"CREATE VIEW all_rows AS SELECT * REPLACE ({aspects} AS {ASPECTS}), {row_id} AS {ROW_ID} FROM {table}"
        )
        rows, unnamed = connection.execute(
            f"SELECT count(*), sum(len(list_filter({ASPECTS}, lambda x: x.entity_group IS NULL))) FROM all_rows"
        ).fetchone() or (0, 0)
    except duckdb.Error as error:
        raise DataError(f"{name} cannot be read with the others ({_first_line(error)}): give them one by one") from None
    if not rows:
        raise DataError(f"{name} holds no review: {PARSE_FIRST}")
    if unnamed:
        raise DataError(f"{name}: {unnamed:,} aspects have no 'entity_group', the category: {PARSE_FIRST}")
    del columns[FILE], columns[ROW]
    return columns


def _leave_out_empty_texts(reviews: Reviews) -> tuple[str | None, int]:
    """Create the view `texts` of all rows but those with an empty text; return the text column and their number.

    Raises DataError if no row has a text.
    """
    offsets_column = _column_of_offsets(reviews)
    usual = {name.lower(): name for name, kind in reversed(reviews.columns.items()) if str(kind) == "VARCHAR"}
    column = offsets_column or next((usual[name] for name in TEXT_COLUMNS if name in usual), None)
    if column is None:
        reviews.rows("CREATE VIEW texts AS FROM all_rows")
        return None, 0
    is_empty = (
        f"(coalesce(len({ASPECTS}), 0) = 0 AND regexp_full_match(coalesce({quoted(column)}, ''), {literal(BLANK)}))"
    )
    ((empty, total),) = cast(
        list[tuple[int, int]], reviews.rows(f"SELECT count(*) FILTER ({is_empty}), count(*) FROM all_rows")
    )
    if empty == total:
        raise DataError(
            f"{reviews.names[0]} holds no review: the column '{column}' is empty in all {total:,} rows: check the input"
        )
    where = f" WHERE NOT {is_empty}" if empty else ""
    reviews.rows(f"CREATE VIEW texts AS SELECT * FROM all_rows{where}")
    return offsets_column, empty


def _leave_out_foreign_texts(reviews: Reviews) -> tuple[tuple[str, int], ...]:
    """Create the view `reviews` of all texts in languages that the model reads; return the others by language.

    Raises DataError if there are only others.
    """
    where = ""
    counts: list[tuple[str, int]] = []
    if _has_foreign_column(reviews):
        language = f"coalesce({quoted(LANGUAGE)}::VARCHAR, 'und')" if LANGUAGE in reviews.columns else "'und'"
        counts = cast(
            list[tuple[str, int]],
            reviews.rows(
                f"SELECT {language} AS language, count(*) FROM texts WHERE {IS_FOREIGN} GROUP BY 1 ORDER BY 2 DESC, 1"
            ),
        )
    if counts:
        where = f" WHERE NOT {IS_FOREIGN}"
        ((readable,),) = reviews.rows(f"SELECT count(*) FROM texts{where}")
        if not readable:
            raise DataError(
                f"{reviews.names[0]}: all reviews are in a language that the model does not read ({counts[0][0]}): "
                "train a model on labelled reviews in that language"
            )
    reviews.rows(f"CREATE VIEW reviews AS SELECT * FROM texts{where}")
    return tuple(counts)


def _has_foreign_column(reviews: Reviews) -> bool:
    """Return whether the column `foreign` is that of `parse`: true or false, and never with a probable aspect."""
    if str(reviews.columns.get(FOREIGN)) not in ("BOOLEAN", "VARCHAR"):
        return False
    ((others,),) = reviews.rows(
        f"SELECT count(*) FROM texts WHERE lower({quoted(FOREIGN)}::VARCHAR) NOT IN ('true', 'false') OR"
        f" ({IS_FOREIGN} AND len(list_filter({ASPECTS}, lambda x: x.score > {MAX_FOREIGN_SCORE})) > 0)"
    )
    return not others


def _column_of_offsets(reviews: Reviews) -> str | None:
    """Return the string column that the offsets of aspects refer to, or None."""
    strings = [name for name, kind in reviews.columns.items() if str(kind) == "VARCHAR"]
    if not strings:
        return None
    matches = ", ".join(
        f"count(*) FILTER (substr({quoted(n)}, a.start + 1, a.end - a.start) = a.word)" for n in strings
    )
    ((counts, *_),) = reviews.rows(
        f"SELECT [{matches}] FROM (SELECT *, a FROM (SELECT *, unnest({ASPECTS}) AS a FROM"
        f" (FROM all_rows WHERE len({ASPECTS}) > 0 LIMIT 1000)) WHERE a.word IS NOT NULL)"
    )
    count, name = max(zip(cast(list[int], counts), strings, strict=True), key=lambda pair: pair[0])
    return name if count else None


def _aspects_sql(kind: DuckDBPyType, name: str) -> str:
    """Return SQL for the aspects with all fields. Raises DataError if the column holds anything else."""
    if kind.id == "varchar":
        return FROM_JSON
    fields = _children(_children(kind).get("child")) if kind.id == "list" else {}
    if "entity_group" not in fields:
        raise DataError(f"{name}: the column '{ASPECTS}' is {kind!s:.60}, not parsed aspects: {PARSE_FIRST}")
    parts = (f"{quoted(f)}: " + (f"x.{quoted(f)}" if f in fields else "NULL") + f"::{k}" for f, k in FIELDS.items())
    return f"list_transform({ASPECTS}, lambda x: {{{', '.join(parts)}}})"


def _children(kind: DuckDBPyType | None) -> dict[str, DuckDBPyType]:
    """Return the child types of a list or struct type."""
    return dict(cast("list[tuple[str, DuckDBPyType]]", kind.children)) if kind and kind.id in ("list", "struct") else {}


def _first_line(error: Exception) -> str:
    """Return the first line of a message without paths of the temporary folder."""
    line = str(error).strip().partition("\n")[0].rstrip(" .:")
    return re.sub(r"[^\s\"']*/reviews-parsing-[^\s\"']*", "a temporary file", line)
