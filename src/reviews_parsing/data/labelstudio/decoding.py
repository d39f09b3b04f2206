"""Label Studio's exports, JSON and JSON-MIN, and tasks that are yet to be imported, as reviews.

Offsets count code points, as ours do: its editor counts the items of JavaScript's `[...text]`, and every line feed and
carriage return as one. Releases before 1.4 counted UTF-16 code units; where only that fits the words that a region says
it holds, that is how it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from reviews_parsing.data import jsonl
from reviews_parsing.data.labelstudio.config import IMPLICIT, OPINION, POLARITY, TEXT
from reviews_parsing.data.labelstudio.encoding import META, REVIEW_ID
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import decode_utf8
from reviews_parsing.schema import Aspect, Opinion, Review

_MIN = "annotation_id"
# What JSON-MIN says of an annotation, beside the task's data and the outputs of controls.
_ABOUT = frozenset((_MIN, "id", "annotator", "created_at", "updated_at", "lead_time", "agreement"))
_CONTENT = ("labels", "choices", "taxonomy")


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it is labelled; `number` counts from 1.

    `answer` is what the version `model` of a model had predicted, None where nothing is said of it. `at` is when it was
    labelled, by `author`. `loose` counts the words that judge, but nothing that is labelled.
    """

    number: int
    review: Review
    answer: tuple[Aspect, ...] | None = None
    model: str | None = None
    author: str | None = None
    at: datetime | None = None
    loose: int = 0


def looks_like(data: bytes) -> bool:
    """Whether this can be an export: a JSON list of objects."""
    return re.match(rb"\[\s*[{\]]", data) is not None


def decode(data: bytes, name: str) -> Iterator[tuple[int, Review]]:
    """(number, review) of each task that is labelled. Where the file holds predictions alone, those stand for labels.

    Raises DataError naming the task that cannot be read, or where none is labelled or predicted.
    """
    found = _tasks(data, name)
    labelled = [task for task, is_labelled in found if is_labelled]
    predicted = [task for task, _ in found if task.answer is not None]
    if not labelled:
        labelled = [replace(task, review=replace(task.review, aspects=task.answer or ())) for task in predicted]
    if found and not labelled:
        raise _unlabelled(name, len(found))
    yield from ((task.number, task.review) for task in labelled)


def tasks(data: bytes, name: str) -> list[Task]:
    """Each task that is labelled, with its last annotation that was not skipped, or the one marked as ground truth.

    Raises DataError naming the task that cannot be read, or where none is labelled.
    """
    found = _tasks(data, name)
    labelled = [task for task, is_labelled in found if is_labelled]
    if not labelled:
        raise _unlabelled(name, len(found))
    return labelled


def _unlabelled(name: str, tasks: int) -> DataError:
    return DataError(f"{name}: none of its {tasks} tasks is labelled: label some, then export again")


def _tasks(data: bytes, name: str) -> list[tuple[Task, bool]]:
    """Every task, and whether it is labelled."""
    try:
        forms = jsonl.value_of(decode_utf8(data, name), "export it again")
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    if not isinstance(forms, list):
        raise DataError(f"{name}: a {type(forms).__name__}, not a list of tasks: export JSON or JSON-MIN")
    found = []
    for number, form in enumerate(forms, start=1):
        try:
            found.append(_task(number, form))
        except DataError as error:
            raise DataError(f"{name}: task {number}: {error}") from None
    return found


def _task(number: int, form: Any) -> tuple[Task, bool]:
    if not isinstance(form, dict) or not (isinstance(form.get("data"), dict) or _MIN in form):
        raise DataError(f"neither a task ('data') nor a row of JSON-MIN ('{_MIN}'): export one of the two")
    content: dict[str, Any]
    annotation: dict[str, Any] | None
    if _MIN in form:
        content, annotation = _of_min(form)
    else:
        content, annotation = form["data"], _last(_list(form, "annotations") or _list(form, "completions"))
    text = _text(content)
    prediction = _last(_list(form, "predictions"))
    answer = _aspects(text, prediction["result"])[0] if prediction else None
    model = prediction.get("model_version") if prediction else None
    aspects, loose = _aspects(text, annotation["result"]) if annotation else ((), 0)
    who = (annotation or {}).get("completed_by")
    author = who.get("email", who.get("id")) if isinstance(who, dict) else who
    review_id = content.get(REVIEW_ID, form.get("id", f"#{number}"))
    meta = {key: value for key, value in content.items() if key not in (TEXT, REVIEW_ID) and value != text}
    if isinstance(own := meta.get(META), dict):
        meta = {key: value for key, value in meta.items() if key != META} | own
    review = Review(str(review_id), text, aspects, meta)
    model, author = (None if one is None else str(one) for one in (model, author))
    return Task(number, review, answer, model, author, _time(annotation), loose), annotation is not None


def _of_min(form: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row of JSON-MIN as the task's data and an annotation."""
    outputs = {key: value if isinstance(value, list) else [value] for key, value in form.items() if key not in _ABOUT}
    outputs = {
        key: values
        for key, values in outputs.items()
        if key in (POLARITY, IMPLICIT) or any(isinstance(v, dict) and any(c in v for c in _CONTENT) for v in values)
    }
    result: list[dict[str, Any]] = []
    places: dict[Any, str] = {}
    named: list[str] = []
    for key, values in outputs.items():
        for value in values:
            kind = next((c for c in _CONTENT if isinstance(value, dict) and c in value), None)
            if kind is None:
                continue
            place = (value.get("start"), value.get("end"), key == OPINION)
            region = f"{key}-{len(result)}" if kind == "labels" else places.get(place) or places.get((*place[:2], True))
            if kind == "labels":
                places.setdefault(place, str(region))
                named += [] if key == OPINION else [str(region)]
            result.append({"id": region, "from_name": key, "type": kind, "value": value})
    polarities = [value for value in outputs.get(POLARITY, []) if isinstance(value, str)]
    if polarities and len(polarities) != len(named):
        raise DataError(
            f"JSON-MIN does not say which of {len(named)} spans its {len(polarities)} polarities are of: export JSON"
        )
    for region, polarity in zip(named, polarities, strict=False):
        result.append({"id": region, "from_name": POLARITY, "type": "choices", "value": {"choices": [polarity]}})
    content = {key: value for key, value in form.items() if key not in _ABOUT and key not in outputs}
    return content, {**form, "result": result, "completed_by": form.get("annotator")}


def _last(found: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The annotation that counts."""
    valid = [
        a for a in found if isinstance(a, dict) and not a.get("was_cancelled") and isinstance(a.get("result"), list)
    ]
    times = [str(a.get("updated_at") or a.get("created_at") or "") for a in valid]
    order = sorted(range(len(valid)), key=lambda i: (bool(valid[i].get("ground_truth")), times[i]))
    return valid[order[-1]] if order else None


def _text(content: Mapping[str, Any]) -> str:
    strings = {key: value for key, value in content.items() if isinstance(value, str) and key != REVIEW_ID}
    if TEXT in strings or len(strings) == 1:
        return strings[TEXT if TEXT in strings else next(iter(strings))]
    raise DataError(f"its data has no '{TEXT}', only {', '.join(map(str, content)) or 'nothing'}: rename the right one")


def _aspects(text: str, result: Sequence[Any]) -> tuple[tuple[Aspect, ...], int]:
    """Aspects, and how many opinions are of none of them."""
    for item in result:
        if not isinstance(item, dict) or (item.get("type") != "relation" and not isinstance(item.get("value"), dict)):
            raise DataError("a result is no object with a 'value': export JSON again")
    regions = [item for item in result if item.get("type") == "labels"]
    spans = _spans(text, [item["value"] for item in regions])
    polarities = {i["id"]: i for i in result if i.get("type") == "choices" and "id" in i}
    opinions: dict[Any, Opinion] = {}
    for item, span in zip(regions, spans, strict=True):
        if item.get("from_name") == OPINION:
            opinions[item.get("id")] = Opinion(*span)
    judged = _links(result, opinions)
    used = set(judged.values())
    found: list[Aspect] = []
    for item, (word, start, end) in zip(regions, spans, strict=True):
        if item.get("from_name") == OPINION:
            continue
        region = item.get("id")
        chosen = polarities.get(region, {})
        said = _strings(chosen.get("value", {}), "choices")
        if len(said) > 1:
            raise DataError(f"the span at {start}:{end} has {len(said)} polarities: choose one")
        for category in _strings(item["value"], "labels"):
            opinion, score = opinions.get(judged.get(region)), _score(item)
            polarity = said[0] if said else None
            found.append(Aspect(category, word, start, end, polarity, opinion, score, _score(chosen)))
    for item in result:
        if item.get("type") == "taxonomy":
            opinion = opinions.get(item.get("id"))
            paths = item["value"].get("taxonomy") or []
            used |= {item.get("id")} if opinion and paths else set()
            found += [_implicit(path, opinion) for path in paths]
    return tuple(found), len(opinions.keys() - used)


def _links(result: Sequence[Mapping[str, Any]], opinions: Mapping[Any, Opinion]) -> dict[Any, Any]:
    """For each region the first opinion that a relation links it to, in the order of the text."""
    links: dict[Any, Any] = {}
    for item in result:
        if item.get("type") != "relation":
            continue
        ends = (item.get("from_id"), item.get("to_id"))
        region, opinion = ends if ends[1] in opinions else ends[::-1]
        if opinion in opinions and region not in opinions:
            other = links.get(region)
            if other is None or opinions[opinion].start < opinions[other].start:
                links[region] = opinion
    return links


def _implicit(path: Any, opinion: Opinion | None) -> Aspect:
    if not isinstance(path, list) or len(path) not in (1, 2) or not all(isinstance(step, str) for step in path):
        raise DataError(f"{path!r:.60} is no category with a polarity: use the labelling configuration as exported")
    return Aspect(path[0], polarity=path[1] if len(path) == 2 else None, opinion=opinion)


def _spans(text: str, values: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """(word, start, end) of regions. Where no way to count fits, a region's word is what it says it holds."""
    offsets = [_offsets(value) for value in values]
    given = [value.get("text") for value in values]
    counts: list[Sequence[int | None]] = [range(len(text) + 1)]
    if len(text) != (units := len(text.encode("utf-16-le", "surrogatepass")) // 2):
        counts.append(_code_points(text, units))
    for count in counts:
        try:
            places = [(count[start], count[end]) for start, end in offsets if min(start, end) >= 0]
        except IndexError:
            continue
        words = [text[start:end] for start, end in places]
        if len(words) == len(offsets) and all(map(_fits, words, places, given)):
            return [(word, start or 0, end or 0) for word, (start, end) in zip(words, places, strict=True)]
    return [
        (said if isinstance(said, str) else text[start:end], start, end)
        for said, (start, end) in zip(given, offsets, strict=True)
    ]


def _fits(word: str, place: tuple[int | None, int | None], said: Any) -> bool:
    """Whether a region can stand there; the editor writes line breaks as `\\n` and may leave spaces out."""
    if None in place:
        return False
    return not isinstance(said, str) or _squeezed(word) == _squeezed(said)


def _squeezed(text: str) -> str:
    return "".join(text.replace("\\n", "").split())


def _code_points(text: str, units: int) -> list[int | None]:
    """For each offset in UTF-16 code units the one in code points; None inside a pair."""
    count: list[int | None] = []
    for at, char in enumerate(text):
        count += [at] if ord(char) < 0x10000 else [at, None]
    return [*count[:units], len(text)]


def _offsets(value: Mapping[str, Any]) -> tuple[int, int]:
    place = value.get("globalOffsets", value)
    start, end = (place.get(edge) if isinstance(place, dict) else None for edge in ("start", "end"))
    if type(start) is not int or type(end) is not int:
        raise DataError("a region has no 'start' and 'end' that are numbers: label a <Text>, then export JSON")
    return start, end


def _strings(value: Mapping[str, Any], key: str) -> list[str]:
    found = value.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise DataError(f"a region's '{key}' are not strings: export JSON again")
    return found


def _score(item: Mapping[str, Any]) -> float | None:
    score = item.get("score")
    return score if isinstance(score, int | float) and not isinstance(score, bool) else None


def _list(form: Mapping[str, Any], key: str) -> list[Any]:
    found = form.get(key)
    return found if isinstance(found, list) else []


def _time(annotation: Mapping[str, Any] | None) -> datetime | None:
    said = (annotation or {}).get("updated_at") or (annotation or {}).get("created_at")
    try:
        found = datetime.fromisoformat(str(said))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
