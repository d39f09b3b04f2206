"""Reviews as Label Studio's tasks.

A span is a region: a result of the control `category`, and one of `polarity` with the same id. The words that judge are
regions of the control `opinion`, with a relation from each aspect that they judge; where what they judge is not named,
their result of `judges` says what it is. Aspects with neither are in the one result of `implicit`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reviews_parsing.data.labelstudio.config import CATEGORY, IMPLICIT, JUDGED_BY, JUDGES, OPINION, POLARITY, TEXT
from reviews_parsing.errors import DataError
from reviews_parsing.io.files import encode_utf8
from reviews_parsing.schema import Aspect, Opinion, Review

REVIEW_ID, META = "review_id", "meta"


def task(
    review: Review, *, labelled: bool = True, answer: Sequence[Aspect] | None = None, model: str | None = None
) -> dict[str, Any]:
    """The review as a task: its aspects as an annotation if it is `labelled`, and as a prediction what `model` gave.

    A prediction's score is that of its least probable aspect, so that tasks can be sorted by it.
    """
    data = {TEXT: review.text, REVIEW_ID: review.id}
    form: dict[str, Any] = {"data": {**data, META: dict(review.meta)} if review.meta else data}
    if labelled:
        form["annotations"] = [{"result": _results(review.aspects)}]
    if answer is not None:
        prediction: dict[str, Any] = {"result": _results(answer)}
        if model is not None:
            prediction["model_version"] = model
        if scores := [aspect.score for aspect in answer if aspect.score is not None]:
            prediction["score"] = min(scores)
        form["predictions"] = [prediction]
    return form


def encode(reviews: Sequence[Review]) -> bytes:
    """Reviews as tasks: annotated, or where aspects have probabilities, which people do not give, pre-annotated.

    Raises DataError naming the review that JSON cannot hold.
    """
    if any(aspect.score is not None for review in reviews for aspect in review.aspects):
        made = (task(replace(review, aspects=()), labelled=False, answer=review.aspects) for review in reviews)
    else:
        made = (task(review) for review in reviews)
    return encode_tasks(made)


def encode_tasks(tasks: Iterable[Mapping[str, Any]]) -> bytes:
    """The file that Label Studio imports. Raises DataError naming the review that JSON cannot hold."""
    lines = []
    for form in tasks:
        name = f"review {form['data'][REVIEW_ID]}"
        try:
            line = json.dumps(form, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(f"{name}: JSON cannot hold it ({error}): change or remove that field") from None
        lines.append(encode_utf8(line, name))
    return b"[\n" + b",\n".join(lines) + b"\n]\n"


def _results(aspects: Iterable[Aspect]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    relations: list[dict[str, Any]] = []
    opinions: dict[Opinion, list[list[str]]] = {}
    implicit: list[list[str]] = []
    ids: dict[Opinion, str] = {}
    for number, aspect in enumerate(aspects):
        if aspect.opinion:
            ids.setdefault(aspect.opinion, f"opinion-{len(ids)}")
            opinions.setdefault(aspect.opinion, [])
        if aspect.start is None or aspect.end is None:
            (opinions[aspect.opinion] if aspect.opinion else implicit).append(_path(aspect))
            continue
        region, place = f"aspect-{number}", _place(aspect.word, aspect.start, aspect.end)
        found.append(_result(region, CATEGORY, "labels", place | {"labels": [aspect.entity_group]}, aspect.score))
        if aspect.polarity is not None:
            value = place | {"choices": [aspect.polarity]}
            found.append(_result(region, POLARITY, "choices", value, aspect.polarity_score))
        if aspect.opinion:
            link = {"type": "relation", "from_id": region, "to_id": ids[aspect.opinion], "direction": "right"}
            relations.append(link | {"labels": [JUDGED_BY]})
    for opinion, paths in opinions.items():
        place = _place(opinion.word, opinion.start, opinion.end)
        found.append(_result(ids[opinion], OPINION, "labels", place | {"labels": [OPINION]}))
        if paths:
            found.append(_result(ids[opinion], JUDGES, "taxonomy", place | {"taxonomy": paths}))
    if implicit:
        found.append(_result(IMPLICIT, IMPLICIT, "taxonomy", {"taxonomy": implicit}))
    return found + relations


def _result(region: str, control: str, kind: str, value: dict[str, Any], score: float | None = None) -> dict[str, Any]:
    form = {"id": region, "from_name": control, "to_name": TEXT, "type": kind, "value": value}
    return form if score is None else form | {"score": score}


def _place(word: str | None, start: int, end: int) -> dict[str, Any]:
    return {"start": start, "end": end} | ({} if word is None else {"text": word})


def _path(aspect: Aspect) -> list[str]:
    return [aspect.entity_group] + ([] if aspect.polarity is None else [aspect.polarity])
