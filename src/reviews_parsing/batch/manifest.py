"""What a folder of parts was begun with; only the same may go on with it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from reviews_parsing.batch.columns import Column
from reviews_parsing.batch.lines import Place
from reviews_parsing.batch.plan import Options, Plan
from reviews_parsing.batch.source import Input, Part, Source
from reviews_parsing.batch.sources import reopened
from reviews_parsing.errors import DataError
from reviews_parsing.io.filesystems import Stat
from reviews_parsing.model_folder import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE
from reviews_parsing.parser import AspectParser

NAME = "_manifest.json"
FORMAT = 1


def form(plan: Plan, its: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a plan under these conditions. Raises DataError where the inputs' columns disagree."""
    import pyarrow as pa

    schema = pa.schema(plan.fields)
    return {
        "format": FORMAT,
        **its,
        "text_columns": list(plan.texts),
        "columns": {field.name: str(field.type) for field in schema},
        "schema": base64.b64encode(schema.serialize().to_pybytes()).decode("ascii"),
        # One a part: number of its input, bytes before it, its first line, rows.
        "parts": [[part.source, *part.start, part.rows] for part in plan.parts],
    }


def encode(its: dict[str, Any]) -> bytes:
    return (json.dumps(its, ensure_ascii=False) + "\n").encode("utf-8")


def conditions(sources: Sequence[Source], parser: AspectParser, options: Options, part_rows: int) -> dict[str, Any]:
    """All that decides what comes out."""
    return {
        "inputs": [{**asdict(source.input), "stat": list(source.input.stat)} for source in sources],
        "model": {"version": parser.version, "sha256": _digest(parser), "engine": parser.engine},
        "options": asdict(options),
        "part_rows": part_rows,
    }


def decode(data: bytes, name: str) -> dict[str, Any]:
    """Raises DataError where it is none of ours."""
    try:
        its = json.loads(data)
        if its["format"] == FORMAT:
            return its  # type: ignore[no-any-return]
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{name} is no manifest of this version: write to another folder")


def refuse_others(its: dict[str, Any], wanted: dict[str, Any], folder: str) -> None:
    """Raises DataError where the folder was begun with something else, saying what differs."""
    found: dict[str, tuple[Any, Any]] = {}
    found["the inputs"] = ([_identity(i) for i in its["inputs"]], [_identity(i) for i in wanted["inputs"]])
    found["the model"] = ({**its["model"], "version": None}, {**wanted["model"], "version": None})
    for key, value in wanted["options"].items():
        found[f"--{key.replace('_', '-')}"] = (its["options"].get(key), value)
    found["--part-rows"] = (its["part_rows"], wanted["part_rows"])
    differ = [what for what, (one, other) in found.items() if one != other]
    if differ:
        said = " and ".join(filter(None, (", ".join(differ[:-1]), differ[-1])))
        raise DataError(f"{folder} was begun with other values of {said}: give the same, or write to another folder")


def plan(its: dict[str, Any], sources: Sequence[Source] | None = None) -> Plan:
    """The plan that the manifest is of; its inputs are opened anew where they are not given."""
    import pyarrow as pa

    if sources is None:
        inputs = [Input(**{**file, "stat": Stat(*file["stat"])}) for file in its["inputs"]]
        sources = [reopened(file) for file in inputs]
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(its["schema"])))
    parts = [Part(i, source, Place(*start), rows) for i, (source, *start, rows) in enumerate(its["parts"])]
    return Plan(sources, its["text_columns"], [[Column(field) for field in schema]], parts)


def _identity(file: dict[str, Any]) -> Any:
    """A copy of standard input lies elsewhere each time."""
    return (file["name"] if file["copied"] else file["where"], list(file["stat"]))


def _digest(parser: AspectParser) -> str:
    state = hashlib.sha256()
    for name in (CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE):
        state.update((parser.folder / name).read_bytes())
    return state.hexdigest()
