"""Manifest of a folder of parts: the inputs, model and options of the run; only the same may resume it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from reviews_parsing.batch.columns import Column
from reviews_parsing.batch.parsers import ReviewParser, StoredParser
from reviews_parsing.batch.plan import Options, Plan
from reviews_parsing.batch.readers import Input, Layout, Limits, Part, Reader, ReadOptions
from reviews_parsing.batch.readers.detection import open_reader
from reviews_parsing.batch.rows import Position
from reviews_parsing.errors import DataError
from reviews_parsing.io.filesystems import Stat
from reviews_parsing.model_folder import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE

NAME = "_manifest.json"
FORMAT = 2
Form = dict[str, Any]


def make_form(plan: Plan, conditions: Form) -> Form:
    """Return the manifest of a plan. Raises DataError if the columns of the inputs disagree."""
    import pyarrow as pa

    schema = pa.schema(plan.fields)
    return {
        "format": FORMAT,
        **conditions,
        "layouts": [asdict(reader.input.layout) for reader in plan.readers],
        "text_columns": list(plan.text_columns),
        "columns": {field.name: str(field.type) for field in schema},
        "schema": base64.b64encode(schema.serialize().to_pybytes()).decode("ascii"),
        # One entry a part: index of its input, offset and line of its first row, rows.
        "parts": [[part.source, *part.start, part.rows] for part in plan.parts],
    }


def encode(form: Form) -> bytes:
    """Return a manifest as bytes."""
    # ASCII, because names of files need not be UTF-8.
    return (json.dumps(form) + "\n").encode("ascii")


def make_conditions(readers: Sequence[Reader], parser: ReviewParser, options: Options, part_rows: int) -> Form:
    """Return all that the output depends on."""
    inputs = [
        {"name": file.name, "location": file.location, "stat": list(file.stat), "is_copy": file.is_copy}
        for file in (reader.input for reader in readers)
    ]
    form = asdict(options)
    reading = form.pop("reading")
    limits = reading.pop("limits")
    return {
        "inputs": inputs,
        "model": _model_identity(parser),
        "options": {**form, **reading, **limits},
        "part_rows": part_rows,
    }


def decode(data: bytes, name: str) -> Form:
    """Return a manifest. Raises DataError if it is damaged or of another version."""
    try:
        form = json.loads(data)
        if form["format"] == FORMAT:
            return form  # type: ignore[no-any-return]
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{name} is no manifest of this version: write to another folder")


def refuse_differences(form: Form, conditions: Form, folder: str) -> None:
    """Raise DataError if the folder was begun under other conditions, naming the options that differ."""
    pairs: dict[str, tuple[Any, Any]] = {
        "the inputs": (
            [_identity(file) for file in form["inputs"]],
            [_identity(file) for file in conditions["inputs"]],
        ),
        "the model": ({**form["model"], "version": None}, {**conditions["model"], "version": None}),
    }
    for key, value in conditions["options"].items():
        pairs[f"--{key.replace('_', '-')}"] = (form["options"].get(key), value)
    pairs["--part-rows"] = (form["part_rows"], conditions["part_rows"])
    different = [name for name, (first, second) in pairs.items() if first != second]
    if different:
        listed = " and ".join(filter(None, (", ".join(different[:-1]), different[-1])))
        raise DataError(f"{folder} was begun with other values of {listed}: give the same, or write to another folder")


def restore_plan(form: Form, readers: Sequence[Reader] | None = None) -> Plan:
    """Return the plan of a manifest; without `readers` its inputs are opened anew."""
    import pyarrow as pa

    limits = read_options(form).reading.limits
    if readers is None:
        readers = [_reopen(file, layout, limits) for file, layout in zip(form["inputs"], form["layouts"], strict=True)]
    else:
        readers = [
            open_reader(_with_layout(reader.input, layout), limits)
            for reader, layout in zip(readers, form["layouts"], strict=True)
        ]
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(form["schema"])))
    parts = [Part(i, source, Position(*start), rows) for i, (source, *start, rows) in enumerate(form["parts"])]
    return Plan(readers, form["text_columns"], [[Column(field) for field in schema]], parts)


def read_options(form: Form) -> Options:
    """Return the options of a manifest."""
    values = dict(form["options"])
    limits = Limits(**{name: values.pop(name) for name in Limits.__dataclass_fields__})
    reading = {name: values.pop(name) for name in ReadOptions.__dataclass_fields__ if name in values}
    return Options(**values, reading=ReadOptions(**reading, limits=limits))


def _reopen(file: Form, layout: Form, limits: Limits) -> Reader:
    stat = Stat(*file["stat"])
    return open_reader(Input(file["name"], file["location"], stat, _layout(layout), file["is_copy"]), limits)


def _with_layout(file: Input, layout: Form) -> Input:
    return Input(file.name, file.location, file.stat, _layout(layout), file.is_copy)


def _layout(form: Form) -> Layout:
    return Layout(**{**form, "names": tuple(form["names"])})


def _identity(file: Form) -> Any:
    """Return the identity of an input; a copy of standard input lies elsewhere in each run."""
    return (file["name"] if file["is_copy"] else file["location"], list(file["stat"]))


def _model_identity(parser: ReviewParser) -> Form:
    """Return the identity of a model: its version and digest; a parser without a model folder has none."""
    if not isinstance(parser, StoredParser):
        raise DataError("a folder of parts needs a parser with a model folder: write to a file, or load a model")
    state = hashlib.sha256()
    for name in (CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE):
        state.update((parser.folder / name).read_bytes())
    return {"version": parser.version, "sha256": state.hexdigest(), "engine": parser.engine}
