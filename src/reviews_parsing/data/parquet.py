"""Reader and writer for Hugging Face datasets in Parquet; also reads Arrow files, JSONL rows and saved datasets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reviews_parsing.data import jsonl
from reviews_parsing.data.huggingface import META, TAGS, Row, decode_rows, encode_rows, order_tag_names
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import read_bytes
from reviews_parsing.schema import Review

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET_MAGIC, _ARROW_FILE_MAGIC, _ARROW_STREAM_MAGIC = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_STATE_FILE = "state.json"


def is_arrow(data: bytes) -> bool:
    """Return True for a Parquet file, an Arrow file or an Arrow stream."""
    return data.startswith((_PARQUET_MAGIC, _ARROW_FILE_MAGIC, _ARROW_STREAM_MAGIC))


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """Yield (row number, review) of a file. Raises DataError if it is damaged or lacks a column."""
    if is_arrow(data):
        return _decode_table(_read_table(data, name), name)
    return decode_rows([row for _, row in jsonl.decode_objects(data, name)], {}, name)


def encode(reviews: Sequence[Review]) -> bytes:
    """Return a Parquet file, with the label names in the schema, as the `datasets` library stores them."""
    return encode_splits({"all": reviews})["all"]


def encode_splits(splits: Mapping[str, Sequence[Review]]) -> dict[str, bytes]:
    """Return a Parquet file per split. The files share one schema, as `datasets.load_dataset` requires."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = encode_rows(splits.values())
    first_review = next(review for reviews in splits.values() for review in reviews)
    names = order_tag_names((tag for row in rows for tag in row[TAGS]), first_review.meta.get("tag_names"))
    try:
        table = _to_table(rows, names)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"neither Parquet nor JSON can hold the reviews ({error}): change or remove the value"
        ) from None
    files, offset = {}, 0
    for split, reviews in splits.items():
        sink = pa.BufferOutputStream()
        pq.write_table(table.slice(offset, len(reviews)), sink)
        files[split] = sink.getvalue().to_pybytes()
        offset += len(reviews)
    return files


def is_saved_dataset(folder: Path) -> bool:
    """Return True for a folder that `Dataset.save_to_disk` wrote, which holds one split."""
    return (folder / _STATE_FILE).is_file()


def read_saved_dataset(folder: Path) -> Iterator[tuple[int, Review]]:
    """Yield (row number, review) of a folder that `Dataset.save_to_disk` wrote. Raises DataError if it is damaged."""
    import pyarrow as pa

    try:
        state = json.loads(read_bytes(folder / _STATE_FILE))
        files = [folder / str(file["filename"]) for file in state["_data_files"]]
        table = pa.concat_tables([_read_table(read_bytes(file), str(file)) for file in files])
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: {_STATE_FILE} is damaged ({error!r}): save the dataset again") from None
    return _decode_table(table, str(folder))


def _decode_table(table: pa.Table, name: str) -> Iterator[tuple[int, Review]]:
    try:
        features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        features = None
    return decode_rows(table.to_pylist(), features if isinstance(features, dict) else {}, name)


def _read_table(data: bytes, name: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if data.startswith(_PARQUET_MAGIC):
            return pq.read_table(pa.BufferReader(data))
        if data.startswith(_ARROW_FILE_MAGIC):
            return pa.ipc.open_file(data).read_all()
        return pa.ipc.open_stream(data).read_all()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{name}: damaged Parquet or Arrow ({reason}): save the dataset again") from None


def _to_table(rows: Sequence[Row], tag_names: Sequence[str]) -> pa.Table:
    """Return the rows with tags as ClassLabel ids. A column that Arrow would change is stored as JSON."""
    import pyarrow as pa

    words = [("word", pa.string()), ("start", pa.int64()), ("end", pa.int64())]
    scores = [("score", pa.float64()), ("polarity", pa.string()), ("polarity_score", pa.float64())]
    aspect = pa.struct([("entity_group", pa.string()), *words, *scores, ("opinion", pa.struct(words))])
    types = {"id": pa.string(), "text": pa.string(), "tokens": pa.list_(pa.string()), "aspects": pa.list_(aspect)}
    columns: dict[str, pa.Array] = {}
    json_columns: list[dict[str, Any]] = [dict(row[META]) for row in rows]
    tag_ids = {name: number for number, name in enumerate(tag_names)}
    for key in rows[0]:
        values = [row[key] for row in rows]
        if key == TAGS:
            columns[key] = pa.array([[tag_ids[tag] for tag in tags] for tags in values], pa.list_(pa.int64()))
        elif key != META and (array := _to_array(values, types.get(key))) is not None:
            columns[key] = array
        elif key != META:
            for json_row, value in zip(json_columns, values, strict=True):
                json_row.update({} if value is None else {key: value})
    if any(json_columns):
        values = [json.dumps(json_row, ensure_ascii=False) if json_row else None for json_row in json_columns]
        columns[META] = pa.array(values, pa.string())
    features = {TAGS: {"feature": {"names": tag_names, "_type": "ClassLabel"}, "_type": "Sequence"}}
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _to_array(values: list[Any], arrow_type: pa.DataType | None) -> pa.Array | None:
    """Return the values as an array of that type, else of a lossless inferred type; None if Arrow cannot hold them."""
    import pyarrow as pa

    for candidate in (arrow_type, None) if arrow_type is not None else (None,):
        try:
            array = pa.array(values, candidate)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            continue
        if candidate is not None or array.to_pylist() == values:
            return array
    return None
