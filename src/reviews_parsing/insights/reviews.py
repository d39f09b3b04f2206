"""Parsed reviews, in whatever files they are, as one table of DuckDB that is read anew by every question."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from reviews_parsing.errors import DataError
from reviews_parsing.insights.files import DELIMITED, HOW, JSON, PARQUET, expand, kind_of, packed
from reviews_parsing.io import filesystems

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

ASPECTS, FILE, ROW = "aspects", "__file", "file_row_number"


def _struct(fields: dict[str, str]) -> str:
    """A type of structs as SQL has it."""
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
"""What an aspect holds, and its type in SQL."""
ASPECT = f"{_struct(FIELDS)}[]"
FROM_JSON = f"from_json({ASPECTS}, '{json.dumps([{**FIELDS, 'opinion': OPINION}])}')"
"""The aspects of a column that holds them as JSON; what one lacks is NULL."""
MEMORY = "1GB"
"""What DuckDB may hold in memory; beyond, it works on disk."""
LONGEST_ROW = 2**25
FETCHED_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Reviews:
    """The table `reviews` of a connection: the columns that came in, each of its type, and `aspects`.

    The column FILE holds the file of a row, ROW the row in it, from 0; `names` is what the user calls a file.
    """

    connection: DuckDBPyConnection
    columns: dict[str, DuckDBPyType]
    names: dict[str, str]

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """The answer to a query. Raises DataError where a file turns out to be damaged."""
        import duckdb

        try:
            return self.connection.execute(query, parameters).fetchall()
        except duckdb.Error as error:
            raise DataError(f"{', '.join([*self.names.values()][:3])}: {_first_line(error)}: {HOW}") from None


def quoted(name: str) -> str:
    """A name of a column as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def opened(paths: Sequence[str | Path]) -> Iterator[Reviews]:
    """The reviews of all files, folders, globs and URLs of these.

    What is not Parquet is copied to a temporary folder as Parquet; what lies in a bucket is copied there first, for it
    is read more than once.

    Raises DataError where there is no such file, it cannot be read, holds no review or no column of aspects, or DuckDB
    is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise DataError("insights need DuckDB: pip install 'reviews-parsing[insights]'") from None
    found = [name for path in paths for name in expand(str(path))]
    names = list({filesystems.absolute(name): name for name in found}.values())
    if not names:
        raise DataError("no input: give files, folders or globs that reviews-parsing parse wrote")
    with tempfile.TemporaryDirectory(prefix="reviews-parsing-") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "temp_directory": folder,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": False,
        }
        connection = duckdb.connect(str(Path(folder) / "insights.db"), config=config)
        try:
            files = _fetched(names, Path(folder))
            parquet = [
                _as_parquet(connection, file, name, Path(folder) / f"{n}.parquet")
                for n, (file, name) in enumerate(zip(files, names, strict=True))
            ]
            columns = _view(connection, parquet, names[0])
            yield Reviews(connection, columns, dict(zip(map(str, parquet), names, strict=True)))
        finally:
            connection.close()


def _fetched(names: Sequence[str], folder: Path) -> list[Path]:
    """The files themselves, or copies of those that lie in buckets."""

    def fetch(number: int, name: str) -> Path:
        if not filesystems.is_url(name):
            return Path(name)
        copy = folder / f"fetched-{number}{kind_of(name)}{packed(name)}"
        filesystems.fetch(name, copy)
        return copy

    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        return list(pool.map(fetch, range(len(names)), names))


def _as_parquet(connection: DuckDBPyConnection, file: Path, name: str, target: Path) -> Path:
    """The file, which the user calls `name`, or a copy of it in Parquet."""
    import duckdb

    kind = kind_of(name)
    if file.stat().st_size == 0:
        raise DataError(f"{name} is empty: {HOW}")
    try:
        if kind == PARQUET:
            _refuse_without_aspects(connection, f"read_parquet({literal(str(file))})", name)
            return file
        if kind in JSON:
            read = f"read_json({literal(str(file))}, format='newline_delimited', maximum_object_size={LONGEST_ROW}"
            columns = _refuse_without_aspects(connection, f"{read}, sample_size=100000)", name)
            kinds = {column: ASPECT if column == ASPECTS else "VARCHAR" for column in columns}
            struct = ", ".join(f"{literal(column)}: {literal(kind)}" for column, kind in kinds.items())
            query = f"FROM {read}, columns={{{struct}}})"
        elif kind in DELIMITED:
            delimiter = "\t" if kind == ".tsv" else ","
            dialect = f"delim='{delimiter}', quote='\"', escape='\"', header=true, all_varchar=true"
            read = f"read_csv({literal(str(file))}, {dialect}, max_line_size={LONGEST_ROW})"
            _refuse_without_aspects(connection, read, name)
            query = f"SELECT * REPLACE ({FROM_JSON} AS {ASPECTS}) FROM {read}"
        else:
            raise DataError(f"{name}: the ending '{file.suffix}' says no format: give .parquet or .jsonl; {HOW}")
        connection.execute(f"COPY ({query}) TO {literal(str(target))} (FORMAT parquet, PRESERVE_ORDER true)")
    except duckdb.Error as error:
        raise DataError(
            f"{name} cannot be read ({_first_line(error)}): give what reviews-parsing parse wrote"
        ) from None
    return target


def _refuse_without_aspects(connection: DuckDBPyConnection, table: str, name: str) -> list[str]:
    """The columns of a table. Raises DataError listing them where none is of aspects."""
    columns = connection.sql(f"FROM {table}").columns
    if ASPECTS not in columns:
        raise DataError(f"{name} has no column '{ASPECTS}', only {', '.join(columns)}: {HOW}")
    return columns


def _view(connection: DuckDBPyConnection, parquet: Sequence[Path], first: str) -> dict[str, DuckDBPyType]:
    """Makes the table `reviews`; the columns that came in, with their types. `first` is a name for messages."""
    import duckdb

    listed = ", ".join(literal(str(file)) for file in parquet)
    table = f"read_parquet([{listed}], union_by_name=true, filename={FILE}, {ROW}=true)"
    try:
        relation = connection.sql(f"FROM {table}")
        columns = dict(zip(relation.columns, relation.types, strict=True))
        aspects = _aspects(columns.pop(ASPECTS), first)
        connection.execute(f"CREATE VIEW reviews AS SELECT * REPLACE ({aspects} AS {ASPECTS}) FROM {table}")
        (empty,) = connection.execute("SELECT count(*) = 0 FROM reviews").fetchone() or (True,)
    except duckdb.Error as error:
        raise DataError(
            f"{first} cannot be read with the others ({_first_line(error)}): give them one by one"
        ) from None
    if empty:
        raise DataError(f"{first} holds no review: {HOW}")
    del columns[FILE], columns[ROW]
    return columns


def _aspects(kind: DuckDBPyType, first: str) -> str:
    """The column of aspects with all fields that an aspect can have. Raises DataError where it is something else."""
    if kind.id == "varchar":
        return FROM_JSON
    there = _fields(_fields(kind).get("child")) if kind.id == "list" else {}
    if "entity_group" not in there:
        raise DataError(f"{first}: the column '{ASPECTS}' is {kind!s:.60}, not parsed aspects: {HOW}")
    parts = (f"{quoted(f)}: " + (f"x.{quoted(f)}" if f in there else "NULL") + f"::{k}" for f, k in FIELDS.items())
    return f"list_transform({ASPECTS}, lambda x: {{{', '.join(parts)}}})"


def _fields(kind: DuckDBPyType | None) -> dict[str, DuckDBPyType]:
    """The parts of a type of lists or structs."""
    return dict(cast("list[tuple[str, DuckDBPyType]]", kind.children)) if kind and kind.id in ("list", "struct") else {}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(" .:")
