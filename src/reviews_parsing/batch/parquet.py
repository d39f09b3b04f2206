"""Parquet files as inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reviews_parsing.batch.chunks import Batch, first_line
from reviews_parsing.batch.columns import Column, refuse_twins
from reviews_parsing.errors import DataError
from reviews_parsing.parser import CHUNK_TEXTS

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BUFFER = 2**20
"""Bytes read at once of each column, so that a file that is one row group fits into memory."""


@dataclass(frozen=True, slots=True)
class Parquet:
    """A Parquet file. `name` is what messages call it, `size` its bytes."""

    path: Path
    name: str
    size: int

    def columns(self) -> list[Column]:
        """The columns, from the file's footer. Raises DataError where it is damaged."""
        with self._opened() as file:
            return [Column(field, _fault(field, self.name)) for field in file.schema_arrow]

    def chunks(self) -> Iterator[Batch]:
        """Raises DataError where the file is damaged."""
        with self._opened() as file:
            total, done = file.metadata.num_rows, 0
            for batch in file.iter_batches(CHUNK_TEXTS, use_threads=False):
                done += len(batch)
                yield Batch(self.name, batch, self.size * done // total)

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pa.OSFile(str(self.path)) as raw, pq.ParquetFile(raw, buffer_size=BUFFER, pre_buffer=False) as file:
                refuse_twins(file.schema_arrow.names, self.name)
                yield file
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.name} cannot be read ({first_line(error)}): give a whole Parquet file") from None


def _fault(field: pa.Field, name: str) -> str | None:
    import pyarrow.types as pt

    kind = field.type.value_type if pt.is_dictionary(field.type) else field.type
    text = pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind) or pt.is_null(kind)
    return None if text else f"{name}: '{field.name}' is {field.type}"
