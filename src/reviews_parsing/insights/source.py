"""Parsed reviews, in whatever files they are, as one table of DuckDB that is read anew by every question."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing.errors import DataError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

ASPECTS, FILE, ROW = "aspects", "__file", "file_row_number"
WORDS = 'STRUCT(word VARCHAR, "start" INTEGER, "end" INTEGER)'
FIELDS = {
    "entity_group": "VARCHAR",
    "score": "DOUBLE",
    "word": "VARCHAR",
    "start": "INTEGER",
    "end": "INTEGER",
    "polarity": "VARCHAR",
    "polarity_score": "DOUBLE",
    "opinion": WORDS,
}
"""What an aspect holds, and its type in SQL."""
ASPECT = "STRUCT(" + ", ".join(f'"{name}" {kind}' for name, kind in FIELDS.items()) + ")[]"
MEMORY = "1GB"
"""What DuckDB may hold in memory; beyond, it works on disk."""
LONGEST_ROW = 2**28
HOW = "parse them first: reviews-parsing parse FILE -o parsed.parquet"

_PARQUET = ".parquet"
_JSON, _DELIMITED = (".jsonl", ".ndjson", ".json"), (".csv", ".tsv")
_PACKED = (".gz", ".zst")


@dataclass(frozen=True, slots=True)
class Reviews:
    """The table `reviews` of a connection: the columns that came in, each of its type, and `aspects`.

    `names` are the files as they were given; the column FILE holds an index into them, ROW the row in it, from 0.
    """

    connection: DuckDBPyConnection
    columns: dict[str, DuckDBPyType]
    names: tuple[str, ...]

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """The answer to a query. Raises DataError where a file turns out to be damaged."""
        import duckdb

        try:
            return self.connection.execute(query, parameters).fetchall()
        except duckdb.Error as error:
            raise DataError(f"{', '.join(self.names[:3])}: {_first_line(error)}: {HOW}") from None


def quoted(name: str) -> str:
    """A name of a column as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def opened(paths: Sequence[str | Path]) -> Iterator[Reviews]:
    """The reviews of all files, folders and globs. What is not Parquet is copied to a temporary folder as Parquet.

    Raises DataError where there is no such file, it cannot be read, holds no review or no column of aspects, or DuckDB
    is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise DataError("insights need DuckDB: pip install 'reviews-parsing[insights]'") from None
    files = [file for path in paths for file in _files(str(path))]
    if not files:
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
            parquet = [_as_parquet(connection, file, Path(folder) / f"{n}.parquet") for n, file in enumerate(files)]
            columns = _view(connection, parquet, files)
            yield Reviews(connection, columns, tuple(map(str, files)))
        finally:
            connection.close()


def _files(path: str) -> list[Path]:
    """The files that a path means, sorted; in a folder Parquet goes before text forms of the same."""
    if not Path(path).exists() and has_magic(path):
        found = sorted(Path(name) for name in glob(path, recursive=True) if Path(name).is_file())
        if not found:
            raise DataError(f"{path} matches no file: check the path")
        return found
    if not Path(path).exists():
        raise DataError(f"{path} does not exist: check the path")
    if not Path(path).is_dir():
        return [Path(path)]
    inside = sorted(file for file in Path(path).rglob("*") if file.is_file() and not _hidden(file, Path(path)))
    for kinds in ((_PARQUET,), (*_JSON, *_DELIMITED)):
        found = [file for file in inside if _kind(file) in kinds]
        if found:
            return found
    raise DataError(f"{path} holds no Parquet and no JSONL: {HOW}")


def _hidden(file: Path, folder: Path) -> bool:
    """What writers of folders put beside the data begins with a dot or an underscore."""
    return any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)


def _kind(file: Path) -> str:
    return Path(file.stem).suffix.lower() if file.suffix.lower() in _PACKED else file.suffix.lower()


def _as_parquet(connection: DuckDBPyConnection, file: Path, target: Path) -> Path:
    """The file, or a copy of it in Parquet."""
    import duckdb

    kind = _kind(file)
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty: {HOW}")
    try:
        if kind == _PARQUET:
            _refuse_without_aspects(connection, f"read_parquet({literal(str(file))})", file)
            return file
        if kind in _JSON:
            read = f"read_json({literal(str(file))}, format='newline_delimited', maximum_object_size={LONGEST_ROW}"
            names = _refuse_without_aspects(connection, f"{read}, sample_size=100000)", file)
            kinds = {name: ASPECT if name == ASPECTS else "VARCHAR" for name in names}
            struct = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in kinds.items())
            query = f"FROM {read}, columns={{{struct}}})"
        elif kind in _DELIMITED:
            read = f"read_csv({literal(str(file))}, all_varchar=true, header=true, max_line_size={LONGEST_ROW})"
            _refuse_without_aspects(connection, read, file)
            query = f"SELECT * REPLACE ({ASPECTS}::JSON::{ASPECT} AS {ASPECTS}) FROM {read}"
        else:
            raise DataError(f"{file}: the ending '{file.suffix}' says no format: give .parquet or .jsonl; {HOW}")
        connection.execute(f"COPY ({query}) TO {literal(str(target))} (FORMAT parquet, PRESERVE_ORDER true)")
    except duckdb.Error as error:
        raise DataError(
            f"{file} cannot be read ({_first_line(error)}): give what reviews-parsing parse wrote"
        ) from None
    return target


def _refuse_without_aspects(connection: DuckDBPyConnection, table: str, file: Path) -> list[str]:
    """The columns of a table. Raises DataError listing them where none is of aspects."""
    names = connection.sql(f"FROM {table}").columns
    if ASPECTS not in names:
        raise DataError(f"{file} has no column '{ASPECTS}', only {', '.join(names)}: {HOW}")
    return names


def _view(connection: DuckDBPyConnection, parquet: Sequence[Path], files: Sequence[Path]) -> dict[str, DuckDBPyType]:
    """Makes the table `reviews`; the columns that came in, with their types."""
    import duckdb

    listed = ", ".join(literal(str(file)) for file in parquet)
    table = f"read_parquet([{listed}], union_by_name=true, filename={FILE}, {ROW}=true)"
    try:
        relation = connection.sql(f"FROM {table}")
        columns = dict(zip(relation.columns, relation.types, strict=True))
        aspects = _aspects(columns.pop(ASPECTS), files)
        connection.execute(f"CREATE VIEW reviews AS SELECT * REPLACE ({aspects} AS {ASPECTS}) FROM {table}")
        (empty,) = connection.execute("SELECT count(*) = 0 FROM reviews").fetchone() or (True,)
    except duckdb.Error as error:
        raise DataError(
            f"{files[0]} cannot be read with the others ({_first_line(error)}): give them one by one"
        ) from None
    if empty:
        raise DataError(f"{files[0]} holds no review: {HOW}")
    del columns[FILE], columns[ROW]
    return columns


def _aspects(kind: DuckDBPyType, files: Sequence[Path]) -> str:
    """The column of aspects with all the fields that an aspect can have. Raises DataError where it is something else."""
    if kind.id == "varchar":
        return f"{ASPECTS}::JSON::{ASPECT}"
    inner = kind.children[0][1] if kind.id == "list" else None
    if inner is None or inner.id != "struct" or "entity_group" not in dict(inner.children):
        raise DataError(f"{files[0]}: the column '{ASPECTS}' is {str(kind):.60}, not parsed aspects: {HOW}")
    there = dict(inner.children)
    parts = (f"{quoted(f)}: " + (f"x.{quoted(f)}" if f in there else "NULL") + f"::{k}" for f, k in FIELDS.items())
    return f"list_transform({ASPECTS}, lambda x: {{{', '.join(parts)}}})"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(" .:")
