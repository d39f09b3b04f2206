"""Decoder of Label Studio exports (JSON and JSON-MIN) and of task files for import.

A list of tasks is read, and tasks or annotations one a file or one a line. Controls are chosen by their names. Results
that are not labels of spans (ratings, choices for the whole text) are counted; regions of other media are errors.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from reviews_parsing.data import polarities
from reviews_parsing.data.jsonl import decode_objects, parse_json
from reviews_parsing.data.labels import LabelWarning
from reviews_parsing.data.labelstudio.config import CATEGORY, IMPLICIT, JUDGES, OPINION, POLARITY, TEXT
from reviews_parsing.data.labelstudio.encoding import META, REVIEW_ID
from reviews_parsing.data.labelstudio.spans import fits, resolve_spans
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8
from reviews_parsing.schema import Aspect, Opinion, Review

_MIN_KEY = "annotation_id"
# Keys of a JSON-MIN row that describe the annotation; the others are task data and outputs of controls.
_MIN_METADATA = frozenset((_MIN_KEY, "id", "annotator", "created_at", "updated_at", "lead_time", "agreement"))
_RESULT_TYPES = ("labels", "choices", "taxonomy")
# Regions of a <HyperText>, whose global offsets count the characters of its text.
_HYPERTEXT_LABELS = "hypertextlabels"
# Results for whole texts, which hold no labels of spans.
_UNUSED_TYPES = frozenset(("textarea", "rating", "number", "datetime", "ranker", "pairwise"))
_ADDRESS = re.compile(r"(https?|s3|gs|azure-blob)://\S+|/data/\S+")


@dataclass(frozen=True, slots=True)
class Task:
    """A task with its labels; `number` counts from 1.

    `predicted_aspects` are those of `model_version`, None without a prediction. `labelled_at` and `author` are those of
    the annotation. `unlinked_opinions` is the number of opinions that judge no labelled aspect. `unused` names each
    result that is not read.
    """

    number: int
    review: Review
    is_labelled: bool
    predicted_aspects: tuple[Aspect, ...] | None = None
    model_version: str | None = None
    author: str | None = None
    labelled_at: datetime | None = None
    unlinked_opinions: int = 0
    unused: tuple[str, ...] = ()


class _Entry(NamedTuple):
    """A task before its labels are read."""

    number: int
    entry: dict[str, Any]
    data: dict[str, Any]
    annotation: dict[str, Any]
    prediction: dict[str, Any]


class _Controls(NamedTuple):
    """Names of the controls of categories and of polarities, and the field of the text."""

    category: Any
    polarity: Any
    text_field: str | None


def is_export(data: bytes) -> bool:
    """Return True if the data is an export: tasks or annotations in a list, one a line, or one."""
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith((b"[", b"{")):
        return False
    try:
        entry = next((entry for _, entry in decode_objects(data, "")), None)
    except DataError:
        # Damaged files belong to the format that they begin like.
        return re.match(rb'\[?\s*\{\s*"(data|annotation_id)"', start) is not None
    return entry is None or not entry or _is_entry(entry)


def _is_entry(entry: Mapping[str, Any]) -> bool:
    task = entry.get("task")
    is_annotation = isinstance(entry.get("result"), list) and isinstance(task, dict) and "data" in task
    return _is_task(entry) or _MIN_KEY in entry or is_annotation


def _is_task(entry: Mapping[str, Any]) -> bool:
    """Return True for an object with task data; not for a document that nests records under 'data'."""
    data = entry.get("data")
    has_labels = any(key in entry for key in ("annotations", "completions", "predictions"))
    return isinstance(data, dict) and (has_labels or not any(isinstance(value, list) for value in data.values()))


def decode(data: bytes, name: str, text_field: str | None = None) -> Iterator[tuple[int, Review]]:
    """Yield (number, review) for each labelled task. If there are only predictions, they replace the labels.

    `text_field` names the field of the text. Warns of results that are not read. Raises DataError naming the invalid
    task, or if no task has labels or predictions.
    """
    tasks, empty_count = _read_tasks(data, name, text_field)
    unused = Counter(unused_name for task in tasks for unused_name in task.unused)
    unlabelled_count = sum(not task.is_labelled for task in tasks) if any(task.is_labelled for task in tasks) else 0
    unused.update({"empty tasks": empty_count, "tasks without annotations": unlabelled_count})
    unused = +unused
    if unused:
        counts = ", ".join(f"{count} {unused_name}" for unused_name, count in unused.items())
        warnings.warn(f"{name}: not read: {counts}", LabelWarning, stacklevel=2)
    labelled_tasks = [task for task in tasks if task.is_labelled] or [
        replace(task, review=replace(task.review, aspects=task.predicted_aspects))
        for task in tasks
        if task.predicted_aspects is not None
    ]
    if tasks and not labelled_tasks:
        raise _unlabelled_error(name, len(tasks))
    yield from ((task.number, task.review) for task in labelled_tasks)


def decode_tasks(data: bytes, name: str, text_field: str | None = None) -> list[Task]:
    """Return each labelled task, with the annotation that is ground truth, else the last one that was not skipped.

    Raises DataError naming the invalid task, or if no task is labelled.
    """
    tasks, _ = _read_tasks(data, name, text_field)
    labelled_tasks = [task for task in tasks if task.is_labelled]
    if not labelled_tasks:
        raise _unlabelled_error(name, len(tasks))
    return labelled_tasks


def _unlabelled_error(name: str, task_count: int) -> DataError:
    return DataError(f"{name}: none of its {task_count} tasks is labelled: label some, then export again")


def _read_tasks(data: bytes, name: str, text_field: str | None) -> tuple[list[Task], int]:
    """Return the tasks, and the number of empty ones that are omitted."""
    entries = []
    for number, entry in enumerate(_parse_entries(data, name), start=1):
        try:
            entries.append(_read_entry(number, entry))
        except DataError as error:
            raise DataError(f"{name}: task {number}: {error}") from None
    task_count = len(entries)
    entries = [e for e in entries if e.annotation or any(value not in (None, "") for value in e.data.values())]
    entries = [e for e in entries if any(value is not None for value in e.data.values())]
    if text_field and not all(isinstance(entry.data.get(text_field), str) for entry in entries):
        raise DataError(f"{name}: not all tasks have a text in the field '{text_field}': correct the option")
    try:
        controls = _choose_controls(entries, text_field)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    tasks = []
    for entry in entries:
        try:
            task = _read_task(entry, controls)
        except DataError as error:
            raise DataError(f"{name}: task {entry.number}: {error}") from None
        if task.review.text.strip() or task.is_labelled:
            tasks.append(task)
    return tasks, task_count - len(tasks)


def _parse_entries(data: bytes, name: str) -> list[Any]:
    try:
        document = parse_json(decode_utf8(data, name), "export it again")
    except DataError as error:
        if data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
            return [entry for _, entry in decode_objects(data, name)]
        raise DataError(f"{name}: {error}") from None
    if isinstance(document, dict):
        return [document]
    if not isinstance(document, list):
        raise DataError(f"{name}: a {type(document).__name__}, not a list of tasks: export JSON or JSON-MIN")
    return document


def _read_entry(number: int, entry: Any) -> _Entry:
    if not isinstance(entry, dict) or not _is_entry(entry):
        raise DataError(f"neither a task ('data') nor a row of JSON-MIN ('{_MIN_KEY}'): export one of the two")
    if isinstance(task := entry.get("task"), dict) and isinstance(entry.get("result"), list):
        entry = {**task, "annotations": [entry]}
    if _MIN_KEY in entry:
        data, annotation = _read_min_row(entry)
    else:
        data = entry["data"]
        annotation = _select_last(_get_list(entry, "annotations") or _get_list(entry, "completions"))
    if not isinstance(data, dict):
        raise DataError(f"its 'data' is a {type(data).__name__}, not an object: export JSON again")
    prediction = _select_last(_get_list(entry, "predictions"))
    for part in (annotation, prediction):
        if part:
            part["result"] = [_check_result(item) for item in part["result"]]
    return _Entry(number, entry, data, annotation, prediction)


def _check_result(item: Any) -> dict[str, Any]:
    """Return the result, with regions of hypertext as regions of text. Raises DataError for other media."""
    if not isinstance(item, dict) or (item.get("type") != "relation" and not isinstance(item.get("value"), dict)):
        raise DataError("a result is not an object with a 'value': export JSON again")
    result_type = item.get("type") or _result_type(item.get("value"))
    if result_type == _HYPERTEXT_LABELS:
        value = item["value"]
        if not isinstance(value.get("globalOffsets"), dict):
            raise DataError(
                "a region of hypertext has no 'globalOffsets': label a <Text>, or export with a newer release"
            )
        if not isinstance(value.get("text"), str):
            raise DataError("a region of hypertext has no 'text' to check its offsets with: label a <Text>")
        value = {**value, "labels": value.get(_HYPERTEXT_LABELS), "is_hypertext": True}
        return {**item, "type": "labels", "value": value}
    if result_type not in (*_RESULT_TYPES, *_UNUSED_TYPES, "relation"):
        control = item.get("from_name")
        raise DataError(
            f"control '{control}' gives '{result_type}', not labels of a <Text>: such projects are not read"
        )
    return {**item, "type": result_type}


def _choose_controls(entries: Sequence[_Entry], text_field: str | None) -> _Controls:
    """Return the controls by their names, else the only ones. Raises DataError if there are several."""
    results = [item for entry in entries for item in (*_results(entry.annotation), *_results(entry.prediction))]
    regions = [item for item in results if item["type"] == "labels"]
    categories = {item.get("from_name") for item in regions} - {OPINION}
    region_ids = {item.get("id") for item in regions}
    choices: dict[Any, list[str]] = {}
    for item in results:
        if item["type"] == "choices" and item.get("id") in region_ids:
            choices.setdefault(item.get("from_name"), []).extend(_get_strings(item["value"], "choices"))
    if len(choices) == 1:
        choices = {name: values for name, values in choices.items() if _may_be_polarity(name, values)}
    named = [control for control, values in choices.items() if polarities.are_polarities(values)]
    return _Controls(
        _choose_control(categories, CATEGORY, "label spans"),
        _choose_control(named if len(choices) > 1 and named else list(choices), POLARITY, "choose for spans"),
        text_field or _infer_text_field(entries),
    )


def _may_be_polarity(control: Any, values: Sequence[str]) -> bool:
    """Return True for a control of polarities by its name or its choices."""
    is_named = re.search("polarity|sentiment", str(control), re.IGNORECASE) is not None
    return is_named or any(polarities.standardise(v) or polarities.resembles_polarity(v) for v in values)


def _choose_control(controls: Collection[Any], standard_name: str, action: str) -> Any:
    if standard_name in controls or len(controls) < 2:
        return standard_name if standard_name in controls else next(iter(controls), standard_name)
    names = ", ".join(sorted(map(str, controls)))
    raise DataError(f"controls {names} all {action}: rename the right one to '{standard_name}'")


def _infer_text_field(entries: Sequence[_Entry]) -> str | None:
    """Return the only field whose texts hold the words of all regions, None if there is no such field."""
    if any(isinstance(entry.data.get(TEXT), dict | list) for entry in entries):
        return None  # another field that is long enough need not be the text
    fields = {key for entry in entries for key, value in entry.data.items() if isinstance(value, str)} - {REVIEW_ID}
    for entry in entries:
        regions = [*_results(entry.annotation), *_results(entry.prediction)]
        values = [item["value"] for item in regions if item["type"] == "labels"]
        fields = {
            field
            for field in fields
            if not values or (isinstance(entry.data.get(field), str) and fits(entry.data[field], values))
        }
    return next(iter(fields)) if len(fields) == 1 else None


def _results(annotation: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(annotation.get("result", ()))


def _read_task(source: _Entry, controls: _Controls) -> Task:
    number, entry, data, annotation, prediction = source
    text = _find_text(data, controls.text_field)
    if REVIEW_ID not in data and _ADDRESS.fullmatch(text.strip()):
        raise DataError(f"its text is an address ({text:.40}): the project labels no <Text>")
    predicted_aspects = _read_aspects(text, prediction["result"], controls)[0] if prediction else None
    aspects, unlinked_opinions, unused = _read_aspects(text, _results(annotation), controls)
    author = annotation.get("completed_by")
    if isinstance(author, dict):
        author = author.get("email", author.get("id"))
    meta = {key: value for key, value in data.items() if key not in (TEXT, REVIEW_ID) and value != text}
    if isinstance(review_meta := meta.get(META), dict):
        meta = {key: value for key, value in meta.items() if key != META} | review_meta
    review = Review(str(data.get(REVIEW_ID, entry.get("id", f"#{number}"))), text, aspects, meta)
    model_version = prediction.get("model_version")
    model_version, author = (None if value is None else str(value) for value in (model_version, author))
    provenance = (model_version, author, _read_time(annotation))
    unused += ("annotations of tasks that have a later one or a ground truth",) * _count_other(entry)
    unused += tuple(f"choices of control '{name}'" for name in _list_min_choices(entry))
    return Task(number, review, bool(annotation), predicted_aspects, *provenance, unlinked_opinions, unused)


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
            if result_type.endswith("labels"):
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
    """Return the type of a value: a known one, else the key of the labels of any other medium."""
    if not isinstance(value, dict):
        return None
    known = (key for key in (*_RESULT_TYPES, _HYPERTEXT_LABELS) if key in value)
    return next(known, next((key for key in value if key.endswith("labels")), None))


def _select_last(annotations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the ground truth, else the latest annotation that was not skipped, else {}."""
    valid_annotations: dict[tuple[bool, str], dict[str, Any]] = {}
    for item in annotations:
        if isinstance(item, dict) and not item.get("was_cancelled") and isinstance(item.get("result"), list):
            time = str(item.get("updated_at") or item.get("created_at") or "")
            valid_annotations[bool(item.get("ground_truth")), time] = item
    return valid_annotations[max(valid_annotations)] if valid_annotations else {}


def _count_other(entry: Mapping[str, Any]) -> int:
    """Return the number of annotations of a task that are not read, without skipped ones."""
    annotations = _get_list(entry, "annotations") or _get_list(entry, "completions")
    return max(0, sum(isinstance(item, dict) and not item.get("was_cancelled") for item in annotations) - 1)


def _list_min_choices(entry: Mapping[str, Any]) -> list[str]:
    """Return the columns of a row of JSON-MIN that hold polarities of the whole text."""
    values = {key: value if isinstance(value, list) else [value] for key, value in entry.items() if _MIN_KEY in entry}
    return [
        key
        for key, value in values.items()
        if key not in (*_MIN_METADATA, POLARITY)
        and all(isinstance(v, str) and polarities.standardise(v) for v in value)
        if value
    ]


def _find_text(data: Mapping[str, Any], text_field: str | None) -> str:
    strings = {key: value for key, value in data.items() if isinstance(value, str) and key != REVIEW_ID}
    name = text_field or TEXT
    if isinstance(data.get(name), dict | list):
        kind = "an object" if isinstance(data[name], dict) else "a list"
        raise DataError(f"its '{name}' is {kind}, not a string: write the text itself into a field")
    if text_field in strings:
        return strings[str(text_field)]
    if TEXT in strings or len(strings) == 1:
        return strings[TEXT if TEXT in strings else next(iter(strings))]
    raise DataError(
        f"its data has no '{TEXT}', only {', '.join(map(str, data)) or 'nothing'}: name the right one with --text-field"
    )


def _read_aspects(
    text: str, result: Sequence[dict[str, Any]], controls: _Controls
) -> tuple[tuple[Aspect, ...], int, tuple[str, ...]]:
    """Return the aspects of an annotation, the number of opinions that judge no aspect, and the unused results."""
    regions = [item for item in result if item["type"] == "labels"]
    spans = resolve_spans(text, [item["value"] for item in regions])
    for item in regions:
        if item["value"].get("is_hypertext") and not fits(text, [item["value"]]):
            raise DataError(
                "the offsets of a region of hypertext do not fit the text, which may hold markup: label a <Text>"
            )
    polarity_results = {
        item["id"]: item
        for item in result
        if item["type"] == "choices" and "id" in item and item.get("from_name") == controls.polarity
    }
    opinions: dict[Any, Opinion] = {}
    for item, span in zip(regions, spans, strict=True):
        if item.get("from_name") == OPINION:
            opinions[item.get("id")] = Opinion(*span)
    opinion_ids = _link_opinions(result, opinions)
    linked_ids = set(opinion_ids.values())
    aspect_ids = {item.get("id") for item in regions if item.get("from_name") == controls.category}
    aspects: list[Aspect] = []
    for item, (word, start, end) in zip(regions, spans, strict=True):
        if item.get("from_name") != controls.category or item.get("from_name") == OPINION:
            continue
        region_id = item.get("id")
        polarity_result = polarity_results.get(region_id, {})
        choices = _get_strings(polarity_result.get("value", {}), "choices")
        if len(choices) > 1:
            raise DataError(f"the span at {start}:{end} has {len(choices)} polarities: choose one")
        polarity = choices[0] if choices else None
        opinion = opinions.get(opinion_ids.get(region_id))
        for category in _get_strings(item["value"], "labels"):
            scores = (_read_score(item), _read_score(polarity_result))
            aspects.append(Aspect(category, word, start, end, polarity, opinion, *scores))
    for item in result:
        if item["type"] == "taxonomy" and item.get("from_name") in (IMPLICIT, JUDGES, None):
            opinion = opinions.get(item.get("id"))
            paths = item["value"].get("taxonomy") or []
            linked_ids |= {item.get("id")} if opinion and paths else set()
            aspects += [_read_implicit(path, opinion) for path in paths]
    return tuple(aspects), len(opinions.keys() - linked_ids), _list_unused(result, controls, set(opinions), aspect_ids)


def _list_unused(
    result: Sequence[dict[str, Any]], controls: _Controls, opinion_ids: Collection[Any], aspect_ids: Collection[Any]
) -> tuple[str, ...]:
    """Return a description of each result that is not read."""
    region_ids = {item.get("id") for item in result if item["type"] == "labels"}
    unused = []
    for item in result:
        result_type, control = item["type"], item.get("from_name")
        is_used = {
            "labels": control in (controls.category, OPINION),
            "choices": control == controls.polarity and item.get("id") in region_ids,
            "taxonomy": control in (IMPLICIT, JUDGES, None),
            "relation": _links_opinion(item, opinion_ids, aspect_ids),
        }.get(result_type, False)
        if not is_used:
            unused.append(
                "relations of other controls than category and opinion"
                if result_type == "relation"
                else f"{result_type} of control '{control}'"
            )
        elif result_type == "labels" and not item["value"].get("labels"):
            unused.append(f"regions of control '{control}' without a label")
    return tuple(unused)


def _links_opinion(item: Mapping[str, Any], opinion_ids: Collection[Any], aspect_ids: Collection[Any]) -> bool:
    ends = (item.get("from_id"), item.get("to_id"))
    return any(one in opinion_ids and other in aspect_ids for one, other in (ends, ends[::-1]))


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
