"""Decoder of Label Studio exports (JSON and JSON-MIN) and of task files for import."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from reviews_parsing.data.jsonl import parse_json
from reviews_parsing.data.labelstudio.config import IMPLICIT, OPINION, POLARITY, TEXT
from reviews_parsing.data.labelstudio.encoding import META, REVIEW_ID
from reviews_parsing.data.labelstudio.spans import resolve_spans
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8
from reviews_parsing.schema import Aspect, Opinion, Review

_MIN_KEY = "annotation_id"
# Keys of a JSON-MIN row that describe the annotation; the others are task data and outputs of controls.
_MIN_METADATA = frozenset((_MIN_KEY, "id", "annotator", "created_at", "updated_at", "lead_time", "agreement"))
_RESULT_TYPES = ("labels", "choices", "taxonomy")


@dataclass(frozen=True, slots=True)
class Task:
    """A task with its labels; `number` counts from 1.

    `predicted_aspects` are those of `model_version`, None without a prediction. `labelled_at` and `author` are those of
    the annotation. `unlinked_opinions` is the number of opinions that judge no labelled aspect.
    """

    number: int
    review: Review
    is_labelled: bool
    predicted_aspects: tuple[Aspect, ...] | None = None
    model_version: str | None = None
    author: str | None = None
    labelled_at: datetime | None = None
    unlinked_opinions: int = 0


def is_export(data: bytes) -> bool:
    """Return True if the data begins like an export: a JSON list of objects."""
    return re.match(rb"\[\s*[{\]]", data) is not None


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """Yield (number, review) for each labelled task. If there are only predictions, they replace the labels.

    Raises DataError naming the invalid task, or if no task has labels or predictions.
    """
    tasks = _read_tasks(data, name)
    labelled_tasks = [task for task in tasks if task.is_labelled] or [
        replace(task, review=replace(task.review, aspects=task.predicted_aspects))
        for task in tasks
        if task.predicted_aspects is not None
    ]
    if tasks and not labelled_tasks:
        raise _unlabelled_error(name, len(tasks))
    yield from ((task.number, task.review) for task in labelled_tasks)


def decode_tasks(data: bytes, name: str) -> list[Task]:
    """Return each labelled task, with the annotation that is ground truth, else the last one that was not skipped.

    Raises DataError naming the invalid task, or if no task is labelled.
    """
    tasks = _read_tasks(data, name)
    labelled_tasks = [task for task in tasks if task.is_labelled]
    if not labelled_tasks:
        raise _unlabelled_error(name, len(tasks))
    return labelled_tasks


def _unlabelled_error(name: str, task_count: int) -> DataError:
    return DataError(f"{name}: none of its {task_count} tasks is labelled: label some, then export again")


def _read_tasks(data: bytes, name: str) -> list[Task]:
    try:
        entries = parse_json(decode_utf8(data, name), "export it again")
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    if not isinstance(entries, list):
        raise DataError(f"{name}: a {type(entries).__name__}, not a list of tasks: export JSON or JSON-MIN")
    tasks = []
    for number, entry in enumerate(entries, start=1):
        try:
            tasks.append(_read_task(number, entry))
        except DataError as error:
            raise DataError(f"{name}: task {number}: {error}") from None
    return tasks


def _read_task(number: int, entry: Any) -> Task:
    if not isinstance(entry, dict) or not (isinstance(entry.get("data"), dict) or _MIN_KEY in entry):
        raise DataError(f"neither a task ('data') nor a row of JSON-MIN ('{_MIN_KEY}'): export one of the two")
    if _MIN_KEY in entry:
        data, annotation = _read_min_row(entry)
    else:
        data = entry["data"]
        annotation = _select_last(_get_list(entry, "annotations") or _get_list(entry, "completions"))
    text = _find_text(data)
    prediction = _select_last(_get_list(entry, "predictions"))
    predicted_aspects = _read_aspects(text, prediction["result"])[0] if prediction else None
    aspects, unlinked_opinions = _read_aspects(text, annotation.get("result", ()))
    author = annotation.get("completed_by")
    if isinstance(author, dict):
        author = author.get("email", author.get("id"))
    meta = {key: value for key, value in data.items() if key not in (TEXT, REVIEW_ID) and value != text}
    if isinstance(review_meta := meta.get(META), dict):
        meta = {key: value for key, value in meta.items() if key != META} | review_meta
    review = Review(str(data.get(REVIEW_ID, entry.get("id", f"#{number}"))), text, aspects, meta)
    model_version = prediction.get("model_version")
    model_version, author = (None if value is None else str(value) for value in (model_version, author))
    source = (model_version, author, _read_time(annotation))
    return Task(number, review, bool(annotation), predicted_aspects, *source, unlinked_opinions)


def _read_min_row(row: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the data of the task and an annotation like that of a JSON export."""
    outputs = {}
    for control, value in row.items():
        values = value if isinstance(value, list) else [value]
        if control not in _MIN_METADATA and (control in (POLARITY, IMPLICIT) or any(map(_result_type, values))):
            outputs[control] = values
    result: list[dict[str, Any]] = []
    region_ids: dict[Any, str] = {}
    aspect_ids: list[str] = []
    for control, values in outputs.items():
        for value in values:
            result_type = _result_type(value)
            if result_type is None:
                continue
            start, end = value.get("start"), value.get("end")
            if result_type == "labels":
                region_id: str | None = f"{control}-{len(result)}"
                region_ids.setdefault((start, end, control == OPINION), str(region_id))
                aspect_ids += [] if control == OPINION else [str(region_id)]
            else:
                region_id = region_ids.get((start, end, control == OPINION)) or region_ids.get((start, end, True))
            result.append({"id": region_id, "from_name": control, "type": result_type, "value": value})
    polarities = [value for value in outputs.get(POLARITY, []) if isinstance(value, str)]
    if polarities and len(polarities) != len(aspect_ids):
        raise DataError(
            f"JSON-MIN does not say which of {len(aspect_ids)} spans its {len(polarities)} polarities are of: "
            "export JSON"
        )
    for region_id, polarity in zip(aspect_ids, polarities, strict=False):
        result.append({"id": region_id, "from_name": POLARITY, "type": "choices", "value": {"choices": [polarity]}})
    data = {key: value for key, value in row.items() if key not in _MIN_METADATA and key not in outputs}
    return data, {**row, "result": result, "completed_by": row.get("annotator")}


def _result_type(value: Any) -> str | None:
    return next((key for key in _RESULT_TYPES if isinstance(value, dict) and key in value), None)


def _select_last(annotations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the ground truth, else the latest annotation that was not skipped, else {}."""
    valid_annotations: dict[tuple[bool, str], dict[str, Any]] = {}
    for item in annotations:
        if isinstance(item, dict) and not item.get("was_cancelled") and isinstance(item.get("result"), list):
            time = str(item.get("updated_at") or item.get("created_at") or "")
            valid_annotations[bool(item.get("ground_truth")), time] = item
    return valid_annotations[max(valid_annotations)] if valid_annotations else {}


def _find_text(data: Mapping[str, Any]) -> str:
    strings = {key: value for key, value in data.items() if isinstance(value, str) and key != REVIEW_ID}
    if TEXT in strings or len(strings) == 1:
        return strings[TEXT if TEXT in strings else next(iter(strings))]
    raise DataError(f"its data has no '{TEXT}', only {', '.join(map(str, data)) or 'nothing'}: rename the right one")


def _read_aspects(text: str, result: Sequence[Any]) -> tuple[tuple[Aspect, ...], int]:
    """Return the aspects of an annotation, and the number of opinions that judge no aspect."""
    for item in result:
        if not isinstance(item, dict) or (item.get("type") != "relation" and not isinstance(item.get("value"), dict)):
            raise DataError("a result is not an object with a 'value': export JSON again")
    regions = [item for item in result if item.get("type") == "labels"]
    spans = resolve_spans(text, [item["value"] for item in regions])
    polarity_results = {item["id"]: item for item in result if item.get("type") == "choices" and "id" in item}
    opinions: dict[Any, Opinion] = {}
    for item, span in zip(regions, spans, strict=True):
        if item.get("from_name") == OPINION:
            opinions[item.get("id")] = Opinion(*span)
    opinion_ids = _link_opinions(result, opinions)
    linked_ids = set(opinion_ids.values())
    aspects: list[Aspect] = []
    for item, (word, start, end) in zip(regions, spans, strict=True):
        if item.get("from_name") == OPINION:
            continue
        region_id = item.get("id")
        polarity_result = polarity_results.get(region_id, {})
        polarities = _get_strings(polarity_result.get("value", {}), "choices")
        if len(polarities) > 1:
            raise DataError(f"the span at {start}:{end} has {len(polarities)} polarities: choose one")
        polarity = polarities[0] if polarities else None
        opinion = opinions.get(opinion_ids.get(region_id))
        for category in _get_strings(item["value"], "labels"):
            scores = (_read_score(item), _read_score(polarity_result))
            aspects.append(Aspect(category, word, start, end, polarity, opinion, *scores))
    for item in result:
        if item.get("type") == "taxonomy":
            opinion = opinions.get(item.get("id"))
            paths = item["value"].get("taxonomy") or []
            linked_ids |= {item.get("id")} if opinion and paths else set()
            aspects += [_read_implicit(path, opinion) for path in paths]
    return tuple(aspects), len(opinions.keys() - linked_ids)


def _link_opinions(result: Sequence[Mapping[str, Any]], opinions: Mapping[Any, Opinion]) -> dict[Any, Any]:
    """Return the opinion id of each region, by the relations; of several opinions the first in the text."""
    links: dict[Any, Any] = {}
    for item in result:
        if item.get("type") != "relation":
            continue
        ends = (item.get("from_id"), item.get("to_id"))
        region_id, opinion_id = ends if ends[1] in opinions else ends[::-1]
        if opinion_id in opinions and region_id not in opinions:
            earlier_id = links.get(region_id)
            if earlier_id is None or opinions[opinion_id].start < opinions[earlier_id].start:
                links[region_id] = opinion_id
    return links


def _read_implicit(path: Any, opinion: Opinion | None) -> Aspect:
    if not isinstance(path, list) or len(path) not in (1, 2) or not all(isinstance(step, str) for step in path):
        raise DataError(f"{path!r:.60} is not a category with a polarity: use the labelling configuration as exported")
    return Aspect(path[0], polarity=path[1] if len(path) == 2 else None, opinion=opinion)


def _get_strings(value: Mapping[str, Any], key: str) -> list[str]:
    strings = value.get(key, [])
    if not isinstance(strings, list) or not all(isinstance(string, str) for string in strings):
        raise DataError(f"a region's '{key}' are not strings: export JSON again")
    return strings


def _get_list(entry: Mapping[str, Any], key: str) -> list[Any]:
    value = entry.get(key)
    return value if isinstance(value, list) else []


def _read_score(item: Mapping[str, Any]) -> float | None:
    score = item.get("score")
    return score if isinstance(score, int | float) and not isinstance(score, bool) else None


def _read_time(annotation: Mapping[str, Any]) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(annotation.get("updated_at") or annotation.get("created_at")))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
