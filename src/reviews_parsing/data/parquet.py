"""Where Hugging Face rows live: a Parquet, Arrow or JSONL file, or a folder that `save_to_disk` made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reviews_parsing.data import hf, jsonl
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import read_bytes, replacing
from reviews_parsing.schema import Review

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET, ARROW, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_STATE, _INFO, _DATA = "state.json", "dataset_info.json", "data-00000-of-00001.arrow"


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """(row number, review) of a file. Raises DataError where it is damaged or lacks a column."""
    if not data.startswith((PARQUET, ARROW, ARROW_STREAM)):
        return hf.reviews([row for _, row in jsonl.rows(data, name)], {}, name)
    table = _table(data, name)
    return hf.reviews(table.to_pylist(), _features(table.schema.metadata or {}), name)


def encode(reviews: Sequence[Review]) -> bytes:
    """A Parquet file, with label names where the `datasets` library looks for them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table_of(reviews), sink)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` made the folder, from one split."""
    return (folder / _STATE).is_file()


def read_saved(folder: Path) -> Iterator[tuple[int, Review]]:
    """(row number, review) of a folder that `save_to_disk` made. Raises DataError where it is incomplete."""
    try:
        files = [str(file["filename"]) for file in json.loads(read_bytes(folder / _STATE))["_data_files"]]
        features = json.loads(read_bytes(folder / _INFO)).get("features")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: {_STATE} or {_INFO} is damaged ({error!r}): save the dataset again") from None
    tables = [_table(read_bytes(folder / file), str(folder / file)) for file in files]
    rows = [row for table in tables for row in table.to_pylist()]
    return hf.reviews(rows, features or _features(tables[0].schema.metadata or {}), str(folder))


def write_saved(reviews: Sequence[Review], folder: Path) -> None:
    """A folder that `datasets.load_from_disk` reads. Raises DataError where the folder holds anything else."""
    import pyarrow as pa

    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not is_saved(folder)):
        raise DataError(f"{folder} holds something else than a dataset: give a new folder")
    table = table_of(reviews)
    state: dict[str, Any] = {"_data_files": [{"filename": _DATA}], "_fingerprint": "", "_split": None}
    state |= {"_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False}
    info = {"features": None}  # the schema of the data has them
    with replacing(folder) as temporary:
        temporary.mkdir()
        with pa.OSFile(str(temporary / _DATA), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        for name, form in ((_STATE, state), (_INFO, info)):
            (temporary / name).write_text(json.dumps(form, indent=2) + "\n", encoding="utf-8")


def table_of(reviews: Sequence[Review]) -> pa.Table:
    """Rows as an Arrow table, tags as ClassLabel numbers. A column that Arrow would change goes into JSON."""
    import pyarrow as pa

    rows = hf.rows(reviews)
    names = hf.tag_names(reviews, (tag for row in rows for tag in row[hf.TAGS]))
    columns: dict[str, pa.Array] = {}
    extra: list[dict[str, Any]] = [json.loads(row.get(hf.META) or "{}") for row in rows]
    strings = {"id": pa.string(), "text": pa.string(), "tokens": pa.list_(pa.string())}
    number = {name: i for i, name in enumerate(names)}
    for key in rows[0]:
        values = [row[key] for row in rows]
        if key == hf.TAGS:
            columns[key] = pa.array([[number[tag] for tag in tags] for tags in values], pa.list_(pa.int64()))
        elif key in strings:
            columns[key] = pa.array(values, strings[key])
        elif key != hf.META and (array := _array(values, _aspects() if key == "aspects" else None)) is not None:
            columns[key] = array
        elif key != hf.META:
            for kept, value in zip(extra, values, strict=True):
                kept.update({} if value is None else {key: value})
    if any(extra):
        columns[hf.META] = pa.array([_json(kept) for kept in extra], pa.string())
    features = {hf.TAGS: {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}}
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _aspects() -> pa.DataType:
    import pyarrow as pa

    words: list[Any] = [("word", pa.string()), ("start", pa.int64()), ("end", pa.int64())]
    scores: list[Any] = [("score", pa.float64()), ("polarity", pa.string()), ("polarity_score", pa.float64())]
    return pa.list_(pa.struct([("entity_group", pa.string()), *words, *scores, ("opinion", pa.struct(words))]))


def _array(values: list[Any], kind: pa.DataType | None) -> pa.Array | None:
    """The values as a column of that kind, or as one that gives them back unchanged, or None where there is none."""
    import pyarrow as pa

    for attempt in (kind, None) if kind is not None else (None,):
        try:
            array = pa.array(values, attempt)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            continue
        if attempt is not None or array.to_pylist() == values:
            return array
    return None


def _json(value: dict[str, Any]) -> str | None:
    try:
        return json.dumps(value, ensure_ascii=False) if value else None
    except (TypeError, ValueError) as error:
        raise DataError(f"neither Arrow nor JSON can hold {value!r:.60} ({error}): change or remove it") from None


def _table(data: bytes, name: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if data.startswith(PARQUET):
            return pq.read_table(pa.BufferReader(data))
        if data.startswith(ARROW):
            return pa.ipc.open_file(data).read_all()
        return pa.ipc.open_stream(data).read_all()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{name}: damaged Parquet or Arrow ({reason}): save the dataset again") from None


def _features(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """The dataset's features as the `datasets` library writes them into a schema's metadata."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}
