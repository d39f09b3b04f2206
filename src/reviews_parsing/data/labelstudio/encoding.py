"""Encoder of reviews as Label Studio tasks.

A span is a region: a result of the control `category`, and one of `polarity` with the same id. An opinion is a region
of the control `opinion`, with a relation from each aspect it judges. Implicit aspects with an opinion are in the result
of `judges` of that region, the others in the single result of `implicit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reviews_parsing.data.jsonl import encode_object
from reviews_parsing.data.labelstudio.config import CATEGORY, IMPLICIT, JUDGES, OPINION, POLARITY, RELATION, TEXT
from reviews_parsing.schema import Aspect, Opinion, Review

REVIEW_ID, META = "review_id", "meta"


def to_task(
    review: Review, predicted_aspects: Sequence[Aspect] | None = None, model_version: str | None = None
) -> dict[str, Any]:
    """Return the review as a task: its aspects as an annotation, the predicted aspects as a prediction.

    The score of a prediction is the lowest score of its aspects, so that tasks can be sorted by it.
    """
    data = {TEXT: review.text, REVIEW_ID: review.id}
    task: dict[str, Any] = {"data": {**data, META: dict(review.meta)} if review.meta else data}
    task["annotations"] = [{"result": _to_results(review.aspects)}]
    if predicted_aspects is not None:
        prediction: dict[str, Any] = {"result": _to_results(predicted_aspects)}
        if model_version is not None:
            prediction["model_version"] = model_version
        if scores := [aspect.score for aspect in predicted_aspects if aspect.score is not None]:
            prediction["score"] = min(scores)
        task["predictions"] = [prediction]
    return task


def encode(reviews: Sequence[Review]) -> bytes:
    """Return a file of tasks, with predictions if any aspect has a score, else with annotations.

    Raises DataError naming the review that JSON cannot hold.
    """
    if not any(aspect.score is not None for review in reviews for aspect in review.aspects):
        return encode_tasks(map(to_task, reviews))
    # Only models give scores, so the aspects are predictions and not annotations.
    tasks = (to_task(review, review.aspects) for review in reviews)
    return encode_tasks({key: task[key] for key in ("data", "predictions")} for task in tasks)


def encode_tasks(tasks: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the file that Label Studio imports. Raises DataError naming the review that JSON cannot hold."""
    return b"[\n" + b",\n".join(encode_object(task, f"review {task['data'][REVIEW_ID]}") for task in tasks) + b"\n]\n"


def _to_results(aspects: Iterable[Aspect]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    relations: list[dict[str, Any]] = []
    paths_by_opinion: dict[Opinion, list[list[str]]] = {}
    implicit_paths: list[list[str]] = []
    opinion_ids: dict[Opinion, str] = {}
    for number, aspect in enumerate(aspects):
        if aspect.opinion:
            opinion_ids.setdefault(aspect.opinion, f"opinion-{len(opinion_ids)}")
            paths_by_opinion.setdefault(aspect.opinion, [])
        if aspect.start is None or aspect.end is None:
            path = [aspect.entity_group] + ([] if aspect.polarity is None else [aspect.polarity])
            (paths_by_opinion[aspect.opinion] if aspect.opinion else implicit_paths).append(path)
            continue
        region_id, span = f"aspect-{number}", _to_span(aspect.word, aspect.start, aspect.end)
        results.append(
            _to_result(region_id, CATEGORY, "labels", span | {"labels": [aspect.entity_group]}, aspect.score)
        )
        if aspect.polarity is not None:
            value = span | {"choices": [aspect.polarity]}
            results.append(_to_result(region_id, POLARITY, "choices", value, aspect.polarity_score))
        if aspect.opinion:
            ends = {"from_id": region_id, "to_id": opinion_ids[aspect.opinion]}
            relations.append({"type": "relation", **ends, "direction": "right", "labels": [RELATION]})
    for opinion, paths in paths_by_opinion.items():
        span = _to_span(opinion.word, opinion.start, opinion.end)
        results.append(_to_result(opinion_ids[opinion], OPINION, "labels", span | {"labels": [OPINION]}))
        if paths:
            results.append(_to_result(opinion_ids[opinion], JUDGES, "taxonomy", span | {"taxonomy": paths}))
    if implicit_paths:
        results.append(_to_result(IMPLICIT, IMPLICIT, "taxonomy", {"taxonomy": implicit_paths}))
    return results + relations


def _to_result(
    region_id: str, control: str, result_type: str, value: dict[str, Any], score: float | None = None
) -> dict[str, Any]:
    result = {"id": region_id, "from_name": control, "to_name": TEXT, "type": result_type, "value": value}
    return result if score is None else result | {"score": score}


def _to_span(word: str | None, start: int, end: int) -> dict[str, Any]:
    return {"start": start, "end": end} | ({} if word is None else {"text": word})
